"""What the image network sees: scaling and the luminance of a clip."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_avemo.models.video import pixels
from jax_avemo.models.video.pixels import CHANNELS

standardise_luminance = jax.jit(pixels.standardise_luminance)
local_contrast = jax.jit(pixels.local_contrast)
luminance_of = jax.jit(pixels.luminance_of)
scale_pixels = jax.jit(pixels.scale_pixels, static_argnums=(2, 3, 4))
MASK = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0]], bool)
HALF, QUARTER = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


@pytest.fixture
def video():
    return np.random.default_rng(0).integers(0, 256, (3, 3, 4, 5, 3), dtype=np.uint8)


def test_luminance_is_standardised_over_a_clips_real_frames_and_pixels(video):
    out = standardise_luminance(jnp.asarray(video / 255.0, jnp.float32), jnp.asarray(MASK))
    for b in range(2):
        luma = (video[b] / 255.0) @ np.array([0.299, 0.587, 0.114])
        real = luma[MASK[b]]
        expected = (luma - real.mean()) / (real.std() + 0.025)
        np.testing.assert_allclose(out[b, ..., 0], expected, atol=1e-4)


def test_luminance_does_not_know_the_lamp():
    """An affine change of all of a clip's values all but cancels; a flat clip stays flat."""
    rng = np.random.default_rng(1)
    bright = rng.uniform(0.3, 0.9, (1, 2, 8, 8, 3)).astype(np.float32)
    mask = jnp.ones((1, 2), bool)
    original = standardise_luminance(jnp.asarray(bright), mask)
    darker = standardise_luminance(jnp.asarray(bright * 0.8 - 0.1), mask)
    np.testing.assert_allclose(darker, original, atol=0.25)
    correlation = np.corrcoef(np.ravel(darker), np.ravel(original))[0, 1]
    np.testing.assert_allclose(correlation, 1, atol=1e-5)
    flat = standardise_luminance(jnp.full((1, 2, 8, 8, 3), 0.4), mask)
    np.testing.assert_allclose(flat, 0, atol=1e-4)


def test_padding_frames_change_nothing_and_a_clip_without_frames_is_finite(video):
    mask = jnp.asarray(MASK)
    real = np.asarray(scale_pixels(jnp.asarray(video), mask, HALF, QUARTER, CHANNELS))
    spoilt = np.where(MASK[:, :, None, None, None], video, 255 - video)
    again = np.asarray(scale_pixels(jnp.asarray(spoilt), mask, HALF, QUARTER, CHANNELS))
    np.testing.assert_array_equal(again[MASK], real[MASK])
    assert np.isfinite(real).all()


def test_colour_is_scaled_by_constants(video):
    out = scale_pixels(
        jnp.asarray(video),
        jnp.asarray(MASK),
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
        ("colour",),
    )
    assert out.shape == video.shape
    expected = (video / 255.0 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_local_contrast_against_a_loop_over_places(video):
    luminance = np.asarray(luminance_of(jnp.asarray(video / 255.0, jnp.float32)), np.float64)
    out = local_contrast(jnp.asarray(luminance, jnp.float32))
    height, width = luminance.shape[2:]
    y, x = np.mgrid[:height, :width]
    for b, f, h, w in [(0, 0, 0, 0), (1, 2, 3, 4), (2, 1, 2, 2)]:
        distance = ((y - h) / (0.1 * height)) ** 2 + ((x - w) / (0.1 * width)) ** 2
        weights = np.exp(-0.5 * distance)
        weights /= weights.sum()
        mean = (weights * luminance[b, f]).sum()
        variance = (weights * luminance[b, f] ** 2).sum() - mean**2
        expected = (luminance[b, f, h, w] - mean) / (np.sqrt(max(variance, 0)) + 0.025)
        np.testing.assert_allclose(out[b, f, h, w], expected, atol=2e-3)


def test_local_contrast_does_not_see_light_from_one_side():
    rng = np.random.default_rng(0)
    face = rng.uniform(0.3, 0.7, (1, 1, 48, 48)).astype(np.float32)
    shade = np.linspace(0.5, 1.2, 48, dtype=np.float32).reshape(1, 1, 1, 48)
    lit, plain = local_contrast(jnp.asarray(face * shade)), local_contrast(jnp.asarray(face))
    assert np.corrcoef(np.ravel(lit), np.ravel(plain))[0, 1] > 0.99
