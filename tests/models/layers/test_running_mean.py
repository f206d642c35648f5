"""The running mean against a loop."""

import jax
import jax.numpy as jnp
import numpy as np

from jax_avemo.models.layers.running_mean import MOMENTUM, RunningMean


def test_training_moves_it_by_the_mean_of_the_real_rows_and_evaluation_reads_it():
    rng = np.random.default_rng(0)
    layer = RunningMean()
    state = layer.init(jax.random.key(0), jnp.zeros((4, 3)), jnp.ones(4, bool), train=True)
    expected = np.zeros(3)
    for mask in ([True] * 4, [True, False, True, False], [False] * 4):
        x = rng.normal(size=(4, 3)).astype(np.float32)
        before, state = layer.apply(
            state, jnp.asarray(x), jnp.array(mask), train=True, mutable=["batch_stats"]
        )
        np.testing.assert_allclose(before, expected, atol=1e-6)
        if any(mask):
            expected = MOMENTUM * expected + (1 - MOMENTUM) * x[mask].mean(axis=0)
    found = layer.apply(state, jnp.asarray(x), jnp.array(mask), train=False)
    np.testing.assert_allclose(found, expected, atol=1e-6)
