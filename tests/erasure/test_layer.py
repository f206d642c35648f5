"""The erasure layer against its formula; the head that is evaluated."""

import jax
import jax.numpy as jnp
import numpy as np

from jax_avemo.erasure import layer

Z = jnp.asarray(np.random.default_rng(0).normal(size=(4, 6)), jnp.float32)


def test_an_unfitted_layer_changes_nothing():
    module = layer.LinearErasure()
    variables = module.init(jax.random.key(0), Z)
    assert set(variables) == {"erasure"}
    np.testing.assert_array_equal(module.apply(variables, Z), Z)


def test_a_fitted_layer_is_its_formula():
    module = layer.LinearErasure()
    rng = np.random.default_rng(1)
    mean, projection = rng.normal(size=6), rng.normal(size=(6, 6))
    variables = {"erasure": {"mean": jnp.float32(mean), "projection": jnp.float32(projection)}}
    expected = np.stack([z - projection @ (z - mean) for z in np.asarray(Z, np.float64)])
    np.testing.assert_allclose(module.apply(variables, Z), expected, atol=1e-5)
    assert module.apply(variables, Z.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    weights = jnp.asarray(rng.normal(size=6), jnp.float32)
    gradient = jax.grad(lambda z: (module.apply(variables, z) @ weights).sum())(Z)
    expected = np.tile((np.eye(6) - projection).T @ np.asarray(weights), (4, 1))
    np.testing.assert_allclose(gradient, expected, atol=1e-5)


def test_the_trained_head_is_evaluated_until_one_is_fitted():
    trained = {"kernel": jnp.full((6, 3), 2.0), "bias": jnp.arange(3.0)}
    state = layer.unfitted({"identity_erasure": {"mean": jnp.ones(6)}}, trained)
    assert not any(leaf.any() for leaf in jax.tree.leaves(state))
    jax.tree.map(np.testing.assert_array_equal, layer.evaluated_head(state, trained), trained)
    fitted = jax.tree.map(lambda leaf: leaf + 1, trained)
    state = layer.ErasureState(state.layers, fitted, jnp.bool_(True))
    jax.tree.map(np.testing.assert_array_equal, layer.evaluated_head(state, trained), fitted)
