"""Parameters of one take: intensity, prosody, expression, camera, light and noise."""

from dataclasses import dataclass

import numpy as np

from jax_avemo.synthetic.style import Style, acted_prosody

STATEMENTS = {1: "Kids are talking by the door.", 2: "Dogs are sitting by the door."}
"""RAVDESS's two sentences by their number in its file names."""

LOWEST_INTENSITY, HIGHEST_INTENSITY = 0.6, 1.0
_STRONG = 0.5 * (LOWEST_INTENSITY + HIGHEST_INTENSITY)
_EXTRA_UNITS = (
    "browInnerUp",
    "browDown",
    "mouthSmile",
    "mouthFrown",
    "eyeSquint",
    "mouthPress",
    "cheekPuff",
)
_EXTRA_SD = 0.06


@dataclass(frozen=True)
class Take:
    """The true parameters of one take: what the actor does, and what the studio adds."""

    emotion: str
    statement: int
    intensity: float
    vocal_intensity: float
    expression: dict[str, float]
    """Face units at the height of the take, resting face and chance movements included."""
    prosody: dict[str, float]
    """As style.NEUTRAL_PROSODY, habits of the actor and chance included."""
    pitch_hz: float
    """Mean pitch before prosody's factor."""
    vocal_tract: float
    peak: float
    """When the expression is strongest, as a share of the take."""
    silence_seconds: tuple[float, float]
    """Before and after the sentence."""
    microphone_gain_db: float
    microphone_tilt: float
    """dB an octave."""
    microphone_bumps: tuple[tuple[float, float], ...]
    """(centre in octaves above 1 kHz, height in dB), half an octave wide each."""
    noise_db: float
    """Level of the noise relative to an ordinary voice."""
    noise_colour: float
    head_pose: tuple[float, float, float]
    """Mean nod, shake and tilt, radians."""
    sway: float
    blink_start_seconds: float
    light_azimuth: float
    light_elevation: float
    light_directed: float
    exposure: float
    gamma: float
    tint: tuple[float, float, float]
    zoom: float
    shift: tuple[float, float]
    pixel_noise: float
    """Standard deviation in grey levels."""

    @property
    def strong(self) -> bool:
        """Whether the file name says strong intensity (neutral has none, as in RAVDESS)."""
        return self.emotion != "neutral" and self.intensity > _STRONG


def draw_take(style: Style, emotion: str, statement: int, rng: np.random.Generator) -> Take:
    """Draw how `style`'s actor performs `emotion` once, and the circumstances."""
    intensity = rng.uniform(LOWEST_INTENSITY, HIGHEST_INTENSITY)
    vocal_intensity = float(np.clip(intensity + rng.normal(0, 0.08), 0.4, 1.1))
    expression = {unit: s * intensity for unit, s in style.expressions[emotion].items()}
    for unit, strength in style.rest.items():
        expression[unit] = expression.get(unit, 0.0) + strength
    for unit in rng.choice(_EXTRA_UNITS, 2, replace=False):
        expression[str(unit)] = expression.get(str(unit), 0.0) + abs(rng.normal(0, _EXTRA_SD))

    prosody = acted_prosody(style, emotion, vocal_intensity)
    prosody["tempo"] *= style.tempo * np.exp(rng.normal(0, 0.05))
    prosody["energy"] *= style.level * np.exp(rng.normal(0, 0.15))
    prosody["tilt"] += style.tilt + rng.normal(0, 0.4)
    prosody["range"] *= np.exp(rng.normal(0, 0.10))
    prosody["pitch"] = np.clip(prosody["pitch"], 0.75, 2.0)
    prosody["tempo"] = np.clip(prosody["tempo"], 0.62, 1.6)
    return Take(
        emotion=emotion,
        statement=statement,
        intensity=float(intensity),
        vocal_intensity=vocal_intensity,
        expression={unit: float(strength) for unit, strength in expression.items()},
        prosody={name: float(value) for name, value in prosody.items()},
        pitch_hz=float(style.pitch_hz * np.exp(rng.normal(0, 0.03))),
        vocal_tract=float(style.vocal_tract * np.exp(rng.normal(0, 0.008))),
        peak=float(rng.uniform(0.35, 0.65)),
        silence_seconds=(float(rng.uniform(0.2, 0.7)), float(rng.uniform(0.25, 0.75))),
        microphone_gain_db=float(rng.normal(-3, 3.5)),
        microphone_tilt=float(rng.normal(0, 1.5)),
        microphone_bumps=tuple(
            (float(rng.uniform(-2, 3)), float(rng.normal(0, 5))) for _ in range(3)
        ),
        noise_db=float(-rng.uniform(14, 32)),
        noise_colour=float(rng.uniform(0, 0.9)),
        head_pose=(
            float(rng.normal(0, 0.08)),
            float(rng.normal(0, 0.17)),
            float(rng.normal(0, 0.06)),
        ),
        sway=float(rng.uniform(0.004, 0.012)),
        blink_start_seconds=float(rng.uniform(0.3, 2.0)),
        light_azimuth=float(rng.uniform(-1.1, 1.1)),
        light_elevation=float(rng.uniform(0.0, 0.8)),
        light_directed=float(rng.uniform(0.3, 0.85)),
        exposure=float(rng.uniform(0.75, 1.15)),
        gamma=float(rng.uniform(0.85, 1.2)),
        tint=tuple(float(t) for t in rng.uniform(0.92, 1.08, 3)),  # type: ignore[arg-type]
        zoom=float(rng.uniform(0.9, 1.1)),
        shift=(float(rng.uniform(-0.04, 0.04)), float(rng.uniform(-0.03, 0.03))),
        pixel_noise=float(rng.uniform(1, 4)),
    )
