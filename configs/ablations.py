"""What each part of the method buys: the headline experiment with at most five fields changed.

    python -m jax_avemo.main --config=configs/ablations.py:NAME[,SIZE]

`--config=configs/ablations.py:fusion_only` runs at the size the machine has,
`...:fusion_only,tiny` at another. Each costs what configs/decoupled.py costs or less (frames_16: up
to 4 times as much). `fusion_only` has no identity branch, no erasure, and clips drawn as they were
recorded; `decorrelated_fusion` lacks the first two, `adversaries` and `marginal_adversaries` the
last two, `no_erasure` and `as_recorded` one. The couplings are the headline's (conditional
adversaries and orthogonality), marginal, hsic, orthogonality alone and none; whole_identity lets
the whole gradients of identity and coupling into z; the balancers the headline's (gradnorm),
fixed_weights and uncertainty.
"""

from typing import Any

from ml_collections import ConfigDict

from jax_avemo.config import AUTO, make_config
from jax_avemo.runtime.errors import UserError

ADVERSARIES = {"train.decorrelate": False, "model.erase": False}

DECOUPLING: dict[str, dict[str, Any]] = {
    "fusion_only": {"model.decouple": False, "train.decorrelate": False},
    "decorrelated_fusion": {"model.decouple": False},
    "as_recorded": {"train.decorrelate": False},
    "no_erasure": {"model.erase": False},
    "adversaries": ADVERSARIES,
    "marginal_adversaries": ADVERSARIES | {"objective.coupling": "marginal"},
    "no_coupling": {"objective.coupling": "none", "objective.orthogonality": 0.0},
    "marginal": {"objective.coupling": "marginal"},
    "hsic": {"objective.coupling": "hsic"},
    "orthogonality": {"objective.coupling": "none"},
    "whole_identity": {"objective.identity_share": 1.0},
    "fixed_weights": {"objective.balancer": "fixed"},
    "uncertainty": {"objective.balancer": "uncertainty"},
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
