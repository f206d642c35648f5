"""Overlapping frames against slices of the padded sound."""

import jax.numpy as jnp
import numpy as np
import pytest

from jax_avemo.models.audio.framing import overlapping_frames


@pytest.mark.parametrize(("width", "hop"), [(8, 4), (10, 4), (3, 5), (7, 7)])
@pytest.mark.parametrize("samples", [0, 3, 20, 23])
def test_frames_are_centred_slices(width, hop, samples):
    sound = np.random.default_rng(0).normal(size=(2, samples)).astype(np.float32)
    window = np.random.default_rng(1).normal(size=width).astype(np.float32)
    padded = np.pad(sound, ((0, 0), (width // 2, width)))
    expected = np.stack(
        [padded[:, t * hop : t * hop + width] for t in range(1 + samples // hop)], axis=1
    )
    found = overlapping_frames(jnp.asarray(sound), width, hop)
    np.testing.assert_array_equal(found, expected)
    found = overlapping_frames(jnp.asarray(sound), width, hop, window)
    np.testing.assert_allclose(found, expected * window, rtol=1e-6)
