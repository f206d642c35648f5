"""Ablations: the headline experiment with a few fields changed.

    python -m jax_avemo.main --config=configs/ablations.py:NAME[,SIZE]

`--config=configs/ablations.py:fusion_only` runs at the size the machine has,
`...:fusion_only,tiny` at another. Each costs what configs/decoupled.py costs or less (frames_16: up
to 4 times as much). `fusion_only` has no identity branch, no erasure, and clips drawn as they were
recorded; `decorrelated_fusion` lacks the first two, `adversaries` and `marginal_adversaries` the
last two, `no_erasure` and `as_recorded` one. z_e and z_i are kept apart by the headline's
conditional adversaries and orthogonality, by `marginal` ones, by `hsic`, by `orthogonality` alone,
or not (`no_coupling`; with clips as recorded `post_hoc_erasure`). `whole_identity` lets the whole
gradients of identity and adversaries into z; `as_described` is the source's method to the letter:
these gradients, no erasure, clips as recorded. Losses are balanced by the headline's gradnorm,
`fixed_weights` or `uncertainty`.
`same_batches` is `fusion_only` on batches of 8 clips a subject. `person_centred` adds a z_e of 8
numbers and most of the emotion loss on z less the mean of the person's other clips; `not_centred`
lacks the second of these, `wide_z_e` the first; `decoupled_person_centred` has both and the
identity branch, without the erasure, for which 8 numbers leave no room.
"""

from typing import Any

from ml_collections import ConfigDict

from jax_avemo.config import AUTO, make_config
from jax_avemo.runtime.errors import UserError

ADVERSARIES = {"train.resample": False, "model.erasure": False}
FUSION_ONLY = {"model.decouple": False, "train.resample": False}
NO_COUPLING = {"model.adversary": "none", "objective.orthogonality_weight": 0.0}
SAME_BATCHES = FUSION_ONLY | {"train.clips_per_subject": 8}
PERSON_CENTRED = SAME_BATCHES | {"model.person_centred": True, "model.embedding_width": 8}

DECOUPLING: dict[str, dict[str, Any]] = {
    "fusion_only": FUSION_ONLY,
    "decorrelated_fusion": {"model.decouple": False},
    "as_recorded": {"train.resample": False},
    "no_erasure": {"model.erasure": False},
    "adversaries": ADVERSARIES,
    "marginal_adversaries": ADVERSARIES | {"model.adversary": "marginal"},
    "no_coupling": NO_COUPLING,
    "post_hoc_erasure": NO_COUPLING | {"train.resample": False},
    "marginal": {"model.adversary": "marginal"},
    "hsic": {"model.adversary": "none", "objective.hsic_weight": 1.0},
    "orthogonality": {"model.adversary": "none"},
    "as_described": {
        "train.resample": False,
        "model.erasure": False,
        "objective.identity_gradient_scale": 1.0,
    },
    "same_batches": SAME_BATCHES,
    "person_centred": PERSON_CENTRED,
    "not_centred": PERSON_CENTRED | {"model.person_centred": False},
    "wide_z_e": SAME_BATCHES | {"model.person_centred": True},
    "decoupled_person_centred": {
        "train.clips_per_subject": 8,
        "model.person_centred": True,
        "model.embedding_width": 8,
        "model.erasure": False,
    },
    "whole_identity": {"objective.identity_gradient_scale": 1.0},
    "fixed_weights": {"objective.loss_balancing": "fixed"},
    "uncertainty": {"objective.loss_balancing": "uncertainty"},
}
NETWORK: dict[str, dict[str, Any]] = {
    "no_coordinate_attention": {"model.coordinate_attention": False},
    "no_functionals": {"model.functionals": False},
    "no_audio_self_attention": {"model.audio_self_attention": False},
    "no_embedded_self_attention": {"model.embedded_self_attention": False},
    "one_sequence_lstm": {"model.fusion": "lstm_concat"},
    "no_modality_dropout": {"train.modality_dropout": 0.0},
    "frames_4": {"input.frames_train": 4, "input.frames_eval": 4},
    "frames_8": {"input.frames_train": 8, "input.frames_eval": 8},
    "frames_16": {"input.frames_train": 16, "input.frames_eval": 16},
}
ABLATIONS = DECOUPLING | NETWORK


def get_config(argument: str = "") -> ConfigDict:
    """The config of an ablation; `argument` is NAME or NAME,SIZE."""
    name, _, size = argument.partition(",")
    if name not in ABLATIONS:
        raise UserError(f"no ablation '{name}'; there are {', '.join(ABLATIONS)}")
    return make_config(name, size or AUTO, ABLATIONS[name])
