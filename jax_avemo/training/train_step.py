"""The training step: trunk, losses, loss balancing, gradient, update, metrics."""

import functools
import json
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, PRNGKeyArray
from ml_collections import ConfigDict

from jax_avemo import config as settings
from jax_avemo.models.avemo import AVEmo
from jax_avemo.objectives import losses
from jax_avemo.objectives.loss_balancing import Balancer
from jax_avemo.runtime.compilation import PROGRAMS_KEPT
from jax_avemo.runtime.devices import replicated, shared_by_rows
from jax_avemo.training.gradient_accumulation import accumulated_vjp
from jax_avemo.training.objective import (
    Losses,
    Readings,
    TrunkContext,
    TrunkOutputs,
    head_losses,
    loss_weights,
    weighted_sum,
)
from jax_avemo.training.optimizer import ema, keep
from jax_avemo.training.train_state import (
    TrainState,
    build_balancer,
    build_optimizer,
    example_batch,
    initial_state,
)

Metrics = dict[str, Array]
TrainStep = Callable[[TrainState, Any, PRNGKeyArray], tuple[TrainState, Metrics]]

_PROGRAM_FIELDS = ("input.", "model.", "objective.", "train.")
"""First parts of the names of the config fields that a compiled step depends on."""


def make_train_step(
    model: AVEmo,
    optimizer: optax.GradientTransformation,
    balancer: Balancer,
    config: ConfigDict,
    total_steps: int,
) -> TrainStep:
    """The function `(state, batch, key) -> (state, metrics)`; pure, not compiled.

    The trunk is differentiated once, whatever the number of losses: its outputs are taken as the
    variables of the losses, so that the gradient of one more loss with respect to z costs a pass
    through the heads alone. `optimizer` may take `finite`, as `build_optimizer`'s does.
    """
    objective = config.objective
    drop_rate = modality_dropout_rate(config)

    def train_step(state: TrainState, batch: Any, key: PRNGKeyArray) -> tuple[TrainState, Metrics]:
        trunk_key, heads_key, drop_key = jax.random.split(jax.random.fold_in(key, state.step), 3)
        present = drop_modalities(
            drop_key, drop_rate, batch["video_mask"].any(axis=1), batch["audio_length"] > 0
        )
        schedule = losses.reversal_schedule(state.step / total_steps)
        reversal = objective.reversal_strength * schedule

        trunk, pull_trunk, (context, batch_stats) = accumulated_vjp(
            functools.partial(trunk_forward, model, state.batch_stats),
            state.params,
            (batch, *present),
            trunk_key,
            config.train.accumulation_steps,
        )
        heads = functools.partial(
            head_losses, model, objective, batch, context, reversal, heads_key, state.batch_stats
        )
        values, pull_losses, readings = jax.vjp(heads, state.params, trunk, has_aux=True)
        task_gradients = gradients_at_embedding(pull_losses, values)
        task_weights, balancer_state = balance_tasks(
            balancer, state.balancer_state, values, readings, task_gradients, context
        )
        weights = loss_weights(objective, task_weights, values)
        gradient = total_gradient(
            pull_losses, pull_trunk, weights, task_gradients, objective.identity_gradient_scale
        )
        loss = weighted_sum(weights, values)
        gradient_norm = optax.global_norm(gradient)
        finite = jnp.isfinite(loss) & jnp.isfinite(gradient_norm)
        ema_decay = config.train.ema_decay
        after = update_state(
            state, gradient, finite, optimizer, ema_decay, batch_stats, balancer_state
        )
        metrics = step_metrics(values, readings, task_weights) | {
            "loss/total": loss,
            "gradient_norm": gradient_norm,
            "reversal": reversal,
            "skipped": after.skipped_steps,
        }
        return after, metrics

    return train_step


def modality_dropout_rate(config: ConfigDict) -> float:
    """`train.modality_dropout`; 0 where dropping the only modality would leave nothing."""
    return config.train.modality_dropout if len(config.model.modalities) > 1 else 0.0


def drop_modalities(
    key: PRNGKeyArray, rate: float, video: Bool[Array, " B"], audio: Bool[Array, " B"]
) -> tuple[Bool[Array, " B"], Bool[Array, " B"]]:
    """Modality dropout: a clip that has both loses either with probability rate / 2, never both."""
    draw = jax.random.uniform(key, video.shape)
    both = video & audio
    return video & ~(both & (draw < rate / 2)), audio & ~(both & (draw >= 1 - rate / 2))


def trunk_forward(
    model: AVEmo, batch_stats: Any, params: Any, rows: Any, key: PRNGKeyArray
) -> tuple[TrunkOutputs, tuple[TrunkContext, Any]]:
    """The trunk in training mode.

    Args:
      rows: (batch, video present [B], audio present [B]).

    Returns:
      Outputs, and (context, the new batch statistics) beside them.
    """
    batch, video_present, audio_present = rows
    applied: Any = model.apply(
        {"params": params, "batch_stats": batch_stats},
        batch,
        train=True,
        video_present=video_present,
        audio_present=audio_present,
        mutable=["batch_stats"],
        rngs={"dropout": key},
        method="fuse",
    )
    fused, updates = applied
    outputs = TrunkOutputs(fused.embedding, fused.video_logits, fused.audio_logits)
    context = TrunkContext(fused.inputs, fused.video_available, fused.audio_available)
    return outputs, (context, updates.get("batch_stats", {}))


def gradients_at_embedding(
    pull_losses: Callable[[Losses], tuple[Any, TrunkOutputs]], values: Losses
) -> dict[str, Float[Array, "B Z"]]:
    """dL/dz of each task, emotion and identity."""
    zero = jax.tree.map(jnp.zeros_like, values)
    tasks = {"emotion": zero._replace(emotion=jnp.ones_like(values.emotion))}
    if values.identity is not None:
        tasks["identity"] = zero._replace(identity=jnp.ones_like(values.identity))
    return {task: pull_losses(one)[1].embedding for task, one in tasks.items()}


def balance_tasks(
    balancer: Balancer,
    balancer_state: Any,
    values: Losses,
    readings: Readings,
    task_gradients: dict[str, Float[Array, "B Z"]],
    context: TrunkContext,
) -> tuple[dict[str, Float[Array, ""]], Any]:
    """The weights of the tasks, and the balancer's next state.

    The gradient at W, the kernel of the layer that makes z, is inputs^T dL/dz. It is not scaled by
    `identity_gradient_scale`: the balancer would undo that. Losses are compared with log(classes),
    from which label smoothing would keep the emotion loss.
    """
    task_losses = {"emotion": readings.emotion_unsmoothed, "identity": values.identity}
    gradients = {task: context.fusion_inputs.T @ of_z for task, of_z in task_gradients.items()}
    return balancer.combine(
        balancer_state, {task: task_losses[task] for task in gradients}, gradients
    )


def total_gradient(
    pull_losses: Callable[[Losses], tuple[Any, TrunkOutputs]],
    pull_trunk: Callable[[TrunkOutputs], tuple[Any]],
    weights: Losses,
    task_gradients: dict[str, Float[Array, "B Z"]],
    identity_gradient_scale: float,
) -> Any:
    """The gradient of all parameters.

    Of the gradient at z, the part of emotion goes into the trunk whole, the part of identity and
    coupling by `identity_gradient_scale`.
    """
    heads_gradient, of_trunk = pull_losses(weights)
    of_emotion = weights.emotion * task_gradients["emotion"]
    of_embedding = of_emotion + identity_gradient_scale * (of_trunk.embedding - of_emotion)
    (trunk_gradient,) = pull_trunk(of_trunk._replace(embedding=of_embedding))
    return jax.tree.map(jnp.add, heads_gradient, trunk_gradient)


def update_state(
    state: TrainState,
    gradient: Any,
    finite: Bool[Array, ""],
    optimizer: optax.GradientTransformation,
    ema_decay: float,
    batch_stats: Any,
    balancer_state: Any,
) -> TrainState:
    """The state after the step. Where `finite` is False, only the counters move."""
    updates, opt_state = optax.with_extra_args_support(optimizer).update(
        gradient, state.opt_state, state.params, finite=finite
    )
    params = keep(finite, optax.apply_updates(state.params, updates), state.params)
    ema_params = ema(state.ema_params, params, ema_decay, state.step)
    return state.replace(
        step=state.step + 1,
        params=params,
        batch_stats=keep(finite, batch_stats, state.batch_stats),
        ema_params=keep(finite, ema_params, state.ema_params),
        opt_state=opt_state,
        balancer_state=keep(finite, balancer_state, state.balancer_state),
        skipped_steps=state.skipped_steps + (~finite).astype(jnp.int32),
    )


def step_metrics(
    values: Losses, readings: Readings, task_weights: dict[str, Float[Array, ""]]
) -> Metrics:
    """Losses, accuracy and task weights under their names in `metrics.jsonl`."""
    metrics = {f"loss/{name}": value for name, value in values._asdict().items()}
    metrics |= {f"weight/{task}": weight for task, weight in task_weights.items()}
    metrics["loss/emotion_unsmoothed"] = readings.emotion_unsmoothed
    metrics["accuracy"] = readings.accuracy
    return {name: value for name, value in metrics.items() if value is not None}


def prepare_training(
    config: ConfigDict, model: AVEmo, total_steps: int, mesh: Mesh
) -> tuple[TrainState, TrainStep]:
    """The state before the first step, on all devices, and the compiled step."""
    make_state, train_step = training_programs(config, model, total_steps, mesh)
    return make_state(jax.random.key(config.seed), example_batch(config)), train_step


def describe_state(config: ConfigDict, model: AVEmo, total_steps: int, mesh: Mesh) -> TrainState:
    """Shapes, types and placement of that state: nothing is compiled (which takes seconds).

    A process traces it once, whether it makes the state or reads one.
    """
    make_state, _ = training_programs(config, model, total_steps, mesh)
    shapes = jax.eval_shape(make_state, jax.random.key(config.seed), example_batch(config))
    everywhere = replicated(mesh)
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere), shapes
    )


def training_programs(
    config: ConfigDict, model: AVEmo, total_steps: int, mesh: Mesh
) -> tuple[Callable[..., TrainState], TrainStep]:
    """What makes the state before the first step, and the step; each compiles when it is called.

    Networks that differ in their seed and clips alone share both programs.
    """
    fields = {
        name: value
        for name, value in settings.to_dict(config).items()
        if name.startswith(_PROGRAM_FIELDS)
    }
    return _programs(json.dumps(fields), model, total_steps, mesh)


@functools.lru_cache(maxsize=PROGRAMS_KEPT)
def _programs(
    fields: str, model: AVEmo, total_steps: int, mesh: Mesh
) -> tuple[Callable[..., TrainState], TrainStep]:
    config = settings.from_dict(json.loads(fields))
    make_state = functools.partial(initial_state, config, model, total_steps)
    train_step = make_train_step(
        model,
        build_optimizer(config, total_steps),
        build_balancer(config, model),
        config,
        total_steps,
    )
    everywhere = replicated(mesh)
    return (
        jax.jit(make_state, out_shardings=everywhere),
        jax.jit(shared_by_rows(train_step, mesh), donate_argnums=0, out_shardings=everywhere),
    )
