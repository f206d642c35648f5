"""Benchmark rows of the whole network: training step and prediction, and PyTorch's."""

import functools
import math
from typing import Any

import jax
import numpy as np
import torch

from jax_avemo import config as settings
from jax_avemo.evaluation.network import INPUTS, make_network
from jax_avemo.runtime.devices import data_mesh, place_batch
from jax_avemo.schema import AUDIO_SAMPLE_RATE
from jax_avemo.training import build
from jax_avemo.training.train_state import example_batch
from jax_avemo.training.train_step import prepare_training
from torch_twins import images, whole
from torch_twins.setting import (
    EMOTIONS,
    SUBJECTS,
    Call,
    Compiler,
    Row,
    Setting,
    distance,
    stirred,
    wait,
)


def clips(setting: Setting) -> dict[str, np.ndarray]:
    """A batch of full clips: noise to see, a voice to hear."""
    rng = np.random.default_rng(3)
    batch = example_batch(setting.config, setting.clips, training=setting.trains)
    batch["video"] = rng.integers(0, 256, batch["video"].shape, dtype=np.uint8)
    rows, frames = batch["video_time"].shape
    seconds = setting.config.input.audio_seconds
    batch["video_time"] = np.tile(
        np.linspace(0.1, seconds - 0.1, frames, dtype=np.float32), (rows, 1)
    )
    time = np.arange(batch["audio"].shape[1]) / AUDIO_SAMPLE_RATE
    for row in range(rows):
        pitch = 120 + 10 * row + 20 * np.sin(2 * np.pi * (1 + row / 8) * time)
        phase = 2 * np.pi * np.cumsum(pitch) / AUDIO_SAMPLE_RATE
        voice = sum(np.sin(k * phase) / k for k in range(1, 20))
        batch["audio"][row] = 0.1 * voice * (0.6 + 0.4 * np.sin(3 * time)) + 0.003 * rng.normal(
            size=time.shape
        )
    batch["emotion"] = rng.integers(0, EMOTIONS, rows).astype(np.int32)
    batch["subject"] = rng.integers(0, SUBJECTS, rows).astype(np.int32)
    return batch


def model_row(setting: Setting) -> Row:
    """The whole network: the training step of the product, or its inference."""
    batch = clips(setting)
    tensors = {
        name: setting.tensor(value.astype(np.int64) if name in ("emotion", "subject") else value)
        for name, value in batch.items()
    }
    everyone = torch.ones(setting.clips, dtype=torch.bool, device=setting.device)
    seen = (tensors["video"], tensors["video_time"], tensors["audio"], everyone, everyone)
    make = training_calls if setting.trains else inference_calls
    ours, theirs, check = make(setting, batch, tensors, seen)

    def forward() -> Any:
        twin = whole.AVEmoTwin(setting.model()).to(setting.device).eval()
        return twin.predict(*seen)

    return Row(setting.trains, setting.clips, "clips", ours, theirs, check, forward)


def inference_calls(setting: Setting, batch: Any, tensors: Any, seen: Any) -> Any:
    """(ours, theirs, check) of predicting."""
    model = setting.model()

    @functools.cache
    def ours() -> tuple[Call, Any]:
        init = jax.jit(lambda key, b: model.init(key, b, train=False))
        variables = stirred(init(jax.random.key(0), batch))
        network = jax.jit(make_network(model))
        placed = jax.device_put((variables, {k: v for k, v in batch.items() if k in INPUTS}))
        return lambda: jax.block_until_ready(network(*placed)), variables

    @functools.cache
    def twin() -> whole.AVEmoTwin:
        made = whole.AVEmoTwin(model).to(setting.device).eval()
        return made.to(memory_format=torch.channels_last)

    def theirs(compile_it: Compiler) -> Call:
        predict = compile_it(twin().predict)

        def call() -> Any:
            with setting.mode():
                return predict(*seen)

        return wait(call, setting.device)

    def check() -> float:
        call, variables = ours()
        images.load(twin(), variables)
        found, expected = call(), theirs(lambda f: f)()
        pairs = zip(("probabilities", "z", "z_e", "z_i"), expected, strict=True)
        return max(distance([found[k]], [v.float().cpu().numpy()]) for k, v in pairs)

    return lambda: ours()[0], theirs, check


def training_calls(setting: Setting, batch: Any, tensors: Any, seen: Any) -> Any:
    """(ours, theirs, check) of a training step; checked without dropout, timed with it."""
    config = setting.config
    total_steps = 1000

    def prepared(with_dropout: bool) -> tuple[Any, Any]:
        changed = settings.from_dict(settings.to_dict(config))
        settings.set_field(changed, "objective.identity_gradient_scale", 1.0)  # the twin's
        settings.set_field(changed, "train.warmup_fraction", 0.0)
        if not with_dropout:
            settings.set_field(changed, "model.dropout", 0.0)
            settings.set_field(changed, "model.functionals_dropout", 0.0)
            settings.set_field(changed, "train.modality_dropout", 0.0)
        model = build.build_model(changed, EMOTIONS, SUBJECTS)
        return prepare_training(changed, model, total_steps, data_mesh())

    def ours() -> Call:
        state, step = prepared(with_dropout=True)
        placed = place_batch(batch, data_mesh())
        key = jax.random.key(1)

        def call() -> Any:
            nonlocal state
            state, metrics = step(state, placed, key)
            return jax.block_until_ready((state, metrics))[1]

        return call

    def their_step(twin: whole.AVEmoTwin, compile_it: Compiler, dropping: bool) -> Call:
        twin = twin.to(setting.device).train().to(memory_format=torch.channels_last)
        step = whole.make_train_step(
            twin,
            config,
            total_steps=total_steps,
            initial_losses={"emotion": math.log(EMOTIONS), "identity": math.log(SUBJECTS)},
            modality_dropout=config.train.modality_dropout if dropping else 0.0,
            compile_it=compile_it,
            mode=setting.mode,
        )
        return wait(lambda: step(tensors), setting.device)

    def theirs(compile_it: Compiler) -> Call:
        return their_step(whole.AVEmoTwin(setting.model()), compile_it, dropping=True)

    def check() -> float:
        state, step = prepared(with_dropout=False)
        variables = stirred({"params": state.params, "batch_stats": state.batch_stats})
        state = state.replace(params=jax.device_put(variables["params"]))
        twin = whole.AVEmoTwin(setting.model(dropout=0.0, functionals_dropout=0.0))
        images.load(twin, variables)
        _, found = step(state, place_batch(batch, data_mesh()), jax.random.key(1))
        expected = their_step(twin, lambda f: f, dropping=False)()
        return max(abs(float(found[k]) - float(v)) / abs(float(v)) for k, v in expected.items())

    return ours, theirs, check
