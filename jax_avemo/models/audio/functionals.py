"""Functionals of a whole utterance: length, pitch, voice quality, level, spectrum.

Functionals of low-level descriptors in the manner of GeMAPS (Eyben et al., "The Geneva Minimalistic
Acoustic Parameter Set (GeMAPS) for Voice Research and Affective Computing", IEEE Transactions on
Affective Computing 7(2), 2016). A mean over time, which is what a convolutional network pools to,
tells neither a long sentence from a short one nor the range of a pitch from its height; a small
corpus does not teach it.
"""

from itertools import pairwise

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jax_avemo.models.layers.attention import masked_mean

LEAST_VOICING = 0.6
"""Frames at least this periodic are voiced (in a clip where that would be less than a fifth of
them, the most periodic fifth is)."""
ACTIVE_SHARE = 0.4
"""Sound is where the level exceeds the quietest by this share of the clip's range."""
BAND_EDGES_HZ = (50.0, 500.0, 1500.0, 3000.0, 5000.0, 8000.0)
"""Tilt is the level of each of these bands over that of the next."""
BAND_FLOOR = 1e-5
CEPSTRA = 24
"""Cepstral coefficients of which there are functionals."""

VOICE = (
    "active_span",
    "voiced_span",
    "voiced_time",
    "active_time",
    "pitch_median",
    "pitch_deviation",
    "pitch_range",
    "pitch_slope",
    "jitter_median",
    "jitter_mean",
    "jitter_change",
    "voicing",
    "active_voicing",
    "level",
    "level_range",
    "level_deviation",
    "tilt_500",
    "tilt_1500",
    "tilt_3000",
    "tilt_5000",
)
"""Spans (first to last) and times (sum) in s; pitch in octaves, its slope over the time of sound;
jitter in octaves a frame, change of it a frame; levels and tilts are natural logarithms of power.
"""


def masked_quantile(
    x: Float[Array, "B T"], mask: Bool[Array, "B T"], share: float
) -> Float[Array, " B"]:
    """The value of rank round(share * (n - 1)) of the n real ones of each row; 0 where n = 0."""
    count = mask.sum(axis=1)
    ordered = jnp.sort(jnp.where(mask, x, jnp.inf), axis=1)
    rank = jnp.round(share * (count - 1)).astype(jnp.int32)
    chosen = jnp.take_along_axis(ordered, jnp.maximum(rank, 0)[:, None], axis=1)[:, 0]
    return jnp.where(count > 0, chosen, 0.0)


def functionals(
    log_mel: Float[Array, "B T M"],
    cepstra: Float[Array, "B T C"],
    pitch: Float[Array, "B T"],
    voicing: Float[Array, "B T"],
    mask: Bool[Array, "B T"],
    *,
    centres_hz: np.ndarray,
    hop_seconds: float,
) -> Float[Array, "B F"]:
    """The values of VOICE, then F - 20 = 3 M + 4 C of the spectrum; zeros for a clip without sound.

    Of the spectrum, over the active frames: mean and deviation of each band and its maximum over
    all frames; of each cepstral coefficient mean and deviation, and of its difference over two
    frames the deviation and the mean size. Nothing is standardised.

    Args:
      log_mel: ln of the power in mel bands.
      cepstra: of these bands.
      pitch, voicing: of `prosody.track_pitch`. An octave error is folded back to the octave around
        the clip's median.
      mask: True = real frame; others change nothing.
      centres_hz: of the mel bands.
      hop_seconds: between two frames.
    """
    ordinary = masked_quantile(voicing, mask, 0.8)
    voiced = mask & (voicing >= jnp.minimum(LEAST_VOICING, ordinary)[:, None])
    median = masked_quantile(pitch, voiced, 0.5)[:, None]
    pitch = pitch - jnp.round(pitch - median)
    power = jnp.exp(log_mel)
    level = jnp.log(power.sum(axis=-1))
    quiet, loud = masked_quantile(level, mask, 0.05), masked_quantile(level, mask, 0.95)
    active = mask & (level > (quiet + ACTIVE_SHARE * (loud - quiet))[:, None])

    bands = [
        jnp.log(power[..., (centres_hz >= low) & (centres_hz < high)].sum(axis=-1) + BAND_FLOOR)
        for low, high in pairwise(BAND_EDGES_HZ)
    ]
    values = [
        _span(active) * hop_seconds,
        _span(voiced) * hop_seconds,
        voiced.sum(axis=1) * hop_seconds,
        active.sum(axis=1) * hop_seconds,
        *_of_pitch(pitch, voiced, active),
        _mean(voicing, voiced),
        _mean(voicing, active),
        _mean(level, voiced),
        loud - quiet,
        _deviation(level, voiced),
        *[_mean(lower - upper, voiced) for lower, upper in pairwise(bands)],
    ]
    return jnp.where(
        mask.any(axis=1)[:, None],
        jnp.concatenate(
            [jnp.stack(values, axis=-1), *_of_spectrum(log_mel, cepstra, mask, active)], axis=-1
        ),
        0.0,
    )


def _of_pitch(
    pitch: Float[Array, "B T"], voiced: Bool[Array, "B T"], active: Bool[Array, "B T"]
) -> list[Float[Array, " B"]]:
    """Level, spread and slope of the pitch in voiced frames, and its changes between them."""
    pairs = voiced[:, 1:] & voiced[:, :-1]
    triples = pairs[:, 1:] & pairs[:, :-1]
    jitter = jnp.abs(jnp.diff(pitch, axis=1))
    return [
        masked_quantile(pitch, voiced, 0.5),
        _deviation(pitch, voiced),
        masked_quantile(pitch, voiced, 0.9) - masked_quantile(pitch, voiced, 0.1),
        _slope(pitch, voiced, active),
        masked_quantile(jitter, pairs, 0.5),
        _mean(jitter, pairs),
        masked_quantile(jnp.abs(jnp.diff(pitch, n=2, axis=1)), triples, 0.5),
    ]


def _of_spectrum(
    log_mel: Float[Array, "B T M"],
    cepstra: Float[Array, "B T C"],
    mask: Bool[Array, "B T"],
    active: Bool[Array, "B T"],
) -> list[Float[Array, "B _"]]:
    differences = cepstra[:, 2:] - cepstra[:, :-2]
    inner = active[:, 1:-1] & mask[:, 2:]
    return [
        *_mean_and_deviation(log_mel, active),
        jnp.where(mask[..., None], log_mel, -jnp.inf).max(axis=1),
        *_mean_and_deviation(cepstra, active),
        _mean_and_deviation(differences, inner)[1],
        masked_mean(jnp.abs(differences), inner),
    ]


def _mean_and_deviation(
    x: Float[Array, "B T C"], of: Bool[Array, "B T"]
) -> tuple[Float[Array, "B C"], Float[Array, "B C"]]:
    mean = masked_mean(x, of)
    return mean, jnp.sqrt(masked_mean(jnp.square(x - mean[:, None]), of) + 1e-8)


def _mean(x: Float[Array, "B T"], of: Bool[Array, "B T"]) -> Float[Array, " B"]:
    return jnp.where(of, x, 0.0).sum(axis=1) / jnp.maximum(of.sum(axis=1), 1)


def _deviation(x: Float[Array, "B T"], of: Bool[Array, "B T"]) -> Float[Array, " B"]:
    return jnp.sqrt(_mean(jnp.square(x - _mean(x, of)[:, None]), of) + 1e-8)


def _slope(
    x: Float[Array, "B T"], of: Bool[Array, "B T"], active: Bool[Array, "B T"]
) -> Float[Array, " B"]:
    """Of the line through x, over the time in which there is sound."""
    frame = jnp.broadcast_to(jnp.arange(of.shape[1], dtype=jnp.float32), of.shape)
    time = frame - _mean(frame, of)[:, None]
    time = time / jnp.maximum(active.sum(axis=1), 1)[:, None]
    rise = _mean(time * (x - _mean(x, of)[:, None]), of)
    return rise / (_mean(jnp.square(time), of) + 1e-4)


def _span(of: Bool[Array, "B T"]) -> Float[Array, " B"]:
    """Frames from the first to the last."""
    frame = jnp.arange(of.shape[1], dtype=jnp.float32)
    last = jnp.where(of, frame, -1.0).max(axis=1)
    first = jnp.where(of, frame, jnp.inf).min(axis=1)
    return jnp.where(last >= 0, last - first, 0.0)
