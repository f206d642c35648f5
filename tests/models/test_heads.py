"""Gradient reversal, encoders, and what adversaries may see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.numpy_reference import assert_gradients

from jax_avemo.models.heads import Adversary, TaskEncoder, gradient_reversal


@pytest.fixture
def z():
    return jnp.asarray(np.random.default_rng(0).normal(size=(4, 6)), jnp.float32)


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_reversal_is_the_identity_forwards_and_minus_strength_backwards(z, strength):
    @jax.jit
    def f(z, s):
        return jnp.sin(gradient_reversal(z, s)).sum()

    value, (of_z, of_strength) = jax.value_and_grad(f, argnums=(0, 1))(z, strength)
    np.testing.assert_allclose(value, np.sin(z).sum(), rtol=1e-5)
    np.testing.assert_allclose(of_z, -strength * np.cos(z), atol=1e-6)
    assert of_strength == 0


def test_reversal_keeps_half_precision():
    gradient = jax.grad(lambda z: gradient_reversal(z, 0.5).sum())(jnp.ones(3, jnp.bfloat16))
    assert gradient.dtype == jnp.bfloat16
    np.testing.assert_array_equal(gradient, -0.5)


def normalise(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)


def test_task_encoder_is_the_formula(z):
    module = TaskEncoder(width=5, hidden=7, dropout=0.0)
    variables = jax.jit(lambda: module.init(jax.random.key(0), z, False))()
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), variables["params"])
    hidden = normalise(np.asarray(z, np.float64)) @ p["hidden"]["kernel"]
    # gelu in its tanh form (Hendrycks & Gimpel 2016, 2)
    hidden = hidden / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (hidden + 0.044715 * hidden**3)))
    expected = normalise(hidden @ p["output"]["kernel"])
    np.testing.assert_allclose(module.apply(variables, z, False), expected, atol=1e-4)


def test_task_encoder_drops_only_in_training(z):
    module = TaskEncoder(width=5, hidden=7, dropout=0.5)
    variables = jax.jit(lambda: module.init(jax.random.key(0), z, False))()
    train = jax.jit(lambda key: module.apply(variables, z, True, rngs={"dropout": key}))
    assert np.abs(train(jax.random.key(1)) - train(jax.random.key(2))).max() > 0.01
    module.apply(variables, z, False)  # asks for no key


@pytest.fixture(scope="module")
def conditional():
    module = Adversary(classes=3, hidden=8, condition_classes=2)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((4, 6)))
    rng = np.random.default_rng(1)
    variables = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), shapes)
    return variables, jax.jit(module.apply)


def test_conditional_adversary_sees_z_the_label_and_their_product(conditional, z):
    variables, apply = conditional
    y = np.array([0, 1, -1, 1])
    one_hot = np.array([[1, 0], [0, 1], [0, 0], [0, 1]], np.float64)
    outer = np.stack([np.outer(a, b).ravel() for a, b in zip(np.asarray(z), one_hot, strict=True)])
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), variables["params"])
    seen = np.concatenate([np.asarray(z), one_hot, outer], 1)
    hidden = np.maximum(seen @ p["hidden"]["kernel"] + p["hidden"]["bias"], 0)
    expected = hidden @ p["output"]["kernel"] + p["output"]["bias"]
    np.testing.assert_allclose(apply(variables, z, y), expected, rtol=1e-4, atol=1e-4)


def test_an_unknown_label_is_no_label(conditional, z):
    variables, apply = conditional
    unknown = apply(variables, z, np.full(4, -1))
    np.testing.assert_allclose(unknown, apply(variables, z), atol=1e-6)
    assert np.abs(unknown - apply(variables, z, np.zeros(4, int))).max() > 0.1


def test_marginal_adversary_sees_z_alone(z):
    module = Adversary(classes=3, hidden=8, condition_classes=0)
    variables = jax.jit(module.init)(jax.random.key(0), z)
    assert variables["params"]["hidden"]["kernel"].shape == (6, 8)
    np.testing.assert_array_equal(
        module.apply(variables, z, jnp.array([0, 1, -1, 1])), module.apply(variables, z)
    )


LABELS = np.array([0, 1, -1, 1])
KNOWN = np.array([[1, 0], [0, 1], [0, 0], [0, 1]], np.float64)


@pytest.mark.parametrize("classes", [0, 2], ids=["marginal", "conditional"])
def test_both_adversaries_have_the_gradients_of_the_formula(classes, z):
    """Of what they learn, and of what is handed down to z, reversed."""
    module = Adversary(classes=3, hidden=8, condition_classes=classes)
    shapes = jax.eval_shape(module.init, jax.random.key(0), z, jnp.asarray(LABELS))
    rng = np.random.default_rng(5)
    params = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), shapes)["params"]
    weights = rng.normal(size=(4, 3))

    def loss(p, z):
        seen = z
        if classes:
            outer = (z[:, :, None] * KNOWN[:, None, :]).reshape(4, -1)
            seen = np.concatenate([z, KNOWN, outer], 1)
        hidden = np.maximum(seen @ p["hidden"]["kernel"] + p["hidden"]["bias"], 0)
        return (weights * (hidden @ p["output"]["kernel"] + p["output"]["bias"])).sum()

    def ours(p, z):
        logits = module.apply({"params": p}, gradient_reversal(z, 0.25), jnp.asarray(LABELS))
        return (jnp.asarray(weights, jnp.float32) * logits).sum()

    of_params, of_z = jax.jit(jax.grad(ours, argnums=(0, 1)))(params, z)
    assert_gradients(loss, (of_params, -4.0 * of_z), params, z)


def test_task_encoder_has_the_gradients_of_the_formula(z):
    module = TaskEncoder(width=5, hidden=7, dropout=0.0)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), z, False))
    rng = np.random.default_rng(6)
    params = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), shapes)["params"]
    weights = rng.normal(size=(4, 5))

    def loss(p, z):
        x = normalise(z) * p["norm"]["scale"] + p["norm"]["bias"]
        x = x @ p["hidden"]["kernel"] + p["hidden"]["bias"]
        x = x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
        x = normalise(x @ p["output"]["kernel"] + p["output"]["bias"])
        return (weights * (x * p["output_norm"]["scale"] + p["output_norm"]["bias"])).sum()

    def ours(p, z):
        out = module.apply({"params": p}, z, False)
        return (jnp.asarray(weights, jnp.float32) * out).sum()

    assert_gradients(loss, jax.jit(jax.grad(ours, argnums=(0, 1)))(params, z), params, z)
