"""The network and its inputs, as a config describes them, and the variants of its fields."""

import difflib
from collections.abc import Collection
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
from jax_avemo.objectives.loss_balancing import BALANCERS
from jax_avemo.runtime.errors import UserError

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


def build_inputs(config: ConfigDict, *, training: bool) -> InputOptions:
    """Shapes of the batches."""
    i = config.input
    return InputOptions(
        frame_size=i.frame_size,
        frames=i.frames_train if training else i.frames_eval,
        audio_seconds=i.audio_seconds,
    )
