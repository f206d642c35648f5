"""Lip movements: the face units of each phoneme, and when."""

import numpy as np
from jaxtyping import Float

from jax_avemo.synthetic.head import Head, unit_vector
from jax_avemo.synthetic.speech import Phoneme

_SHAPES: dict[str, dict[str, float]] = {
    "open": {"jawOpen": 0.45, "mouthLowerDown": 0.2},
    "spread": {"jawOpen": 0.2, "mouthStretch": 0.25, "mouthSmile": 0.15},
    "round": {"jawOpen": 0.3, "mouthFunnel": 0.7},
    "pursed": {"jawOpen": 0.1, "mouthPucker": 0.8},
    "closed": {"mouthPress": 0.4, "mouthRollLower": 0.3},
    "lip to teeth": {"mouthRollLower": 0.6, "mouthUpperUp": 0.2},
    "hiss": {"jawOpen": 0.05, "mouthStretch": 0.3},
    "tongue": {"jawOpen": 0.12},
}
_FIRST_LETTERS = {
    "closed": "mbp",
    "lip to teeth": "fv",
    "hiss": "szʃʒ",
    "pursed": "uwʊ",
    "round": "oɔ",
    "open": "aæʌɑ",
    "spread": "ieɪɛəɐ",
}
_LEAD_SECONDS = 0.03
"""Lips are seen to move a little before the sound."""


def mouth_shape(symbol: str) -> str:
    """The name of the mouth shape for an IPA symbol; "" for a pause."""
    if not symbol:
        return ""
    for shape, letters in _FIRST_LETTERS.items():
        if symbol[0] in letters:
            return shape
    return "tongue"


def lip_motion(
    head: Head,
    phonemes: tuple[Phoneme, ...],
    speech_start_seconds: float,
    times: Float[np.ndarray, "F"],
) -> Float[np.ndarray, "F U"]:
    """Face units of speech at `times`: the mean over a frame of the shapes that sound then."""
    shapes = {name: unit_vector(head, units) for name, units in _SHAPES.items()}
    silent = np.zeros(len(head.unit_names), np.float32)
    starts = np.array([phoneme.start_seconds for phoneme in phonemes])
    vectors = [shapes.get(mouth_shape(phoneme.symbol), silent) for phoneme in phonemes]
    motion = np.zeros((len(times), len(head.unit_names)), np.float32)
    offsets = (-0.04, 0.0, 0.04)
    for frame, time in enumerate(times):
        for offset in offsets:
            spoken = time + offset - speech_start_seconds + _LEAD_SECONDS
            current = np.searchsorted(starts, spoken, side="right") - 1
            if current >= 0:
                motion[frame] += vectors[current] / len(offsets)
    return motion
