"""The training objective: the losses of a batch and their weights."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray
from ml_collections import ConfigDict

from jax_avemo.models.avemo import AVEmo
from jax_avemo.models.outputs import Decoupled
from jax_avemo.objectives import losses
from jax_avemo.training.person_centring import mean_of_others


class Losses(NamedTuple):
    """One entry for each loss: its value, its weight. None = neither network nor config has it."""

    emotion: Any
    identity: Any
    orthogonality: Any
    hsic: Any
    adversary_identity: Any
    """Identity, read from z_e."""
    adversary_emotion: Any
    """Emotion, read from z_i."""
    video: Any
    """Emotion, from the video branch alone."""
    audio: Any


class Readings(NamedTuple):
    """Figures of a batch that are not differentiated."""

    emotion_unsmoothed: Float[Array, ""]
    """The emotion loss without label smoothing."""
    accuracy: Float[Array, ""]


class TrunkOutputs(NamedTuple):
    """Differentiable outputs of the trunk, the network up to the embedding z."""

    embedding: Float[Array, "B Z"]
    video_logits: Float[Array, "B emotions"] | None
    audio_logits: Float[Array, "B emotions"] | None


class TrunkContext(NamedTuple):
    """Outputs of the trunk that are constants to the losses."""

    fusion_inputs: Float[Array, "B K"]
    """Of the last layer of the trunk, z = inputs W + b."""
    video_available: Bool[Array, " B"] | None
    audio_available: Bool[Array, " B"] | None


def head_losses(
    model: AVEmo,
    objective: ConfigDict,
    batch: Any,
    context: TrunkContext,
    reversal_strength: Float[Array, ""],
    key: PRNGKeyArray,
    batch_stats: Any,
    params: Any,
    trunk: TrunkOutputs,
) -> tuple[Losses, Readings]:
    """All losses as a function of the heads' parameters and the trunk's outputs."""
    variables = {"params": params, "batch_stats": batch_stats}

    def separate(embedding: Array, key: PRNGKeyArray) -> Any:
        return model.apply(
            variables,
            embedding,
            train=True,
            emotion=batch["emotion"],
            subject=batch["subject"],
            reversal_strength=reversal_strength,
            rngs={"dropout": key},
            method="separate",
        )

    decoupled = separate(trunk.embedding, key)
    values = compute_losses(objective, batch, trunk, context, decoupled)
    if share := objective.person_centred_weight * model.person_centred:
        mean, there = mean_of_others(trunk.embedding, batch["subject"], batch["valid"])
        centred: Any = model.apply(variables, trunk.embedding, mean, method="centre")
        embedding = jnp.where(there[:, None], centred, trunk.embedding)
        of_centred = losses.softmax_cross_entropy(
            separate(embedding, jax.random.fold_in(key, 1)).emotion_logits,
            batch["emotion"],
            batch["valid"],
            objective.label_smoothing,
        )
        values = values._replace(emotion=(1 - share) * values.emotion + share * of_centred)
    logits, emotion, valid = decoupled.emotion_logits, batch["emotion"], batch["valid"]
    readings = Readings(
        emotion_unsmoothed=losses.softmax_cross_entropy(logits, emotion, valid),
        accuracy=losses.accuracy(logits, emotion, valid),
    )
    return values, readings


def compute_losses(
    objective: ConfigDict,
    batch: Any,
    trunk: TrunkOutputs,
    context: TrunkContext,
    decoupled: Decoupled,
) -> Losses:
    """The losses of a batch, unweighted."""
    valid, emotion, subject = batch["valid"], batch["emotion"], batch["subject"]
    z_e, z_i = decoupled.emotion_embedding, decoupled.identity_embedding

    def cross_entropy(
        logits: Array | None, labels: Array, rows: Array, label_smoothing: float = 0.0
    ) -> Array | None:
        if logits is None:
            return None
        return losses.softmax_cross_entropy(logits, labels, rows, label_smoothing)

    def of_branch(logits: Array | None, available: Array | None) -> Array | None:
        rows = valid if available is None else valid & available
        return cross_entropy(logits, emotion, rows, objective.label_smoothing)

    return Losses(
        emotion=cross_entropy(decoupled.emotion_logits, emotion, valid, objective.label_smoothing),
        identity=cross_entropy(decoupled.identity_logits, subject, valid),
        orthogonality=None if z_i is None else losses.orthogonality(z_e, z_i, valid),
        hsic=losses.hsic(z_e, z_i, valid) if z_i is not None and objective.hsic_weight else None,
        adversary_identity=cross_entropy(decoupled.adversary_identity_logits, subject, valid),
        adversary_emotion=cross_entropy(decoupled.adversary_emotion_logits, emotion, valid),
        video=of_branch(trunk.video_logits, context.video_available),
        audio=of_branch(trunk.audio_logits, context.audio_available),
    )


def loss_weights(
    objective: ConfigDict, task_weights: dict[str, Float[Array, ""]], values: Losses
) -> Losses:
    """The weight of every loss that there is; an adversary learns with weight 1."""
    weights = Losses(
        emotion=task_weights["emotion"],
        identity=task_weights.get("identity"),
        orthogonality=objective.orthogonality_weight,
        hsic=objective.hsic_weight,
        adversary_identity=1.0,
        adversary_emotion=1.0,
        video=objective.auxiliary_weight,
        audio=objective.auxiliary_weight,
    )
    return Losses._make(
        None if value is None else jnp.asarray(weight, jnp.float32)
        for weight, value in zip(weights, values, strict=True)
    )


def weighted_sum(weights: Losses, values: Losses) -> Float[Array, ""]:
    """What is minimised."""
    return sum(jax.tree.leaves(jax.tree.map(jnp.multiply, weights, values)), jnp.float32(0.0))
