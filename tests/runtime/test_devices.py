"""One device or eight, this platform or another: the same step."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from support.random_run import TOTAL_STEPS, random_state

from jax_avemo import config as settings
from jax_avemo.evaluation.network import make_network
from jax_avemo.models.audio.fourier import rfft
from jax_avemo.runtime import devices
from jax_avemo.runtime.errors import UserError
from jax_avemo.training import build
from jax_avemo.training.train_state import evaluated_variables, example_batch
from jax_avemo.training.train_step import training_programs

THREE_STEPS = """
import json, sys
import jax, numpy as np
from jax_avemo import config as settings
from jax_avemo.runtime import devices
from jax_avemo.training import build
from jax_avemo.training.train_state import example_batch
from jax_avemo.training.train_step import prepare_training

size, rows, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
config = settings.make_config("x", size, {"model.dropout": 0.3, "train.modality_dropout": 0.5})
model = build.build_model(config, 8, 4)
mesh = devices.data_mesh()
state, step = prepare_training(config, model, 10, mesh)
rng = np.random.default_rng(0)
batch = example_batch(config, rows=rows)
batch["video"] = rng.integers(0, 256, batch["video"].shape, dtype=np.uint8)
batch["audio"] = rng.normal(0, 0.1, batch["audio"].shape).astype(np.float32)
batch["emotion"] = (np.arange(rows) % 8).astype(np.int32)
batch["subject"] = (np.arange(rows) % 4).astype(np.int32)
losses = []
for _ in range(steps):
    state, metrics = step(state, devices.place_batch(batch, mesh), jax.random.key(0))
    losses.append({k: float(v) for k, v in metrics.items() if k.startswith("loss")})
parameters = sum(x.size for x in jax.tree.leaves(state.params))
print(json.dumps({"devices": mesh.size, "losses": losses, "parameters": parameters}))
"""


def run_steps(device_count: int, size: str, rows: int, steps: int) -> dict:
    flags = f"--xla_force_host_platform_device_count={device_count}"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    arguments = [sys.executable, "-c", THREE_STEPS, size, str(rows), str(steps)]
    done = subprocess.run(
        arguments, env=environment, capture_output=True, text=True, timeout=900, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.slow
def test_one_and_eight_devices_give_the_same_losses():
    one, eight = (run_steps(count, "tiny", rows=8, steps=3) for count in (1, 8))
    assert (one["devices"], eight["devices"]) == (1, 8)
    for a, b in zip(one["losses"], eight["losses"], strict=True):
        for name in a:
            np.testing.assert_allclose(b[name], a[name], atol=1e-5, rtol=1e-5, err_msg=name)


@pytest.mark.slow
def test_the_method_as_written_takes_a_step():
    """ResNeXt50 at 224 px on two clips."""
    done = run_steps(1, "full", rows=2, steps=1)
    assert done["parameters"] > 25e6
    assert all(np.isfinite(value) for value in done["losses"][0].values())


@pytest.fixture(scope="module")
def traced_steps():
    """The training step and the evaluation step, traced, of two clips."""
    config = settings.make_config("x", "tiny")
    model = build.build_model(config, 8, 2)
    _, step = training_programs(config, model, TOTAL_STEPS, devices.data_mesh())
    state = random_state(config, model)
    batch = example_batch(config, rows=2)
    evaluation = jax.jit(make_network(model))
    return (
        step.trace(state, batch, jax.random.key(0)),
        evaluation.trace(evaluated_variables(state), batch),
    )


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_both_steps_lower_for_other_platforms(traced_steps, platform):
    for traced in traced_steps:
        lowered = traced.lower(lowering_platforms=(platform,))
        assert "stablehlo.convolution" in lowered.as_text()


def test_a_batch_the_devices_cannot_share_is_refused():
    with pytest.raises(UserError, match="use a multiple of 2"):
        devices.check_batch_size("train.batch_size", 3, devices.data_mesh())


def test_no_frames_are_sent_between_devices():
    """XLA would gather the frames of a Fourier transform on every device."""
    mesh = devices.data_mesh()
    assert mesh.size > 1
    frames = np.random.default_rng(0).normal(size=(2 * mesh.size, 5, 32)).astype(np.float32)

    def transform(x):
        return abs(rfft(x, 32))

    placed = devices.place_batch(frames, mesh)
    rows = devices.split_by_rows(mesh)
    alone = jax.jit(transform, out_shardings=rows).lower(placed).compile().as_text()
    step = jax.jit(devices.shared_by_rows(transform, mesh), out_shardings=rows)
    assert "all-gather" in alone
    assert "all-gather" not in step.lower(placed).compile().as_text()
    np.testing.assert_allclose(step(placed), abs(np.fft.rfft(frames)), rtol=1e-4, atol=1e-4)
