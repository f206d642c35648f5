"""Attention, pooling and the encoding of time against NumPy, with masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from support.numpy_reference import assert_gradients, self_attention

from jax_avemo.models.layers.attention import (
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
    module = SelfAttention(heads=2, dropout=0.0)
    shapes = jax.eval_shape(
        lambda: module.init(jax.random.key(0), jnp.zeros((3, 5, 8)), jnp.asarray(MASK), False)
    )
    rng = np.random.default_rng(1)
    variables = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32) / 2, shapes)
    apply = jax.jit(lambda v, x, m: module.apply(v, x, m, False, method="with_weights"))
    return module, variables, apply


def test_self_attention_is_the_formula_among_real_steps(attention, x):
    _, variables, apply = attention
    out, weights = apply(variables, x, MASK)
    expected = self_attention(variables["params"], np.asarray(x), MASK, heads=2)
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
    evaluate = jax.jit(lambda: module.apply(variables, x, jnp.asarray(MASK), False))
    evaluated = evaluate()  # asks for no key
    np.testing.assert_allclose(evaluated, apply(variables, x, MASK)[0], atol=1e-5)


def test_heads_must_divide_the_width(x):
    with pytest.raises(ValueError, match="3 attention heads"):
        SelfAttention(3, dropout=0.0).init(jax.random.key(0), x, jnp.asarray(MASK), False)


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


def test_attentive_pooling_has_the_gradient_of_the_formula_s_finite_differences(x):
    module = AttentivePooling(width=4)
    variables = jax.jit(lambda: module.init(jax.random.key(0), x, jnp.asarray(MASK)))()
    weights = np.random.default_rng(2).normal(size=(3, 8))

    def loss(p, x):
        total = 0.0
        for b, real in enumerate(MASK[:2]):
            hidden = np.tanh(x[b, real] @ p["hidden"]["kernel"] + p["hidden"]["bias"])
            w = np.exp(hidden @ p["score"]["kernel"])[:, 0]
            total += (weights[b] * ((w / w.sum()) @ x[b, real])).sum()
        return total

    def ours(p, x):
        pooled, _ = module.apply({"params": p}, x, jnp.asarray(MASK))
        return (jnp.asarray(weights, jnp.float32) * pooled).sum()

    gradients = jax.jit(jax.grad(ours, argnums=(0, 1)))(variables["params"], x)
    assert_gradients(loss, gradients, variables["params"], x)


def test_step_attention_is_attention_after_the_code_of_times_in_value_and_gradient(x):
    module = StepAttention(heads=2)
    times = jnp.asarray(np.random.default_rng(3).uniform(0, 3, (3, 5)), jnp.float32)
    shapes = jax.eval_shape(
        lambda: module.init(jax.random.key(0), x, times, jnp.asarray(MASK), False)
    )
    rng = np.random.default_rng(4)
    params = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32) / 2, shapes)
    weights = rng.normal(size=x.shape)
    periods = np.geomspace(0.1, 100.0, 4)
    angle = 2 * np.pi * np.asarray(times, np.float64)[..., None] / periods
    code = np.concatenate([np.sin(angle), np.cos(angle)], -1)

    def reference(p, x):
        return self_attention(p["attention"], x + code * p["position_gain"], MASK, heads=2)

    @jax.jit
    def ours(p, x):
        def loss(p, x):
            out = module.apply({"params": p}, x, times, jnp.asarray(MASK), False)[0]
            return (jnp.asarray(weights, jnp.float32) * out).sum(), out

        return jax.grad(loss, argnums=(0, 1), has_aux=True)(p, x)

    gradients, out = ours(params["params"], x)
    np.testing.assert_allclose(out, reference(params["params"], np.asarray(x)), atol=5e-5)
    assert_gradients(lambda p, x: (weights * reference(p, x)).sum(), gradients, params["params"], x)


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
