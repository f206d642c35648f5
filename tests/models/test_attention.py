"""Attention, pooling and the encoding of time against NumPy, with masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jax_avemo.models.attention import (
    AttentivePooling,
    SelfAttention,
    StepAttention,
    masked_mean,
    masked_softmax,
    time_encoding,
)

MASK = np.array([[1, 1, 1, 1, 1], [1, 0, 1, 1, 0], [0, 0, 0, 0, 0]], bool)


@pytest.fixture
def x():
    return jnp.asarray(np.random.default_rng(0).normal(size=(3, 5, 8)), jnp.float32)


@pytest.fixture(scope="module")
def attention():
    """A module, its parameters (biases too are random) and the jitted function."""
    module = SelfAttention(heads=2)
    shapes = jax.eval_shape(
        lambda: module.init(jax.random.key(0), jnp.zeros((3, 5, 8)), jnp.asarray(MASK), False)
    )
    rng = np.random.default_rng(1)
    variables = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32) / 2, shapes)
    apply = jax.jit(lambda v, x, m: module.apply(v, x, m, False, method="with_weights"))
    return module, variables, apply


def layer_norm(x, norm):
    centred = x - x.mean(-1, keepdims=True)
    scale = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
    return centred / scale * norm["scale"] + norm["bias"]


def attention_reference(params, x, mask, heads):
    """One step and one head at a time, in float64, among real steps only."""
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    out, width = x.astype(np.float64).copy(), x.shape[-1]
    d = width // heads
    for b in range(len(x)):
        real = np.flatnonzero(mask[b])
        y = layer_norm(x[b, real].astype(np.float64), p["norm"])
        qkv = y @ p["query_key_value"]["kernel"] + p["query_key_value"]["bias"]
        q, k, v = qkv[:, :width], qkv[:, width : 2 * width], qkv[:, 2 * width :]
        for i, step in enumerate(real):
            parts = []
            for h in range(heads):
                part = slice(h * d, (h + 1) * d)
                w = np.exp(k[:, part] @ q[i, part] / np.sqrt(d))
                parts.append((w / w.sum()) @ v[:, part])
            out[b, step] += np.concatenate(parts) @ p["output"]["kernel"] + p["output"]["bias"]
    return out


def test_self_attention_is_the_formula_among_real_steps(attention, x):
    _, variables, apply = attention
    out, weights = apply(variables, x, MASK)
    expected = attention_reference(variables["params"], np.asarray(x), MASK, heads=2)
    np.testing.assert_allclose(out, expected, atol=2e-5)
    np.testing.assert_allclose(
        weights.sum(-1), np.broadcast_to(MASK[:, None], (3, 2, 5)), atol=1e-6
    )
    assert not np.any(np.asarray(weights)[~np.broadcast_to(MASK[:, None, None], weights.shape)])


def test_self_attention_does_not_change_padding_steps_or_empty_sequences(attention, x):
    _, variables, apply = attention
    out, _ = apply(variables, x, MASK)
    np.testing.assert_array_equal(np.asarray(out)[~MASK], np.asarray(x)[~MASK])


def test_what_padding_contains_reaches_no_real_step(attention, x):
    _, variables, apply = attention
    spoilt = jnp.where(MASK[..., None], x, jnp.nan)
    np.testing.assert_array_equal(
        np.asarray(apply(variables, spoilt, MASK)[0])[MASK],
        np.asarray(apply(variables, x, MASK)[0])[MASK],
    )


def test_attention_over_nothing_has_zero_and_finite_gradients(attention, x):
    module, variables, _ = attention

    def loss(variables, x):
        return (module.apply(variables, x, jnp.asarray(MASK), False)[2] ** 2).sum()

    of_variables, of_x = jax.jit(jax.grad(loss, argnums=(0, 1)))(variables, x)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(of_variables))  # NaN is not zero either
    np.testing.assert_allclose(of_x[2], 2 * x[2], rtol=1e-6)  # the residual alone
    assert not np.any(of_x[:2])


def test_self_attention_gradient_is_its_finite_difference(attention, x):
    module, variables, _ = attention
    with jax.enable_x64(True):
        variables = jax.tree.map(lambda a: np.asarray(a, np.float64), variables)
        f = jax.jit(lambda x: module.apply(variables, x, jnp.asarray(MASK), False).sum(0))
        check_grads(f, (x.astype(np.float64),), order=1, modes=["rev"])


def test_self_attention_drops_only_in_training(attention, x):
    _, variables, apply = attention
    module = SelfAttention(heads=2, dropout=0.5)
    train = jax.jit(
        lambda key: module.apply(variables, x, jnp.asarray(MASK), True, rngs={"dropout": key})
    )
    one, two = train(jax.random.key(1)), train(jax.random.key(2))
    assert np.abs(one - two).max() > 0.01
    np.testing.assert_array_equal(one, train(jax.random.key(1)))
    evaluated = module.apply(variables, x, jnp.asarray(MASK), False)  # asks for no key
    np.testing.assert_allclose(evaluated, apply(variables, x, MASK)[0], atol=1e-5)


def test_heads_must_divide_the_width(x):
    with pytest.raises(ValueError, match="3 attention heads"):
        SelfAttention(3).init(jax.random.key(0), x, jnp.asarray(MASK), False)


def test_step_attention_tells_equal_steps_apart_by_their_time_alone():
    module = StepAttention(heads=2)
    steps, mask = jnp.ones((2, 5, 8)), jnp.ones((2, 5), bool)
    times = jnp.asarray([[0.1, 0.2, 0.3, 0.4, 0.5], [0.3, 0.3, 0.3, 0.3, 0.3]])
    variables = jax.jit(lambda: module.init(jax.random.key(0), steps, times, mask, False))()
    out, _ = jax.jit(lambda: module.apply(variables, steps, times, mask, False))()
    assert np.abs(np.diff(out[0], axis=0)).max() > 1e-3
    np.testing.assert_allclose(out[1], np.broadcast_to(out[1][:1], (5, 8)), atol=1e-6)


def test_time_encoding_is_sines_and_cosines_at_geometric_periods():
    times = np.array([[0.0, 0.37], [2.5, 0.37]])
    periods = np.array([0.1, 10 ** (-1 + 1), 10.0, 100.0])
    angle = 2 * np.pi * times[..., None] / periods
    expected = np.concatenate([np.sin(angle), np.cos(angle)], -1)
    code = time_encoding(jnp.asarray(times, jnp.float32), 8)
    np.testing.assert_allclose(code, expected, atol=1e-4)
    np.testing.assert_array_equal(code[0, 1], code[1, 1])
    with pytest.raises(ValueError, match="even width"):
        time_encoding(jnp.zeros(2), 7)


def test_attentive_pooling_is_the_formula_and_nothing_real_gives_zeros(x):
    module = AttentivePooling(width=4)
    variables = jax.jit(lambda: module.init(jax.random.key(0), x, jnp.asarray(MASK)))()
    pooled, weights = jax.jit(module.apply)(variables, x, MASK)
    p = jax.tree.map(np.asarray, variables["params"])
    x = np.asarray(x)
    for b, real in enumerate(MASK[:2]):
        hidden = np.tanh(x[b, real] @ p["hidden"]["kernel"] + p["hidden"]["bias"])
        w = np.exp(hidden @ p["score"]["kernel"])[:, 0]
        np.testing.assert_allclose(weights[b, real], w / w.sum(), rtol=1e-5)
        np.testing.assert_allclose(pooled[b], (w / w.sum()) @ x[b, real], atol=1e-5)
    assert not np.any(np.asarray(weights)[~MASK])
    assert not np.any(pooled[2])


def test_attentive_pooling_ignores_what_padding_contains_in_value_and_gradient(x):
    module = AttentivePooling(width=4)
    variables = jax.jit(lambda: module.init(jax.random.key(0), x, jnp.asarray(MASK)))()
    f = jax.jit(
        jax.value_and_grad(lambda v, x: (module.apply(v, x, jnp.asarray(MASK))[0] ** 2).sum())
    )
    spoilt = jnp.where(MASK[..., None], x, jnp.inf)
    value, gradient = f(variables, x)
    spoilt_value, spoilt_gradient = f(variables, spoilt)
    assert value == spoilt_value
    jax.tree.map(np.testing.assert_array_equal, gradient, spoilt_gradient)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient))


def test_masked_softmax_of_one_real_element_is_one():
    weights = masked_softmax(jnp.array([[-1e30, 5.0, 1e30]]), jnp.array([[True, False, False]]))
    np.testing.assert_array_equal(weights, [[1, 0, 0]])


def test_masked_softmax_of_half_precision_is_taken_in_float32():
    logits = jnp.array([1.0, 2.0], jnp.bfloat16)
    weights = masked_softmax(logits, jnp.array([True, True]))
    assert weights.dtype == jnp.float32
    np.testing.assert_allclose(weights[1], 1 / (1 + np.exp(-1)), rtol=1e-6)


def test_masked_mean_counts_real_steps_only(x):
    mean = masked_mean(jnp.asarray(np.where(MASK[..., None], x, np.nan)), jnp.asarray(MASK))
    np.testing.assert_allclose(mean[1], x[1, [0, 2, 3]].mean(0), rtol=1e-5)
    assert not np.any(mean[2])
