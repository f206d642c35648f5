"""Pitch, voicing and level of a voice, frame by frame, which a small corpus does not teach.

Pitch follows Boersma, "Accurate short-term analysis of the fundamental frequency" (IFA Proceedings
17, 1993): the autocorrelation of a windowed frame, divided by that of its window, peaks at the
period of the voice, whatever the microphone did to single harmonics.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jax_avemo.models.audio.fourier import rfft
from jax_avemo.models.audio.framing import overlapping_frames
from jax_avemo.models.layers.attention import masked_mean

LOW_HZ, HIGH_HZ = 70.0, 520.0
LAGS_PER_OCTAVE = 24
WINDOW_SECONDS = 0.05
DECIMATION = 4
"""Pitch is looked for at a quarter of the sampling rate."""
FFT_SIZE = 512
OCTAVE_COST = 0.06
"""How much nearer a peak an octave lower must come to 1 to be taken (Boersma's is 0.01, without
noise): every multiple of the period is a period too."""
SHARPNESS = 60.0
REFERENCE_HZ = 160.0
LEVEL_FLOOR = 1e-6
CHANNELS = 5


def candidate_pitches() -> np.ndarray:
    """Hz, from high to low, LAGS_PER_OCTAVE to an octave."""
    octaves = np.log2(HIGH_HZ / LOW_HZ)
    return HIGH_HZ * 2.0 ** -np.arange(0, octaves, 1 / LAGS_PER_OCTAVE)


def periodicity(
    audio: Float[Array, "B N"], *, sample_rate: int, hop_seconds: float
) -> Float[Array, "B T L"]:
    """Normalised autocorrelation of each frame at every candidate period; T = 1 + N // hop.

    1 = perfectly periodic, 0 = noise or silence. The autocorrelation is the cosine transform of
    the power spectrum (Wiener-Khinchin), read at fractional lags, so one matrix product gives all.
    """
    hop = round(hop_seconds * sample_rate)
    if hop % DECIMATION:
        raise ValueError(f"a hop of {hop} samples is not a multiple of {DECIMATION}")
    length = audio.shape[1] // DECIMATION
    slow = audio[:, : length * DECIMATION].reshape(audio.shape[0], length, DECIMATION).mean(axis=2)
    rate = sample_rate / DECIMATION
    width = round(WINDOW_SECONDS * rate)
    frames = overlapping_frames(slow, width, hop // DECIMATION)
    window = np.hanning(width + 2)[1:-1].astype(np.float32)
    # The mean has no pitch, and would make every lag look periodic.
    frames = (frames - frames.mean(axis=-1, keepdims=True)) * window[None, None]
    spectrum = rfft(frames, FFT_SIZE)
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)

    def at_lags(lags: np.ndarray) -> np.ndarray:
        turns = np.arange(FFT_SIZE // 2 + 1)[:, None] * lags[None] / FFT_SIZE
        weight = np.full((FFT_SIZE // 2 + 1, 1), 2.0)
        weight[[0, -1]] = 1.0
        return weight * np.cos(2 * np.pi * turns) / FFT_SIZE

    lags = rate / candidate_pitches()
    window_power = np.abs(np.fft.rfft(window, FFT_SIZE)) ** 2
    window_correlation = (window_power @ at_lags(lags)) / (window**2).sum()
    correlation = power @ (at_lags(lags) / window_correlation).astype(np.float32)
    energy = power @ at_lags(np.zeros(1)).astype(np.float32)
    return correlation / (energy + 1e-6)


def track_pitch(
    audio: Float[Array, "B N"], *, sample_rate: int, hop_seconds: float
) -> tuple[Float[Array, "B T"], Float[Array, "B T"]]:
    """Pitch, octaves above REFERENCE_HZ, and voicing in [0, 1] (how periodic a frame is there)."""
    salience = periodicity(audio, sample_rate=sample_rate, hop_seconds=hop_seconds)
    octaves = np.log2(candidate_pitches() / REFERENCE_HZ).astype(np.float32)
    ranked = salience + OCTAVE_COST * (octaves - np.min(octaves))[None, None]
    choice = jax.nn.softmax(SHARPNESS * ranked, axis=-1)
    return choice @ octaves, jnp.clip((choice * salience).sum(axis=-1), 0.0, 1.0)


def prosody(
    audio: Float[Array, "B N"],
    mask: Bool[Array, "B T"],
    *,
    sample_rate: int,
    hop_seconds: float,
) -> Float[Array, "B T 5"]:
    """Pitch, voicing and level of each frame; zeros where `mask` is False.

    Channels: voicing v in [0, 1] (periodicity of the best candidate); v times the pitch in octaves
    above 160 Hz; v times the pitch less the clip's own voiced mean; level ln(mean square + 1e-6)
    scaled as the log-mel bands are; the level less the clip's own mean.
    """
    pitch, voicing = track_pitch(audio, sample_rate=sample_rate, hop_seconds=hop_seconds)
    # Weakly periodic frames are mostly noise between words.
    voiced = jnp.where(mask, jnp.square(voicing), 0.0)
    mean_pitch = (voiced * pitch).sum(axis=1) / (voiced.sum(axis=1) + 1e-6)

    hop = round(hop_seconds * sample_rate)
    width = round(WINDOW_SECONDS * sample_rate)
    # Of blocks as long as both windows and hops are whole numbers of: a sixteenth of the sum's
    # steps, and of its rounding.
    block = math.gcd(hop, width, width // 2)
    blocks = jnp.pad(jnp.square(audio), ((0, 0), (width // 2, width + block)))
    blocks = blocks[:, : blocks.shape[1] // block * block].reshape(audio.shape[0], -1, block)
    sums = jnp.pad(jnp.cumsum(blocks.sum(axis=-1), axis=1), ((0, 0), (1, 0)))
    first = jnp.arange(mask.shape[1]) * (hop // block)
    power = (sums[:, first + width // block] - sums[:, first]) / width
    level = jnp.log(jnp.maximum(power, 0) + LEVEL_FLOOR)
    level = (level + 7.0) / 3.0
    features = jnp.stack(
        [
            voicing,
            voiced * pitch,
            voiced * (pitch - mean_pitch[:, None]),
            level,
            level - masked_mean(level[..., None], mask),
        ],
        axis=-1,
    )
    return jnp.where(mask[..., None], features, 0.0)
