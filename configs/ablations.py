"""Ablations: the headline experiment with a few fields changed.

    python -m jax_avemo.main --config=configs/ablations.py:NAME[,SIZE]

`--config=configs/ablations.py:fusion_only` runs at the size the machine has,
`...:fusion_only,tiny` at another. Each costs what configs/decoupled.py costs or less (frames_16: up
to 4 times as much). `fusion_only` has no identity branch, no erasure, and clips drawn singly and as
they were recorded; `decorrelated_fusion` lacks the first two. `same_batches` is `fusion_only` on
batches of 8 clips a subject, `wide_z_e` the same with most of the emotion loss on z less the mean
of the person's other clips, `not_centred` the same with a z_e of 8 numbers. `person_centred` has
both: it is the headline without identity branch and sampler. `erased` and `post_hoc_erasure` are
neither centred nor narrow: linear maps take identity from z_e after training, in the second without
any coupling and with clips as recorded. `as_described` is the source's method to the letter: whole
gradients of identity and adversaries into z, gradnorm, no erasure, clips as recorded.
The others change one part of the headline. `coupled` has the coupling loss of `as_described`
(conditional adversaries, orthogonality) and gradnorm. `marginal` has marginal adversaries and
orthogonality, `orthogonality` that term alone, `hsic` HSIC alone. `whole_identity` lets the
gradients of identity into z, with fixed weights of the two tasks; `gradnorm` and `uncertainty` do
the same with weights that move. `as_recorded` draws the clips as they were recorded.
"""

from typing import Any

from jax_avemo.configs.decoupled import DECOUPLED
from ml_collections import ConfigDict

from jax_avemo.config import AUTO, make_config
from jax_avemo.runtime.errors import UserError

FUSION_ONLY = {"model.decouple": False, "train.resample": False}
ORTHOGONALITY = {"objective.orthogonality_weight": 0.1}
COUPLING = ORTHOGONALITY | {
    "model.adversary": "conditional",
    "objective.loss_balancing": "gradnorm",
}
NO_COUPLING = {"model.adversary": "none", "objective.orthogonality_weight": 0.0}
SAME_BATCHES = FUSION_ONLY | {"train.clips_per_subject": 8}
WHOLE_IDENTITY = DECOUPLED | {"objective.identity_gradient_scale": 1.0}
PERSON_CENTRED = SAME_BATCHES | {"model.person_centred": True, "model.embedding_width": 8}

DECOUPLING: dict[str, dict[str, Any]] = {
    "fusion_only": FUSION_ONLY,
    "decorrelated_fusion": {"model.decouple": False},
    "same_batches": SAME_BATCHES,
    "wide_z_e": SAME_BATCHES | {"model.person_centred": True},
    "not_centred": SAME_BATCHES | {"model.embedding_width": 8},
    "person_centred": PERSON_CENTRED,
    "erased": {"model.erasure": True},
    "post_hoc_erasure": NO_COUPLING | {"model.erasure": True, "train.resample": False},
    "as_described": {
        "train.resample": False,
        "model.erasure": False,
        "objective.identity_gradient_scale": 1.0,
    },
    "as_recorded": DECOUPLED | {"train.resample": False},
    "coupled": DECOUPLED | COUPLING,
    "marginal": DECOUPLED | {"model.adversary": "marginal"} | ORTHOGONALITY,
    "orthogonality": DECOUPLED | ORTHOGONALITY,
    "hsic": DECOUPLED | {"objective.hsic_weight": 1.0},
    "whole_identity": WHOLE_IDENTITY,
    "gradnorm": WHOLE_IDENTITY | {"objective.loss_balancing": "gradnorm"},
    "uncertainty": WHOLE_IDENTITY | {"objective.loss_balancing": "uncertainty"},
}
PARTS: dict[str, dict[str, Any]] = {
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
NETWORK = {name: DECOUPLED | changes for name, changes in PARTS.items()}
ABLATIONS = DECOUPLING | NETWORK


def get_config(argument: str = "") -> ConfigDict:
    """The config of an ablation; `argument` is NAME or NAME,SIZE."""
    name, _, size = argument.partition(",")
    if name not in ABLATIONS:
        raise UserError(f"no ablation '{name}'; there are {', '.join(ABLATIONS)}")
    return make_config(name, size or AUTO, ABLATIONS[name])
