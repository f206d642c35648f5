"""What a run starts from: the state before the first step, and the compiled step."""

import functools
import json
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jax_avemo import config as settings
from jax_avemo.data.pipeline import LabelIndex
from jax_avemo.models.avemo import AVEmo
from jax_avemo.runtime.compilation import PROGRAMS_KEPT
from jax_avemo.runtime.devices import replicated
from jax_avemo.training import build
from jax_avemo.training.optimizer import build_optimizer
from jax_avemo.training.train_step import TrainState, make_train_step, tasks

_PROGRAM_FIELDS = ("input.", "model.", "objective.", "train.")
"""Beginnings of the names of the fields that a compiled step depends on."""


def prepare_state(
    config: ConfigDict,
    model: AVEmo,
    index: LabelIndex,
    schedule: build.Schedule,
    mesh: Mesh,
) -> tuple[TrainState, Callable[..., tuple[TrainState, dict[str, jax.Array]]]]:
    """The state before the first step, on all devices, and the compiled step.

    Networks that differ in their seed and clips alone share their programs.
    """
    fields = {
        name: value
        for name, value in settings.to_dict(config).items()
        if name.startswith(_PROGRAM_FIELDS)
    }
    classes = len(index.emotions), len(index.subjects)
    make, train_step = _programs(json.dumps(fields), model, classes, schedule, mesh)
    return make(jax.random.key(config.seed), example_batch(config)), train_step


@functools.lru_cache(maxsize=PROGRAMS_KEPT)
def _programs(
    fields: str, model: AVEmo, classes: tuple[int, int], schedule: build.Schedule, mesh: Mesh
) -> tuple[Callable[..., TrainState], Callable[..., Any]]:
    config = settings.from_dict(json.loads(fields))
    initial, train_step = _parts(config, model, classes, schedule)
    everywhere = replicated(mesh)

    make = jax.jit(initial, out_shardings=everywhere)
    return make, jax.jit(train_step, donate_argnums=0, out_shardings=everywhere)


def describe_state(
    config: ConfigDict,
    model: AVEmo,
    index: LabelIndex,
    schedule: build.Schedule,
    mesh: Mesh,
) -> TrainState:
    """Shapes, types and placement of that state: nothing is compiled (which takes seconds)."""
    classes = len(index.emotions), len(index.subjects)
    initial, _ = _parts(config, model, classes, schedule)
    shapes = jax.eval_shape(initial, jax.random.key(config.seed), example_batch(config))
    everywhere = replicated(mesh)
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere), shapes
    )


def _parts(
    config: ConfigDict, model: AVEmo, classes: tuple[int, int], schedule: build.Schedule
) -> tuple[Callable[[jax.Array, Any], TrainState], Callable[..., Any]]:
    """How the state begins and how it goes on, neither compiled."""
    optimizer, _ = build_optimizer(
        learning_rate=config.train.learning_rate,
        weight_decay=config.train.weight_decay,
        warmup_steps=schedule.warmup_steps,
        total_steps=schedule.total_steps,
        clip_norm=config.train.max_grad_norm,
        layer_decay=config.train.layer_decay,
        frozen_stages=config.model.frozen_stages,
    )
    balancer = build.build_balancer(config, *classes)
    objective = build.build_objective(config, schedule.total_steps)
    init = network_init(model)

    def initial(key: jax.Array, batch: Any) -> TrainState:
        variables = init(key, batch)
        params = variables["params"]
        return TrainState(
            step=jnp.int32(0),
            params=params,
            batch_stats=variables.get("batch_stats", {}),
            average_params=params,
            optimizer=optimizer.init(params),
            balancer=balancer.init(tasks(objective)),
            skipped=jnp.int32(0),
        )

    return initial, make_train_step(
        model, optimizer, balancer, objective, parts=config.train.accumulation_steps
    )


def network_init(model: AVEmo) -> Callable[[jax.Array, Any], Any]:
    """The function `(key, batch) -> variables` of a network before its first step."""

    def init(key: jax.Array, batch: Any) -> Any:
        return model.init(key, batch, train=False)

    return init


def example_batch(config: ConfigDict, rows: int = 2, *, training: bool = True) -> dict[str, Any]:
    """A batch of zeros with the shapes of `config`, to make or lower the network with."""
    inputs = build.build_inputs(config, training=training)
    frames = (rows, inputs.frames)
    return {
        "video": np.zeros((*frames, inputs.frame_size, inputs.frame_size, 3), np.uint8),
        "video_mask": np.ones(frames, bool),
        "video_time": np.zeros(frames, np.float32),
        "audio": np.zeros((rows, inputs.audio_samples), np.float32),
        "audio_length": np.full(rows, inputs.audio_samples, np.int32),
        "emotion": np.zeros(rows, np.int32),
        "subject": np.zeros(rows, np.int32),
        "valid": np.ones(rows, bool),
    }


def evaluated_variables(state: TrainState) -> dict[str, Any]:
    """The averaged weights and running statistics: what is validated, evaluated and exported."""
    return {"params": state.average_params, "batch_stats": state.batch_stats}
