"""CoordinateAttention against its equations in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
from support.modules import coordinate_attention
from support.numpy_reference import assert_gradients

from jax_avemo.models.video.coordinate_attention import hard_swish

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(4, 5, 3, 16)), jnp.float32)
MASK = jnp.array([True, True, False, True])


def random_like(variables):
    return jax.tree.map(
        lambda leaf: jnp.asarray(RNG.normal(0.5, 0.5, leaf.shape), jnp.float32), variables
    )


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def reference(params, x, mask):
    """Equations 4 to 8 of the paper, image by image, statistics over the masked-in ones."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    x, mask = np.asarray(x, np.float64), np.asarray(mask)
    height = x.shape[1]

    def conv(name, f):
        return f @ params[name]["kernel"] + params[name]["bias"]

    f = conv("conv1", np.concatenate([x.mean(2), x.mean(1)], axis=1))
    real = f[mask].reshape(-1, f.shape[-1])
    f = (f - real.mean(0)) / np.sqrt(real.var(0) + 1e-5)
    f = f * params["bn1"]["scale"] + params["bn1"]["bias"]
    f = f * np.minimum(np.maximum(f + 3, 0), 6) / 6
    a_h, a_w = sigmoid(conv("conv_h", f[:, :height])), sigmoid(conv("conv_w", f[:, height:]))
    y = np.empty_like(x)
    for b in range(x.shape[0]):
        for i in range(height):
            for j in range(x.shape[2]):
                y[b, i, j] = x[b, i, j] * a_h[b, i] * a_w[b, j]
    return y, a_h, a_w


def test_equals_the_equations_and_sows_both_maps():
    layer = coordinate_attention()
    start = jax.eval_shape(lambda: layer.init(jax.random.key(0), X, MASK, True))
    params = random_like(start["params"])
    assert params["conv1"]["kernel"].shape == (16, 8)

    @jax.jit
    def run(x, mask):
        stats = {"bn1": {"mean": jnp.zeros(8), "var": jnp.ones(8)}}
        variables = {"params": params, "batch_stats": stats}
        return layer.apply(variables, x, mask, True, mutable=["batch_stats", "intermediates"])

    y, updated = run(X, MASK)
    expected, a_h, a_w = reference(params, X, MASK)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    maps = updated["intermediates"]
    np.testing.assert_allclose(maps["height_attention"][0], a_h, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(maps["width_attention"][0], a_w, rtol=1e-4, atol=1e-6)

    other = jnp.where(MASK[:, None, None, None], X, 9.0)
    other_y, other_updated = run(other, MASK)
    np.testing.assert_array_equal(y[MASK], other_y[MASK])
    jax.tree.map(
        np.testing.assert_array_equal, updated["batch_stats"], other_updated["batch_stats"]
    )


def test_its_gradient_is_the_equations_finite_difference():
    layer = coordinate_attention()
    start = jax.eval_shape(lambda: layer.init(jax.random.key(0), X, MASK, True))
    params = random_like(start["params"])
    stats = {"bn1": {"mean": jnp.zeros(8), "var": jnp.ones(8)}}
    weights = RNG.normal(size=X.shape) * np.asarray(MASK)[:, None, None, None]

    @jax.jit
    def gradients(params, x):
        def loss(params, x):
            variables = {"params": params, "batch_stats": stats}
            y, _ = layer.apply(variables, x, MASK, True, mutable=["batch_stats"])
            return (jnp.asarray(weights, jnp.float32) * y).sum()

        return jax.grad(loss, argnums=(0, 1))(params, x)

    assert_gradients(
        lambda params, x: (weights * reference(params, x, MASK)[0]).sum(),
        gradients(params, X),
        params,
        X,
    )


def test_the_bottleneck_is_never_narrower_than_8():
    layer = coordinate_attention()
    params = jax.eval_shape(lambda: layer.init(jax.random.key(0), X, None, False))["params"]
    assert params["conv1"]["kernel"].shape == (16, 8)


def test_zeroed_gates_quarter_the_input():
    """What an importer relies on: with conv_h and conv_w zero, y = x / 4 whatever x is."""
    layer = coordinate_attention()
    variables = layer.init(jax.random.key(0), X, None, False)
    for name in ("conv_h", "conv_w"):
        variables["params"][name] = jax.tree.map(jnp.zeros_like, variables["params"][name])
    np.testing.assert_allclose(layer.apply(variables, X, None, False), X / 4, rtol=1e-6)


def test_the_gate_bias_opens_the_gates():
    layer = coordinate_attention(gate_bias_init=2.0)
    params = layer.init(jax.random.key(0), X, None, False)["params"]
    np.testing.assert_array_equal(params["conv_h"]["bias"], 2.0)
    np.testing.assert_array_equal(params["conv_w"]["bias"], 2.0)


def test_hard_swish_at_its_corners():
    np.testing.assert_allclose(
        hard_swish(jnp.array([-4.0, -3.0, 0.0, 1.0, 3.0, 5.0])),
        [0.0, 0.0, 0.0, 4 / 6, 3.0, 5.0],
        rtol=1e-6,
    )


def test_half_precision_in_and_out():
    layer = coordinate_attention(dtype=jnp.bfloat16)
    x = jnp.asarray(X, jnp.bfloat16)
    y, variables = jax.eval_shape(lambda: layer.init_with_output(jax.random.key(0), x, MASK, False))
    assert y.dtype == jnp.bfloat16
    for collection in ("params", "batch_stats"):
        assert {leaf.dtype.name for leaf in jax.tree.leaves(variables[collection])} == {"float32"}
