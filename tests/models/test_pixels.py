"""What the image network sees: scaling and the luminance of a clip."""

import jax.numpy as jnp
import numpy as np
import pytest

from jax_avemo.models.pixels import scale_pixels, standardise_luminance

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
    real = np.asarray(scale_pixels(jnp.asarray(video), mask, HALF, QUARTER, True))
    spoilt = np.where(MASK[:, :, None, None, None], video, 255 - video)
    again = np.asarray(scale_pixels(jnp.asarray(spoilt), mask, HALF, QUARTER, True))
    np.testing.assert_array_equal(again[MASK], real[MASK])
    assert np.isfinite(real).all()


def test_colour_is_scaled_by_constants(video):
    out = scale_pixels(
        jnp.asarray(video), jnp.asarray(MASK), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), False
    )
    assert out.shape == video.shape
    expected = (video / 255.0 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(out, expected, atol=1e-5)
