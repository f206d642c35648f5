"""MaskedBatchNorm against NumPy in float64, and what padding must not change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.modules import batch_norm

from jax_avemo.models.layers.batch_norm import masked_moments

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(3.0, 2.0, (5, 3, 4, 6)), jnp.float32)
MASK = jnp.array([True, False, True, True, False])
SCALE = RNG.uniform(0.5, 1.5, 6).astype(np.float32)
BIAS = RNG.normal(size=6).astype(np.float32)


def variables(mean=0.0, var=1.0):
    return {
        "params": {"scale": jnp.asarray(SCALE), "bias": jnp.asarray(BIAS)},
        "batch_stats": {"mean": jnp.full(6, mean), "var": jnp.full(6, var)},
    }


@jax.jit
def train(x, mask):
    y, updated = batch_norm().apply(variables(), x, mask, True, mutable=["batch_stats"])
    return y, updated["batch_stats"]


def reference(x, mask, epsilon=1e-5):
    x = np.asarray(x, np.float64)
    real = x[np.asarray(mask)].reshape(-1, x.shape[-1])
    mean, var = real.mean(0), real.var(0)
    return (x - mean) / np.sqrt(var + epsilon) * SCALE + BIAS, mean, real.var(0, ddof=1)


@pytest.mark.parametrize("mask", [MASK, RNG.random((5, 3)) < 0.6, np.ones(5, bool)])
def test_training_normalises_with_the_real_rows(mask):
    y, stats = train(X, mask)
    expected, mean, unbiased = reference(X, mask)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(stats["mean"], 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * unbiased, rtol=1e-5)


def test_no_mask_is_a_mask_of_ones():
    y, stats = train(X, None)
    masked_y, masked_stats = train(X, np.ones(5, bool))
    np.testing.assert_allclose(y, masked_y, rtol=1e-6, atol=1e-6)
    for name in ("mean", "var"):
        np.testing.assert_allclose(stats[name], masked_stats[name], rtol=1e-6)


def test_evaluation_uses_the_running_statistics():
    layer = batch_norm()
    y = layer.apply(variables(mean=2.0, var=4.0), X, None, False)
    expected = (np.asarray(X, np.float64) - 2.0) / np.sqrt(4.00001) * SCALE + BIAS
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_evaluation_reaches_training_on_a_batch_seen_again_and_again():
    """Up to n / (n - 1), n real values: the running statistics are those of the real rows."""
    layer, seen = batch_norm(momentum=0.5), variables()
    again = jax.jit(lambda seen: layer.apply(seen, X, MASK, True, mutable=["batch_stats"]))
    for _ in range(30):  # 2^-30 of the start is left
        _, updated = again(seen)
        seen |= updated
    y = layer.apply(seen, X, MASK, False)
    _, mean, unbiased = reference(X, MASK)
    expected = (np.asarray(X, np.float64) - mean) / np.sqrt(unbiased + 1e-5) * SCALE + BIAS
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_padding_changes_nothing():
    def loss(x, weights, mask):
        y, stats = train(x, mask)
        return (weights * jnp.where(mask[:, None, None, None], y, 0.0)).sum(), (y, stats)

    weights = RNG.normal(size=X.shape).astype(np.float32)
    value_and_grad = jax.jit(jax.value_and_grad(loss, has_aux=True))
    other = jnp.where(MASK[:, None, None, None], X, 1e3 * weights)
    (value, (y, stats)), gradient = value_and_grad(X, weights, MASK)
    (other_value, (other_y, other_stats)), other_gradient = value_and_grad(other, weights, MASK)
    assert value == other_value
    np.testing.assert_array_equal(y[MASK], other_y[MASK])
    jax.tree.map(np.testing.assert_array_equal, stats, other_stats)
    np.testing.assert_array_equal(gradient, other_gradient)
    np.testing.assert_array_equal(gradient[~MASK], 0.0)


def test_gradients_equal_finite_differences():
    weights = RNG.normal(size=X.shape)
    params = {"scale": jnp.asarray(SCALE), "bias": jnp.asarray(BIAS)}

    def loss(params, x):
        y, _ = batch_norm().apply(
            {**variables(), "params": params}, x, MASK, True, mutable=["batch_stats"]
        )
        return (weights * y).sum()

    gradients, gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))(params, X)
    # The reference is linear in scale and bias: their gradients in closed form.
    x = np.asarray(X, np.float64)
    real = x[np.asarray(MASK)].reshape(-1, 6)
    normalised = (x - real.mean(0)) / np.sqrt(real.var(0) + 1e-5)
    np.testing.assert_allclose(gradients["scale"], (weights * normalised).sum((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(gradients["bias"], weights.sum((0, 1, 2)), rtol=1e-4)
    for index in [(0, 1, 2, 3), (3, 0, 0, 5), (1, 2, 1, 0)]:  # the last is a masked row
        step = np.zeros_like(x)
        step[index] = 1e-4
        ahead, behind = (
            (weights * reference(x + side * step, MASK)[0]).sum() for side in (1.0, -1.0)
        )
        assert gradient[index] == pytest.approx((ahead - behind) / 2e-4, rel=1e-3, abs=1e-4)


def test_a_batch_of_padding_changes_no_statistic_and_stays_finite():
    nothing = np.zeros(5, bool)
    y, stats = train(X, nothing)
    np.testing.assert_array_equal(stats["mean"], 0.0)
    np.testing.assert_array_equal(stats["var"], 1.0)
    assert np.isfinite(y).all()
    gradient = jax.grad(lambda x: train(x, nothing)[0].sum())(X)
    assert np.isfinite(gradient).all()


def test_a_large_mean_does_not_cancel_the_variance():
    x = jnp.asarray(4000.0 + RNG.normal(size=(64, 2)), jnp.float32)
    _, variance, count = masked_moments(x, None)
    np.testing.assert_allclose(variance, np.asarray(x, np.float64).var(0), rtol=1e-4)
    assert count == 64


def test_half_precision_has_float32_statistics():
    x = jnp.asarray(X, jnp.bfloat16)
    y, stats = train(x, MASK)
    assert y.dtype == jnp.bfloat16
    _, mean, _ = reference(x.astype(jnp.float32), MASK)
    assert stats["mean"].dtype == jnp.float32
    np.testing.assert_allclose(stats["mean"], 0.1 * mean, rtol=1e-5)


def test_initialising_leaves_the_statistics_at_their_start():
    init = batch_norm(scale_init=jax.nn.initializers.constant(0.5)).init
    start = init(jax.random.key(0), X, MASK, True)
    np.testing.assert_array_equal(start["batch_stats"]["mean"], 0.0)
    np.testing.assert_array_equal(start["batch_stats"]["var"], 1.0)
    np.testing.assert_array_equal(start["params"]["scale"], 0.5)


@pytest.mark.parametrize("shape", [(4,), (5, 4), (5, 3, 4, 6)])
def test_a_mask_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match="first axes"):
        masked_moments(X, jnp.ones(shape, bool))
