"""Acting styles: the effect of an emotion on face and voice, and each actor's habits."""

from dataclasses import dataclass

import numpy as np

from jax_avemo.schema import RAVDESS_EMOTIONS

EXPRESSIONS: dict[str, dict[str, float]] = {
    # In the face calm is near neutral, and fearful near surprised (brows, eyes and jaw shared).
    "neutral": {},
    "calm": {"mouthSmile": 0.12, "eyeSquint": 0.12, "eyeBlink": 0.08},
    "happy": {
        "mouthSmile": 1.0,
        "cheekSquint": 0.8,
        "eyeSquint": 0.4,
        "jawOpen": 0.12,
        "mouthUpperUp": 0.3,
        "mouthDimple": 0.3,
    },
    "sad": {
        "browInnerUp": 1.1,
        "mouthFrown": 1.0,
        "eyeBlink": 0.25,
        "mouthShrugLower": 0.6,
        "eyeSquint": 0.25,
        "eyeLookDown": 0.3,
    },
    "angry": {
        "browDown": 1.2,
        "eyeSquint": 0.4,
        "noseSneer": 0.5,
        "mouthFunnel": 0.2,
        "mouthLowerDown": 0.6,
        "mouthFrown": 0.4,
        "mouthPress": 0.3,
        "jawForward": 0.4,
    },
    "fearful": {
        "browInnerUp": 1.1,
        "browOuterUp": 0.6,
        "eyeWide": 1.0,
        "mouthStretch": 0.5,
        "jawOpen": 0.35,
        "mouthLowerDown": 0.3,
    },
    "disgust": {
        "noseSneer": 1.1,
        "mouthUpperUp": 0.8,
        "browDown": 0.45,
        "eyeSquint": 0.5,
        "mouthFrown": 0.4,
        "mouthShrugUpper": 0.3,
    },
    "surprised": {
        "browInnerUp": 0.9,
        "browOuterUp": 0.9,
        "eyeWide": 0.9,
        "jawOpen": 0.5,
        "mouthFunnel": 0.15,
    },
}
"""Face units at full strength; a name without side moves both sides."""

NEUTRAL_PROSODY = {
    "pitch": 1.0,
    "range": 1.0,
    "tempo": 1.0,
    "energy": 1.0,
    "breath": 0.0,
    "tilt": 0.0,
    "jitter": 0.01,
    "fall": 0.0,
}
"""pitch, range, tempo, energy are factors; breath is added aperiodicity; tilt is dB an octave;
jitter and fall are natural logarithms of pitch: noise a frame, half the drift over the sentence."""

FACTORS = ("pitch", "range", "tempo", "energy")

PROSODY: dict[str, dict[str, float]] = {
    # In the voice disgust is near neutral, and angry near happy.
    "neutral": {},
    "calm": {"tempo": 0.82, "range": 0.6, "tilt": -2.0, "energy": 0.65, "breath": 0.12},
    "happy": {"pitch": 1.3, "range": 1.7, "tempo": 1.1, "energy": 1.6, "tilt": 1.6},
    "sad": {
        "pitch": 0.92,
        "range": 0.5,
        "tempo": 0.75,
        "energy": 0.5,
        "breath": 0.3,
        "tilt": -3.0,
        "fall": 0.12,
    },
    "angry": {
        "pitch": 1.25,
        "range": 1.5,
        "tempo": 1.15,
        "energy": 2.1,
        "tilt": 2.4,
        "jitter": 0.02,
    },
    "fearful": {
        "pitch": 1.5,
        "range": 0.9,
        "tempo": 1.28,
        "jitter": 0.05,
        "breath": 0.25,
        "tilt": -1.0,
    },
    "disgust": {"pitch": 0.95, "tempo": 0.93, "tilt": -0.3, "fall": 0.06, "jitter": 0.014},
    "surprised": {"pitch": 1.4, "range": 2.1, "energy": 1.3, "fall": -0.2},
}
"""Prosody at full strength, where it differs from NEUTRAL_PROSODY."""

# How much actors differ, chosen so that the exam (docs/guides/synthetic_corpus.md) comes out right.
_STYLE_SD = 0.20
_WEAK_UNIT_PROBABILITY = 0.05
_WEAK_UNIT = 0.35
_REST_SD = 0.10
_ASYMMETRY_SD = 0.10

FEMALE_VOICES = ("f2", "f3", "f5", "anika")
MALE_VOICES = ("m1", "m2", "m3", "m4", "m5", "m7", "Alex", "Michael", "ed", "john", "david")
"""espeak-ng's variants of en-us that a speech recogniser understood in every sentence."""

_REST_CHOICES = (
    ("browDown", "browInnerUp", "browOuterUp"),
    ("mouthFrown", "mouthSmile", "mouthPress"),
    ("eyeSquint", "eyeWide", "eyeBlink"),
)


@dataclass(frozen=True)
class Style:
    """One actor's habits."""

    expressions: dict[str, dict[str, float]]
    """Face units of every emotion as this actor shows it at full intensity."""
    prosody_gains: dict[str, dict[str, float]]
    """How far this actor takes every prosodic change of every emotion; 1 = as in PROSODY."""
    rest: dict[str, float]
    """Face units that this actor always shows a little."""
    asymmetry: tuple[float, float]
    """Gain of the left and of the right side of the face."""
    voice: str
    pitch_hz: float
    """Mean pitch of the neutral voice."""
    vocal_tract: float
    """Factor on formant frequencies."""
    level: float
    tempo: float
    tilt: float
    """What the voice is like in every take: factors, and dB an octave."""


def make_style(*, female: bool, voice_index: int, rng: np.random.Generator) -> Style:
    """Draw an actor's habits; `voice_index` walks through the voices so that neighbours differ."""
    expressiveness, vocal_expressiveness = rng.uniform(0.95, 1.25), rng.uniform(0.95, 1.2)
    expressions: dict[str, dict[str, float]] = {}
    prosody_gains: dict[str, dict[str, float]] = {}
    for emotion in RAVDESS_EMOTIONS:
        expressions[emotion] = {
            unit: float(
                strength
                * expressiveness
                * np.exp(rng.normal(0, _STYLE_SD))
                * (_WEAK_UNIT if rng.random() < _WEAK_UNIT_PROBABILITY else 1.0)
            )
            for unit, strength in EXPRESSIONS[emotion].items()
        }
        prosody_gains[emotion] = {
            name: float(vocal_expressiveness * np.exp(rng.normal(0, _STYLE_SD)))
            for name in NEUTRAL_PROSODY
        }
    rest = {
        choices[rng.integers(len(choices))]: float(abs(rng.normal(0, _REST_SD)))
        for choices in _REST_CHOICES
    }
    lean = rng.normal(0, _ASYMMETRY_SD)
    voices = FEMALE_VOICES if female else MALE_VOICES
    return Style(
        expressions=expressions,
        prosody_gains=prosody_gains,
        rest=rest,
        asymmetry=(float(1 + lean), float(1 - lean)),
        voice="en-us+" + voices[voice_index % len(voices)],
        pitch_hz=float(rng.uniform(165, 235) if female else rng.uniform(90, 145)),
        vocal_tract=float(rng.uniform(0.95, 1.05)),
        level=float(np.exp(rng.normal(0, 0.12))),
        tempo=float(np.exp(rng.normal(0, 0.05))),
        tilt=float(rng.normal(0, 0.4)),
    )


def acted_prosody(style: Style, emotion: str, intensity: float) -> dict[str, float]:
    """Prosody of `emotion` at `intensity` by this actor.

    Factors move from neutral in proportion on a logarithmic scale, the others on a linear one.
    """
    result = {}
    for name, neutral in NEUTRAL_PROSODY.items():
        target = PROSODY[emotion].get(name, neutral)
        amount = style.prosody_gains[emotion][name] * intensity
        if name in FACTORS:
            result[name] = float(neutral * (target / neutral) ** amount)
        else:
            result[name] = float(neutral + (target - neutral) * amount)
    return result
