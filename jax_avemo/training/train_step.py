"""One training step and one evaluation step: pure functions of (state, batch, key)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Bool, PRNGKeyArray

from jax_avemo.models.avemo import AVEmo
from jax_avemo.objectives import losses
from jax_avemo.objectives.loss_balancing import Balancer
from jax_avemo.schema import UNKNOWN
from jax_avemo.training.gradient_accumulation import vjp_in_parts
from jax_avemo.training.optimizer import ema, keep

EMOTION, IDENTITY = "emotion", "identity"
UNSMOOTHED = "emotion_unsmoothed"
BRANCHES = ("video", "audio")


class TrainState(struct.PyTreeNode):
    """Everything that changes from step to step and is saved with a checkpoint.

    Its leaves are arrays, or descriptions of arrays where a checkpoint is about to be read.
    """

    step: Any
    params: Any
    batch_stats: Any
    average_params: Any
    """Exponential moving average of `params`: what is evaluated. Where identity is erased, its
    emotion head is another (`training.erase`)."""
    optimizer: Any
    balancer: Any
    skipped: Any
    """How many steps were skipped because a gradient was not finite."""


@dataclass(frozen=True)
class Objective:
    """What is minimised; see the `objective` fields of `jax_avemo.config_fields`."""

    label_smoothing: float
    auxiliary: float
    adversarial: bool
    reversal: float
    orthogonality: float
    hsic: float
    identity: bool
    """Whether there is an identity branch at all."""
    identity_share: float
    """Of the gradients of identity and coupling: what goes on into z and the trunk."""
    modality_dropout: float
    ema: float
    total_steps: int


def tasks(objective: Objective) -> tuple[str, ...]:
    """The tasks whose weights a balancer moves; coupling terms have scheduled constants."""
    return (EMOTION, IDENTITY) if objective.identity else (EMOTION,)


def drop_modalities(
    key: PRNGKeyArray, rate: float, video: Bool[Array, " B"], audio: Bool[Array, " B"]
) -> tuple[Bool[Array, " B"], Bool[Array, " B"]]:
    """Each clip that has both loses one, either with probability rate / 2; never both."""
    draw = jax.random.uniform(key, video.shape)
    both = video & audio
    return video & ~(both & (draw < rate / 2)), audio & ~(both & (draw >= 1 - rate / 2))


def make_train_step(
    model: AVEmo,
    optimizer: optax.GradientTransformation,
    balancer: Balancer,
    objective: Objective,
    parts: int = 1,
) -> Callable[[TrainState, Any, PRNGKeyArray], tuple[TrainState, dict[str, Array]]]:
    """The function `(state, batch, key) -> (state, metrics)`.

    The batch goes through the trunk in so many `parts`; see `vjp_in_parts`.

    The network is differentiated once: first the trunk up to the fused embedding z, then the
    heads as a function of z, where each task's gradient is one more pull for almost nothing.
    GradNorm's norms are taken at the kernel of the layer that makes z: dL/dW = inputs^T dL/dz.
    `optimizer` may take `finite`, as `build_optimizer`'s does.
    """
    optimizer = optax.with_extra_args_support(optimizer)

    def train_step(
        state: TrainState, batch: Any, key: PRNGKeyArray
    ) -> tuple[TrainState, dict[str, Array]]:
        trunk_key, heads_key, drop_key = jax.random.split(jax.random.fold_in(key, state.step), 3)
        valid, emotion, subject = batch["valid"], batch["emotion"], batch["subject"]
        video_present, audio_present = drop_modalities(
            drop_key,
            objective.modality_dropout,
            batch["video_mask"].any(axis=1),
            batch["audio_length"] > 0,
        )
        progress = state.step / objective.total_steps
        reversal = objective.reversal * losses.reversal_schedule(progress)

        def trunk(params: Any, rows: Any, key: PRNGKeyArray) -> tuple[Any, tuple[Any, Any]]:
            clips, video, audio = rows
            applied: Any = model.apply(
                {"params": params, "batch_stats": state.batch_stats},
                clips,
                train=True,
                video_present=video,
                audio_present=audio,
                mutable=["batch_stats"],
                rngs={"dropout": key},
                method="fuse",
            )
            fused, updates = applied
            differentiable = (fused.embedding, fused.video_logits, fused.audio_logits)
            beside = (fused.inputs, fused.video_available, fused.audio_available)
            return differentiable, (beside, updates.get("batch_stats", {}))

        def decouple(params: Any, embedding: Array) -> Any:
            return model.apply(
                {"params": params, "batch_stats": state.batch_stats},
                embedding,
                train=True,
                emotion=emotion,
                subject=subject,
                reversal_strength=reversal,
                rngs={"dropout": heads_key},
                method="separate",
            )

        def heads(params: Any, embedding: Array) -> tuple[dict[str, Array], dict[str, Array]]:
            """The losses of z, and what is not differentiated."""
            heads_out = decouple(params, embedding)
            logits = heads_out.emotion_logits
            found = {
                EMOTION: losses.softmax_cross_entropy(
                    logits, emotion, valid, objective.label_smoothing
                )
            }
            reading = {
                UNSMOOTHED: losses.softmax_cross_entropy(logits, emotion, valid),
                "accuracy": losses.accuracy(logits, emotion, valid),
            }
            if objective.identity:
                z_e, z_i = heads_out.emotion_embedding, heads_out.identity_embedding
                found[IDENTITY] = losses.softmax_cross_entropy(
                    heads_out.identity_logits, subject, valid
                )
                found["orthogonality"] = losses.orthogonality(z_e, z_i, valid)
                if objective.hsic:
                    found["hsic"] = losses.hsic(z_e, z_i, valid)
                if objective.adversarial:
                    found["adversary_identity"] = losses.softmax_cross_entropy(
                        heads_out.adversary_identity_logits, subject, valid
                    )
                    found["adversary_emotion"] = losses.softmax_cross_entropy(
                        heads_out.adversary_emotion_logits, emotion, valid
                    )
            return found, reading

        def branch_losses(logits: dict[str, Array]) -> dict[str, Array]:
            return {
                name: losses.softmax_cross_entropy(
                    of_branch, emotion, valid & available[name], objective.label_smoothing
                )
                for name, of_branch in logits.items()
            }

        rows = (batch, video_present, audio_present)
        differentiable, pull_back, (beside, batch_stats) = vjp_in_parts(
            trunk, state.params, rows, trunk_key, parts
        )
        embedding, *of_each = differentiable
        branch_logits = {
            name: logits
            for name, logits in zip(BRANCHES, of_each, strict=True)
            if logits is not None
        }
        inputs, *branch_available = beside
        available = dict(zip(BRANCHES, branch_available, strict=True))

        names = tasks(objective)
        found, pull_heads, reading = jax.vjp(heads, state.params, embedding, has_aux=True)

        def pull(weights: dict[str, Any]) -> tuple[Any, Array]:
            """Gradients of the weighted sum: of params, and of z."""
            return pull_heads({name: jnp.float32(weights.get(name, 0.0)) for name in found})

        # The balancer sees whole gradients: it would undo a share that it saw.
        of_z = {name: pull({name: 1.0})[1] for name in names}
        gradients = {name: inputs.T @ of_task for name, of_task in of_z.items()}
        # It compares losses with log(classes): label smoothing would keep the emotion loss from
        # ever falling as far as the identity loss.
        compared = {name: reading[UNSMOOTHED] if name == EMOTION else found[name] for name in names}
        weights, balancer_state = balancer.combine(state.balancer, compared, gradients)
        constants: dict[str, Any] = {
            "orthogonality": objective.orthogonality,
            "hsic": objective.hsic,
            "adversary_identity": 1.0,
            "adversary_emotion": 1.0,
        }
        head_weights = constants | weights
        head_gradient, of_all = pull(head_weights)
        of_emotion = weights[EMOTION] * of_z[EMOTION]
        embedding_gradient = of_emotion + objective.identity_share * (of_all - of_emotion)

        of_branches, pull_branches = jax.vjp(branch_losses, branch_logits)
        (branch_gradients,) = pull_branches(
            dict.fromkeys(branch_logits, jnp.float32(objective.auxiliary))
        )
        of_each = [branch_gradients.get(name) for name in BRANCHES]
        (trunk_gradient,) = pull_back((embedding_gradient, *of_each))
        gradient = jax.tree.map(jnp.add, head_gradient, trunk_gradient)
        loss = sum((head_weights[name] * value for name, value in found.items()), jnp.float32(0.0))
        loss += objective.auxiliary * sum(of_branches.values())
        norm = optax.global_norm(gradient)

        # A step whose gradient is not finite changes nothing but the counters.
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        updates, optimizer_state = optimizer.update(
            gradient, state.optimizer, state.params, finite=finite
        )
        params = keep(finite, optax.apply_updates(state.params, updates), state.params)
        average = ema(state.average_params, params, objective.ema, state.step)
        skipped = state.skipped + (~finite).astype(jnp.int32)
        after = state.replace(
            step=state.step + 1,
            params=params,
            batch_stats=keep(finite, batch_stats, state.batch_stats),
            average_params=keep(finite, average, state.average_params),
            optimizer=optimizer_state,
            balancer=keep(finite, balancer_state, state.balancer),
            skipped=skipped,
        )
        logged = found | of_branches | {UNSMOOTHED: reading[UNSMOOTHED]}
        metrics = {f"loss/{name}": value for name, value in logged.items()}
        metrics |= {f"weight/{name}": weights[name] for name in names}
        metrics |= {
            "loss/total": loss,
            "accuracy": reading["accuracy"],
            "gradient_norm": norm,
            "reversal": reversal,
            "skipped": skipped,
        }
        return after, metrics

    return train_step


def make_evaluation_step(model: AVEmo) -> Callable[[Any, Any], dict[str, Array]]:
    """The function `(variables, batch) -> named arrays`, deterministic, labels unseen."""

    def evaluation_step(variables: Any, batch: Any) -> dict[str, Array]:
        unknown = jnp.full_like(batch["emotion"], UNKNOWN)
        unlabelled = dict(batch) | {"emotion": unknown, "subject": unknown}
        outputs: Any = model.apply(variables, unlabelled, train=False)
        halves = outputs.decoupled
        found = {
            "probabilities": jax.nn.softmax(halves.emotion_logits.astype(jnp.float32)),
            "z": outputs.fused.embedding,
            "z_e": halves.emotion_embedding,
        }
        if halves.identity_embedding is not None:
            found["z_i"] = halves.identity_embedding
        return found

    return evaluation_step
