"""What only a GPU can show: python -m pytest -m gpu."""

import functools

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from jax_avemo import config as settings
from jax_avemo.evaluation.network import make_network
from jax_avemo.runtime import devices
from jax_avemo.training import build
from jax_avemo.training.train_state import evaluated_variables, example_batch
from jax_avemo.training.train_step import prepare_training

pytestmark = pytest.mark.gpu
ROWS = 8


@pytest.fixture(scope="module")
def gpu():
    """The first GPU."""
    try:
        return jax.devices("gpu")[0]
    except RuntimeError as error:
        pytest.skip(f"no GPU: {str(error).splitlines()[0]}")


def a_batch(config) -> dict:
    rng = np.random.default_rng(0)
    batch = example_batch(config, rows=ROWS)
    batch["video"] = rng.integers(0, 256, batch["video"].shape, dtype=np.uint8)
    batch["audio"] = rng.normal(0, 0.1, batch["audio"].shape).astype(np.float32)
    batch["emotion"] = (np.arange(ROWS) % 8).astype(np.int32)
    batch["subject"] = (np.arange(ROWS) % 4).astype(np.int32)
    batch["video_mask"][2] = False
    batch["audio_length"][3] = 0
    batch["valid"][7] = False
    return batch


@functools.cache
def three_steps(device, size: str = "tiny", **changes) -> tuple:
    """Losses of three steps, the network's variables, and its probabilities of the batch.

    In full float32: by default a GPU multiplies with 10 bits of mantissa (TF32).
    """
    dotted = {name.replace("__", "."): value for name, value in changes.items()}
    config = settings.make_config(
        "x", size, {"model.dropout": 0.0, "model.functionals_dropout": 0.0, **dotted}
    )
    model = build.build_model(config, 8, 4)
    mesh = Mesh(np.array([device]), ("data",))
    with jax.default_device(device), jax.default_matmul_precision("float32"):
        state, step = prepare_training(config, model, 10, mesh)
        batch = devices.place_batch(a_batch(config), mesh)
        losses = []
        for _ in range(3):
            state, metrics = step(state, batch, jax.random.key(0))
            losses.append({name: float(value) for name, value in metrics.items()})
        assert jax.tree.leaves(state.params)[0].devices() == {device}
        predicted = jax.jit(make_network(model))(evaluated_variables(state), batch)
        return losses, jax.device_get(state), np.asarray(predicted["probabilities"])


def test_a_gpu_takes_the_steps_of_the_processor(gpu):
    ours, _, _ = three_steps(gpu)
    theirs, _, _ = three_steps(jax.devices("cpu")[0])
    for name, value in theirs[0].items():
        np.testing.assert_allclose(ours[0][name], value, rtol=1e-3, atol=1e-3, err_msg=name)
    # Adam's first steps divide small gradients by themselves: rounding grows from step to step.
    np.testing.assert_allclose(ours[2]["loss/total"], theirs[2]["loss/total"], rtol=2e-2)


def test_a_gpu_predicts_what_the_processor_predicts(gpu):
    """The same weights on both."""
    config = settings.make_config("x", "tiny")
    model = build.build_model(config, 8, 4)
    _, state, _ = three_steps(gpu)
    found = []
    for device in (gpu, jax.devices("cpu")[0]):
        with jax.default_device(device), jax.default_matmul_precision("float32"):
            step = jax.jit(make_network(model))
            placed = jax.device_put((evaluated_variables(state), a_batch(config)), device)
            found.append({name: np.asarray(value) for name, value in step(*placed).items()})
    for name, value in found[1].items():
        np.testing.assert_allclose(found[0][name], value, rtol=1e-3, atol=1e-4, err_msg=name)
    assert (found[0]["probabilities"].argmax(1) == found[1]["probabilities"].argmax(1)).all()


def test_bfloat16_learns_what_float32_learns(gpu):
    single, _, _ = three_steps(gpu)
    half, state, _ = three_steps(gpu, model__dtype="bfloat16")
    for name, value in single[0].items():
        if name.startswith("loss/"):
            np.testing.assert_allclose(half[0][name], value, rtol=0.05, atol=0.02, err_msg=name)
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        assert leaf.dtype in (np.float32, np.int32), jax.tree_util.keystr(path)
        assert np.isfinite(leaf).all(), jax.tree_util.keystr(path)


def test_the_method_as_written_takes_steps_in_bfloat16(gpu):
    """ResNeXt50 at 224 px, eight frames a clip, in two parts."""
    losses, state, _ = three_steps(
        gpu, "full", model__dtype="bfloat16", train__accumulation_steps=2
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(state.params)) > 25e6
    assert all(np.isfinite(value) for step in losses for value in step.values())
    assert losses[-1]["skipped"] == 0
