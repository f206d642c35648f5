"""A batch in parts gives the gradients of the whole; what is remembered and in which precision."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_avemo import config as settings
from jax_avemo.models.layers.batch_norm import MaskedBatchNorm
from jax_avemo.runtime import devices
from jax_avemo.runtime.errors import UserError
from jax_avemo.training import build
from jax_avemo.training.gradient_accumulation import accumulated_vjp
from jax_avemo.training.train_state import build_balancer, example_batch
from jax_avemo.training.train_step import make_train_step, prepare_training

ROWS, EMOTIONS, SUBJECTS = 8, 4, 3
SMALL = {
    "train.batch_size": ROWS,
    "model.dropout": 0.0,
    "model.functionals_dropout": 0.0,
    "train.modality_dropout": 0.0,
}


def a_batch(config, rows: int = ROWS) -> dict:
    """Rows that differ in every way: labels unknown, frames and sound missing, a padding row."""
    rng = np.random.default_rng(0)
    batch = example_batch(config, rows=rows)
    batch["video"] = rng.integers(0, 256, batch["video"].shape, dtype=np.uint8)
    batch["audio"] = rng.normal(0, 0.1, batch["audio"].shape).astype(np.float32)
    batch["emotion"] = (np.arange(rows) % EMOTIONS).astype(np.int32)
    batch["subject"] = (np.arange(rows) % (SUBJECTS + 1) - 1).astype(np.int32)
    batch["video_mask"][2] = False
    batch["audio_length"][3] = 0
    batch["emotion"][5] = -1
    batch["valid"][7] = False
    return batch


def frozen_statistics(next_function, args, kwargs, context):
    """Batch norm with its running statistics, as in evaluation, in the middle of training."""
    if isinstance(context.module, MaskedBatchNorm) and context.method_name == "__call__":
        x, mask, _ = args
        return next_function(x, mask, False)
    return next_function(*args, **kwargs)


def gradient_of_a_step(config, parts: int, *, freeze: bool, batch: dict):
    """Plain SGD with rate 1: what a step subtracts is the gradient."""
    config = settings.from_dict(settings.to_dict(config) | {"train.accumulation_steps": parts})
    model = build.build_model(config, EMOTIONS, SUBJECTS)
    balancer = build_balancer(config, model)
    mesh = devices.data_mesh()
    state, _ = prepare_training(config, model, 10, mesh)
    state = state.replace(
        step=jnp.int32(4),
        opt_state=optax.sgd(1.0).init(state.params),
        balancer_state=balancer.init(),
    )
    step = jax.jit(make_train_step(model, optax.sgd(1.0), balancer, config, 10))
    with nn.intercept_methods(frozen_statistics if freeze else lambda f, a, k, c: f(*a, **k)):
        after, metrics = step(state, devices.place_batch(batch, mesh), jax.random.key(0))
    gradient = jax.tree.map(lambda old, new: old - new, state.params, after.params)
    return gradient, metrics, after


def assert_close(one, other, tolerance: float = 2e-5) -> None:
    scale = float(optax.global_norm(one))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(b, a, atol=tolerance * scale, rtol=2e-3)


def test_a_network_in_parts_has_the_gradient_of_the_whole():
    """Rows that know nothing of each other, a loss that compares all of them."""
    rng = np.random.default_rng(1)
    params = {"w": jnp.asarray(rng.normal(size=(5, 3)), jnp.float32)}
    rows = {"x": jnp.asarray(rng.normal(size=(12, 5)), jnp.float32)}

    def network(params, rows, key):
        hidden = jnp.tanh(rows["x"] @ params["w"])
        return (hidden, None), (jnp.square(hidden), {"mean": rows["x"].mean(axis=0)})

    def compared(hidden):
        return jnp.sum(jnp.square(hidden.T @ hidden)) + jnp.max(hidden)

    def in_parts(parts):
        outputs, pull_back, aside = accumulated_vjp(network, params, rows, jax.random.key(0), parts)
        (gradient,) = pull_back((jax.grad(compared)(outputs[0]), None))
        return outputs, gradient, aside

    whole = in_parts(1)
    for parts in (2, 3, 12):
        for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(in_parts(parts)), strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_an_accumulated_step_equals_the_large_batch_with_frozen_statistics():
    """Unknown labels, padding rows and terms over pairs of rows included."""
    config = settings.make_config("x", "tiny", SMALL | {"model.adversary": "conditional"})
    batch = a_batch(config)
    whole, metrics, _ = gradient_of_a_step(config, 1, freeze=True, batch=batch)
    for parts in (2, 4):
        split, split_metrics, _ = gradient_of_a_step(config, parts, freeze=True, batch=batch)
        assert_close(whole, split)
        for name, value in metrics.items():
            np.testing.assert_allclose(split_metrics[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_an_accumulated_step_equals_the_large_batch_that_repeats_itself():
    """Every part then has the statistics of the whole, which are not frozen."""
    config = settings.make_config("x", "tiny", SMALL)
    batch = {name: np.repeat(x, 2, axis=0) for name, x in a_batch(config, ROWS).items()}
    whole, _, after = gradient_of_a_step(config, 1, freeze=False, batch=batch)
    split, _, split_after = gradient_of_a_step(config, 2, freeze=False, batch=batch)
    assert_close(whole, split)
    means = [
        [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(s.batch_stats)
         if "mean" in jax.tree_util.keystr(path)]
        for s in (after, split_after)
    ]  # fmt: skip
    assert len(means[0]) > 10
    for a, b in zip(*means, strict=True):
        np.testing.assert_allclose(b, a, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_a_step_that_remembers_less_has_the_same_gradient():
    config = settings.make_config("x", "tiny", SMALL)
    less = settings.make_config("x", "tiny", SMALL | {"model.remat": True})
    batch = a_batch(config)
    one, metrics, after = gradient_of_a_step(config, 1, freeze=False, batch=batch)
    other, other_metrics, other_after = gradient_of_a_step(less, 1, freeze=False, batch=batch)
    assert_close(one, other)
    assert_close(after.batch_stats, other_after.batch_stats)
    np.testing.assert_allclose(other_metrics["loss/total"], metrics["loss/total"], rtol=1e-5)


@pytest.mark.slow
def test_bfloat16_computes_and_float32_remembers():
    """Parameters, statistics, moments, averages, weights of tasks and losses stay float32."""
    config = settings.make_config("x", "tiny", SMALL)
    half = settings.make_config("x", "tiny", SMALL | {"model.dtype": "bfloat16"})
    batch = a_batch(config)
    one, metrics, _ = gradient_of_a_step(config, 1, freeze=False, batch=batch)
    other, half_metrics, after = gradient_of_a_step(half, 1, freeze=False, batch=batch)
    for path, leaf in jax.tree_util.tree_leaves_with_path((after, half_metrics)):
        name = jax.tree_util.keystr(path)
        assert leaf.dtype in (jnp.float32, jnp.int32, jnp.bool_), name  # erasure: fitted or not
        assert np.isfinite(leaf).all(), name
    differing = False
    for name, value in metrics.items():
        if name.startswith("loss/"):
            # 8 bits of mantissa: 0.4 % a rounding, some of them in a row.
            np.testing.assert_allclose(half_metrics[name], value, rtol=0.05, atol=0.02)
            differing |= float(half_metrics[name]) != float(value)
    assert differing  # it did compute in bfloat16
    a, b = (jnp.concatenate([x.ravel() for x in jax.tree.leaves(g)]) for g in (one, other))
    assert float(a @ b / jnp.linalg.norm(a) / jnp.linalg.norm(b)) > 0.98


def test_parts_that_the_devices_cannot_share_are_refused():
    mesh = devices.data_mesh()
    with pytest.raises(
        UserError, match=r"in 4 parts \(train.accumulation_steps\); use a multiple of 8"
    ):
        devices.check_batch_size("train.batch_size", 12, mesh, 4)


def test_the_objective_of_these_tests_has_every_term():
    """Else the equalities above would say less than they claim."""
    config = settings.make_config("x", "tiny", SMALL)
    assert config.model.decouple
    assert config.model.adversary != "none"
    assert config.objective.orthogonality_weight
    assert config.objective.auxiliary_weight
    assert config.train.modality_dropout == 0.0
