"""The training state: its fields, its first values, and the variables that are evaluated."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Float
from ml_collections import ConfigDict

from jax_avemo.data.pipeline import LabelIndex
from jax_avemo.erasure import layer
from jax_avemo.erasure.fit import fit_erasure
from jax_avemo.models.avemo import AVEmo
from jax_avemo.objectives import loss_balancing
from jax_avemo.runtime import multihost
from jax_avemo.schema import Labels
from jax_avemo.training import build, optimizer

Embed = Callable[[Any], Mapping[str, Float[np.ndarray, "N D"]]]
"""Variables of the network -> z_e and z_i of its training clips, not augmented."""


class TrainState(struct.PyTreeNode):
    """Everything that changes from step to step and is saved with a checkpoint.

    Its leaves are arrays, or descriptions of arrays where a checkpoint is about to be read.
    """

    step: Any
    params: Any
    batch_stats: Any
    ema_params: Any
    """Exponential moving average of `params`, which is evaluated."""
    opt_state: Any
    balancer_state: Any
    erasure: Any
    """An `ErasureState`; None: the network has no erasure."""
    skipped_steps: Any
    """Number of steps whose gradient was not finite."""


def initial_state(
    config: ConfigDict, model: AVEmo, total_steps: int, key: jax.Array, batch: Any
) -> TrainState:
    """The state before the first step; `batch` gives the shapes of the network's inputs."""
    variables = model.init(key, batch, train=False)
    params = variables["params"]
    erasure = None
    if layer.COLLECTION in variables:
        erasure = layer.unfitted(variables[layer.COLLECTION], params["emotion_head"])
    return TrainState(
        step=jnp.int32(0),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        ema_params=params,
        opt_state=build_optimizer(config, total_steps).init(params),
        balancer_state=build_balancer(config, model).init(),
        erasure=erasure,
        skipped_steps=jnp.int32(0),
    )


def build_optimizer(config: ConfigDict, total_steps: int) -> optax.GradientTransformationExtraArgs:
    """The optimizer of `config`."""
    train = config.train
    warmup_steps = min(round(train.warmup_fraction * total_steps), total_steps - 1)
    return optimizer.build_optimizer(
        optimizer.learning_rate_schedule(train.learning_rate, warmup_steps, total_steps),
        weight_decay=train.weight_decay,
        max_grad_norm=train.max_grad_norm,
        layer_decay=train.layer_decay,
        frozen_stages=config.model.frozen_stages,
    )


def build_balancer(config: ConfigDict, model: AVEmo) -> loss_balancing.Balancer:
    """The loss balancing of `config`: emotion, and identity where the network has it."""
    num_classes = {"emotion": model.num_emotions}
    if config.model.decouple:
        num_classes["identity"] = model.num_subjects
    return loss_balancing.build_balancer(config.objective, num_classes)


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
    """The network's variables for validation, evaluation and export.

    They are the averaged parameters and the batch statistics; where identity is erased, the fitted
    emotion head replaces the trained one.
    """
    variables = {"params": state.ema_params, "batch_stats": state.batch_stats}
    if state.erasure is None:
        return variables
    head = layer.evaluated_head(state.erasure, state.ema_params["emotion_head"])
    return variables | {
        "params": {**state.ema_params, "emotion_head": head},
        layer.COLLECTION: state.erasure.layers,
    }


def with_fitted_erasure(
    state: TrainState, embed: Embed, labels: Sequence[Labels], index: LabelIndex
) -> TrainState:
    """The state with the erasure that its averaged parameters call for (`erasure.fit_erasure`).

    It depends on averaged parameters, batch statistics and clips alone, not on earlier fits.

    Args:
      state: of a network with erasure.
      embed: runs the network.
      labels: of the clips that `embed` reads; clips without emotion or subject are left out.
      index: numbers of emotions and subjects.
    """
    cleared = state.replace(erasure=jax.tree.map(jnp.zeros_like, state.erasure))
    embeddings = embed(evaluated_variables(cleared))
    emotions = np.array([index.emotion(label.emotion) for label in labels])
    subjects = np.array([index.subject(label.subject) for label in labels])
    known = (emotions >= 0) & (subjects >= 0)
    layers, head = multihost.from_first(
        partial(
            fit_erasure,
            {name: embeddings[name][known] for name in ("z_e", "z_i")},
            emotions[known],
            subjects[known],
            len(index.emotions),
            state.ema_params["emotion_head"],
        )
    )
    fitted = layer.ErasureState(layers, head, True)
    placed = jax.tree.map(
        lambda old, new: jax.device_put(np.asarray(new, old.dtype), old.sharding),
        state.erasure,
        fitted,
        is_leaf=lambda node: isinstance(node, jax.Array),
    )
    return state.replace(erasure=placed)
