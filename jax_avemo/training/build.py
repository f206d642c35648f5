"""The network, its objective and its inputs, as a config describes them."""

import difflib
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from ml_collections import ConfigDict

from jax_avemo.config import get_field
from jax_avemo.data.corpora import READERS
from jax_avemo.data.pipeline import InputOptions
from jax_avemo.data.splits import PROTOCOLS
from jax_avemo.models.audio.spectral import FEATURES
from jax_avemo.models.avemo import ADVERSARIES, FUSIONS, AVEmo
from jax_avemo.models.front_ends import MODALITIES
from jax_avemo.models.video.pixels import CHANNELS
from jax_avemo.objectives.loss_balancing import BALANCERS, Balancer
from jax_avemo.runtime.errors import UserError
from jax_avemo.training.train_step import EMOTION, IDENTITY, Objective

CHOICES: dict[str, Collection[Any]] = {
    "data.corpus": READERS,
    "split.protocol": PROTOCOLS,
    "model.modalities": MODALITIES,
    "model.pixels": CHANNELS,
    "model.spectral_features": FEATURES,
    "model.fusion": FUSIONS,
    "model.adversary": ADVERSARIES,
    "objective.loss_balancing": BALANCERS,
}
"""The variants of a field, from where they are implemented."""


@dataclass(frozen=True)
class Schedule:
    """How long a run is, in steps."""

    total_steps: int
    warmup_steps: int
    steps_between_evaluations: int


def check_choices(config: ConfigDict) -> None:
    """Refuse a variant that there is not, before anything is made for it.

    Raises:
      UserError: a field of `CHOICES` has another value.
    """
    for field, variants in CHOICES.items():
        value = get_field(config, field)
        chosen = value if field == "model.pixels" else (value,)
        wrong = [one for one in chosen if one not in variants]
        if wrong or not chosen:
            close = difflib.get_close_matches(str(*wrong[:1]), list(map(str, variants)), n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            listed = ", ".join(map(repr, variants))
            raise UserError(f"config field '{field}' can't be {value!r}: one of {listed}{hint}")
    m = config.model
    if m.width % 2 or m.width % m.heads:
        raise UserError(
            f"model.width={m.width} must be even and a multiple of model.heads={m.heads}"
        )


def build_model(config: ConfigDict, num_emotions: int, num_subjects: int) -> AVEmo:
    """The network of `config`."""
    return AVEmo(num_emotions=num_emotions, num_subjects=num_subjects, **config.model)


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
