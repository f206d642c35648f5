"""Voice conversion by WORLD: an actor's voice and an emotion's prosody."""

from dataclasses import dataclass

import numpy as np

from jax_avemo.runtime.errors import UserError
from jax_avemo.synthetic.speech import Speech, say

_FRAME_PERIOD_MS = 5.0
_WORDS_PER_MINUTE = 150
_RANGE_OF_PLAIN_SPEECH = 1.6
"""espeak-ng speaks flatly: range 1 is this multiple of its own pitch movement."""
_LEVEL = 0.08
"""Root mean square of a take at energy 1."""


@dataclass(frozen=True)
class Voice:
    """Whose voice: an espeak-ng voice, mean pitch in Hz, factor on the formants."""

    name: str
    pitch_hz: float
    vocal_tract: float


def speak(text: str, voice: Voice, prosody: dict[str, float], rng: np.random.Generator) -> Speech:
    """Speak `text` by `voice` with the `prosody` of style.NEUTRAL_PROSODY's names.

    espeak-ng speaks at the tempo; WORLD (Morise et al., 2016) takes it apart into pitch, spectral
    envelope and aperiodicity, these are changed, and it is put together again. Pitch is

        f0' = pitch_hz pitch exp(1.6 range (log f0 - mean log f0) + fall (1 - 2 t/T) + jitter noise)

    Raises UserError if espeak-ng or pyworld is missing.
    """
    try:
        import pyworld
    except ImportError as error:
        raise UserError(
            "the demo corpus needs pyworld; run: pip install 'jax_avemo[demo]'"
        ) from error
    plain = say(
        text, voice=voice.name, words_per_minute=round(_WORDS_PER_MINUTE * prosody["tempo"])
    )
    rate = plain.sample_rate
    wave = plain.samples.astype(np.float64)
    pitch, times = pyworld.dio(wave, rate, f0_floor=60, f0_ceil=500, frame_period=_FRAME_PERIOD_MS)
    pitch = pyworld.stonemask(wave, pitch, times, rate)
    envelope = pyworld.cheaptrick(wave, pitch, times, rate)
    aperiodicity = pyworld.d4c(wave, pitch, times, rate)

    voiced = pitch > 0
    log_pitch = np.log(pitch[voiced])
    movement = log_pitch - log_pitch.mean()
    drift = prosody["fall"] * np.linspace(1, -1, len(pitch))[voiced]
    wander = np.cumsum(rng.normal(0, 1, len(pitch)))[voiced]
    wander = 0.5 * (wander - wander.mean()) / (wander.std() + 1e-9)
    shake = prosody["jitter"] * (wander + rng.normal(0, 1, voiced.sum()))
    new_pitch = np.zeros_like(pitch)
    new_pitch[voiced] = np.exp(
        np.log(voice.pitch_hz * prosody["pitch"])
        + _RANGE_OF_PLAIN_SPEECH * prosody["range"] * movement
        + drift
        + shake
    )

    bins = envelope.shape[1]
    khz = np.arange(bins) / (bins - 1) * rate / 2000
    gain_db = prosody["tilt"] * np.log2(np.maximum(khz, 0.25) / 0.5)
    new_envelope = _stretch(envelope, voice.vocal_tract) * 10 ** (gain_db / 10)
    breathy = np.clip(aperiodicity + prosody["breath"] * np.clip(khz / 3, 0, 1), 0, 1)
    samples = pyworld.synthesize(
        new_pitch,
        np.ascontiguousarray(new_envelope),
        np.ascontiguousarray(breathy),
        rate,
        _FRAME_PERIOD_MS,
    )
    samples *= _LEVEL * prosody["energy"] / (np.sqrt(np.mean(samples**2)) + 1e-9)
    return Speech(np.tanh(samples).astype(np.float32), rate, plain.phonemes)


def _stretch(envelope: np.ndarray, factor: float) -> np.ndarray:
    """Move every formant to `factor` times its frequency (linear interpolation between bins)."""
    source = np.clip(np.arange(envelope.shape[1]) / factor, 0, envelope.shape[1] - 1)
    lower = source.astype(int)
    upper = np.minimum(lower + 1, envelope.shape[1] - 1)
    share = source - lower
    return envelope[:, lower] * (1 - share) + envelope[:, upper] * share
