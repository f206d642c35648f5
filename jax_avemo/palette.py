"""Colours and order of the emotions, the same in reports, annotated films and on the web page."""

from collections.abc import Iterable, Sequence

from jax_avemo.schema import RAVDESS_EMOTIONS, shared_emotion

EMOTION_COLOURS = {
    "neutral": "#b6b5bd",
    "calm": "#37c5fd",
    "happy": "#d8b324",
    "sad": "#446fd9",
    "angry": "#b61501",
    "fearful": "#89467a",
    "disgust": "#2f654e",
    "surprised": "#fa5a8a",
}
"""sRGB by shared name. Least CIEDE2000 of two colours: 26 as they are, 15.7 for dichromats (Machado
et al. 2009; Okabe and Ito's eight with a grey: 7.1). Contrast is at least 1.9 on white and 2.6 on
near-black; a name always stands beside."""
FURTHER_COLOURS = ("#7a7f18", "#9d7bff", "#00a39a", "#a5683a")
"""Of emotions that no corpus here has, in alphabetical order; then again from the first."""


def in_order(emotions: Iterable[str]) -> tuple[str, ...]:
    """The emotions as they are always listed: RAVDESS's order, others behind it by name."""

    def place(name: str) -> tuple[int, str]:
        shared = shared_emotion(name)
        known = shared in RAVDESS_EMOTIONS
        return (RAVDESS_EMOTIONS.index(shared) if known else len(RAVDESS_EMOTIONS), name)

    return tuple(sorted(emotions, key=place))


def colours_of(emotions: Sequence[str]) -> tuple[str, ...]:
    """The colour ("#rrggbb") of each emotion; names are matched by `schema.shared_emotion`."""
    unknown = [name for name in in_order(emotions) if shared_emotion(name) not in EMOTION_COLOURS]
    further = {
        name: FURTHER_COLOURS[number % len(FURTHER_COLOURS)] for number, name in enumerate(unknown)
    }
    return tuple(
        further[name] if name in further else EMOTION_COLOURS[shared_emotion(name)]
        for name in emotions
    )


def rgb_of(colour: str) -> tuple[int, int, int]:
    """Red, green and blue in [0, 255] of "#rrggbb"."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue
