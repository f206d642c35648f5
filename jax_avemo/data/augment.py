"""Augmentation of a training clip; a change of the video is equal in all frames."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy.random import Generator
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

from jax_avemo.schema import AUDIO_SAMPLE_RATE

CROP_SHARE = 0.875
"""The share of a stored crop's side that is fed; the margin leaves room to shift and rotate."""

LONGEST_SILENCE_SECONDS = 0.4


@dataclass(frozen=True)
class AugmentOptions:
    """Strengths; see the `augment` fields of `jax_avemo.config_fields`."""

    flip_probability: float
    colour_strength: float
    grey_probability: float
    occlusion_probability: float
    max_zoom: float
    max_rotation_degrees: float
    gain_db: float
    noise_probability: float
    max_speed_change: float
    equaliser_db: float
    mask_probability: float
    audio_swap_probability: float


def crop_matrix(
    stored: int,
    fed: int,
    *,
    zoom: float = 1.0,
    degrees: float = 0.0,
    shift: Sequence[float] | np.ndarray = (0.0, 0.0),
    flip: bool = False,
) -> Float[np.ndarray, "2 3"]:
    """The affine map from a fed frame's pixels to a stored crop's pixels.

    Args:
      stored, fed: sides in px.
      zoom: above 1 the face grows.
      degrees: rotation about the middle.
      shift: of the middle, in shares of the stored side (x, y).
      flip: mirror left and right.
    """
    scale = stored * CROP_SHARE / fed / zoom
    angle = np.deg2rad(degrees)
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[cosine, -sine], [sine, cosine]])
    if flip:
        linear[:, 0] *= -1
    middle_fed = np.full(2, (fed - 1) / 2)
    middle_stored = np.full(2, (stored - 1) / 2) + stored * np.asarray(shift)
    return np.column_stack([linear, middle_stored - linear @ middle_fed])


def crop(frames: UInt8[np.ndarray, "F S S 3"], fed: int, matrix: np.ndarray) -> np.ndarray:
    """Cut `frames` by `crop_matrix`; uint8 [F, fed, fed, 3]."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cut = np.empty((len(frames), fed, fed, 3), np.uint8)
    for index, frame in enumerate(frames):
        cv2.warpAffine(
            frame, matrix, (fed, fed), cut[index], flags, borderMode=cv2.BORDER_REPLICATE
        )
    return cut


def random_crop_matrix(
    stored: int, fed: int, options: AugmentOptions, rng: Generator
) -> Float[np.ndarray, "2 3"]:
    """A random flip, zoom, rotation and shift within the stored margin."""
    margin = (1 - CROP_SHARE) / 2
    return crop_matrix(
        stored,
        fed,
        zoom=1 + rng.uniform(-options.max_zoom, options.max_zoom),
        degrees=rng.uniform(-options.max_rotation_degrees, options.max_rotation_degrees),
        shift=rng.uniform(-margin, margin, 2) * 0.6,
        flip=rng.random() < options.flip_probability,
    )


def recolour(
    frames: UInt8[np.ndarray, "F H W 3"], options: AugmentOptions, rng: Generator
) -> UInt8[np.ndarray, "F H W 3"]:
    """Brightness, tint, contrast, grey and an erased square."""
    strength = options.colour_strength
    gain = 1 + strength * (rng.uniform(0.8, 1.25) * rng.uniform(0.93, 1.07, 3) - 1)
    offset = strength * rng.uniform(-15, 15)
    table = np.clip(np.arange(256)[:, None] * gain + offset, 0, 255).astype(np.uint8)
    frames = np.stack([cv2.LUT(frame, table[None]) for frame in frames])
    if rng.random() < options.grey_probability:
        frames = np.repeat(frames.mean(-1, keepdims=True).astype(np.uint8), 3, axis=-1)
    if rng.random() < options.occlusion_probability:
        side = frames.shape[1] // 4
        top, left = rng.integers(0, frames.shape[1] - side + 1, 2)
        frames[:, top : top + side, left : left + side] = 128
    return frames


def change_speed(audio: Float[np.ndarray, " N"], speed: float) -> Float[np.ndarray, " M"]:
    """Play `audio` `speed` times as fast (pitch and formants move too), by linear interpolation."""
    positions = np.arange(0, len(audio) - 1, speed)
    return np.interp(positions, np.arange(len(audio)), audio).astype(np.float32)


def equalise(
    audio: Float[np.ndarray, " N"], deviation_db: float, rng: Generator, *, notch: bool = False
) -> Float[np.ndarray, " N"]:
    """Pass `audio` through a random smooth response: another microphone, another room.

    Gains at octaves from 62.5 Hz to 8 kHz are normal (sd `deviation_db`) and joined linearly over
    log-frequency. `notch` also takes out a random band a third of an octave to an octave wide.
    """
    # A length with a large prime factor takes four times as long, and was most of the input's time.
    length = next_fast_len(len(audio), real=True)
    spectrum = rfft(audio, length)
    octave = _octaves(length)
    gains = rng.normal(0, deviation_db, 8)
    response = np.ones(len(octave), np.float32)
    if deviation_db:
        response = (10 ** (np.interp(octave, np.arange(8), gains) / 20)).astype(np.float32)
    if notch:
        low = rng.uniform(0, 6.5)
        response[(octave > low) & (octave < low + rng.uniform(0.33, 1.0))] = 0.0
    return irfft(spectrum * response, length)[: len(audio)]


@functools.lru_cache(maxsize=256)
def _octaves(length: int) -> Float[np.ndarray, " F"]:
    """Of the frequencies of a transform of `length` samples, octaves above 62.5 Hz."""
    hertz = rfftfreq(length, 1 / AUDIO_SAMPLE_RATE)
    return np.log2(np.maximum(hertz, 31.25) / 62.5)


def vary_sound(
    audio: Float[np.ndarray, " N"], options: AugmentOptions, rng: Generator
) -> Float[np.ndarray, " N"]:
    """Level, response, masked bands and moments (Park et al. 2019, SpecAugment, on the wave), and
    added noise (white to low-passed, 10 to 30 dB below the sound)."""
    audio = audio * np.float32(10 ** (rng.normal(0, options.gain_db) / 20))
    if len(audio):
        masked = rng.random(2) < options.mask_probability
        if options.equaliser_db or masked[0]:
            audio = equalise(audio, options.equaliser_db, rng, notch=bool(masked[0]))
        if masked[1]:
            first = int(rng.uniform(0, len(audio)))
            last = first + int(rng.uniform(0, LONGEST_SILENCE_SECONDS) * AUDIO_SAMPLE_RATE)
            audio[first:last] = 0.0
    if rng.random() < options.noise_probability and len(audio):
        noise = rng.standard_normal(len(audio), np.float32)
        colour = rng.uniform(0, 0.9)
        noise[1:] += np.float32(colour) * noise[:-1]
        level = np.sqrt(np.mean(audio**2)) * 10 ** (-rng.uniform(10, 30) / 20)
        audio = audio + noise * np.float32(level / (noise.std() + 1e-9))
    return np.clip(audio, -1, 1)
