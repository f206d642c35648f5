"""The one place that unpacks a config into the network, its objective and its inputs."""

import math
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from ml_collections import ConfigDict

from jax_avemo.data.augment import AugmentOptions
from jax_avemo.data.pipeline import InputOptions
from jax_avemo.models.avemo import AVEmo
from jax_avemo.objectives.loss_balancing import BALANCERS, Balancer
from jax_avemo.training.train_step import EMOTION, IDENTITY, Objective


@dataclass(frozen=True)
class Schedule:
    """How long a run is, in steps."""

    total_steps: int
    warmup_steps: int
    steps_between_evaluations: int


def build_model(config: ConfigDict, num_emotions: int, num_subjects: int) -> AVEmo:
    """The network of `config`."""
    m = config.model
    return AVEmo(
        num_emotions=num_emotions,
        num_subjects=num_subjects,
        modalities=tuple(m.modalities),
        pixels=tuple(m.pixels),
        colour_mean=tuple(m.colour_mean),
        colour_deviation=tuple(m.colour_deviation),
        frozen_stages=m.frozen_stages,
        depths=tuple(m.depths),
        groups=m.groups,
        width_per_group=m.width_per_group,
        stem_width=m.stem_width,
        stem_kernel=m.stem_kernel,
        expansion=m.expansion,
        coordinate_attention=m.coordinate_attention,
        spectral_kind=m.spectral_features,
        mel_bands=m.mel_bands,
        prosody=m.prosody,
        functionals=m.functionals,
        audio_widths=tuple(m.audio_widths),
        audio_self_attention=m.audio_self_attention,
        width=m.width,
        lstm_width=m.lstm_width,
        steps=m.lstm_steps,
        bidirectional=m.bidirectional,
        embedded_self_attention=m.embedded_self_attention,
        fusion=m.fusion,
        skip=m.skip_connection,
        fused_width=m.fused_width,
        embedding_width=m.embedding_width,
        decouple_identity=m.decouple,
        erase=m.decouple and m.erasure,
        adversary=m.adversary,
        attention_gate_bias=m.attention_gate_bias,
        residual_scale_init=m.residual_scale,
        batch_norm_momentum=m.batch_norm_momentum,
        audio_dropout=m.dropout,
        dropout=m.dropout,
        dtype=jnp.dtype(m.dtype),
        remat=m.remat,
    )


def build_schedule(config: ConfigDict, train_clips: int) -> Schedule:
    """Steps from clips, epochs and batch; at least one step an evaluation."""
    t = config.train
    total = max(1, round(t.epochs * train_clips / t.batch_size))
    return Schedule(
        total_steps=total,
        warmup_steps=round(t.warmup_fraction * total),
        steps_between_evaluations=max(1, math.ceil(total / t.num_evaluations)),
    )


def build_objective(config: ConfigDict, total_steps: int) -> Objective:
    """What is minimised."""
    o = config.objective
    return Objective(
        label_smoothing=o.label_smoothing,
        auxiliary=o.auxiliary_weight,
        adversarial=config.model.decouple and config.model.adversary != "none",
        reversal=o.reversal_strength,
        orthogonality=o.orthogonality_weight,
        hsic=o.hsic_weight,
        identity=config.model.decouple,
        identity_share=o.identity_gradient_scale,
        # With one modality there is none to drop: the clip would have nothing left.
        modality_dropout=config.train.modality_dropout if len(config.model.modalities) > 1 else 0.0,
        ema=config.train.ema_decay,
        total_steps=total_steps,
    )


def build_balancer(config: ConfigDict, num_emotions: int, num_subjects: int) -> Balancer:
    """How the emotion and identity tasks are weighed; a single task has weight 1."""
    o = config.objective
    if not config.model.decouple:
        return BALANCERS["fixed"](weights={EMOTION: 1.0})
    settings: dict[str, dict[str, Any]] = {
        "gradnorm": {
            "alpha": o.gradnorm_alpha,
            "learning_rate": o.loss_balancing_learning_rate,
            "initial_losses": {EMOTION: math.log(num_emotions), IDENTITY: math.log(num_subjects)},
        },
        "fixed": {"weights": {EMOTION: 1.0, IDENTITY: o.identity_weight}},
        "uncertainty": {"learning_rate": o.loss_balancing_learning_rate},
    }
    return BALANCERS[o.loss_balancing](**settings[o.loss_balancing])


def build_inputs(config: ConfigDict, *, training: bool) -> InputOptions:
    """Shapes of the batches."""
    i = config.input
    return InputOptions(
        frame_size=i.frame_size,
        frames=i.frames_train if training else i.frames_eval,
        audio_seconds=i.audio_seconds,
    )


def build_augmentation(config: ConfigDict) -> AugmentOptions:
    """How training clips are varied."""
    return AugmentOptions(**config.augment.to_dict())
