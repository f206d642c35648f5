"""Baseline fusions of other papers, on the networks, clips and schedule of the headline experiment.

    python -m jax_avemo.main --config=configs/baselines.py:NAME[,SIZE]

They differ in how video and audio are fused, and in that nothing is decoupled. Where they leave the
papers is listed in docs/reference/baselines.md. Each costs what configs/decoupled.py costs or less.
"""

from typing import Any

from ml_collections import ConfigDict

from jax_avemo.config import AUTO, make_config
from jax_avemo.runtime.errors import UserError

PLAIN = {"model.decouple": False, "train.resample": False}

BASELINES: dict[str, dict[str, Any]] = {
    "cfn_sr": {"model.fusion": "cross_modal_residual"},
    "intermediate_attention": {"model.fusion": "intermediate_attention"},
    "intermediate_transformer": {"model.fusion": "intermediate_transformer"},
    "late_transformer": {"model.fusion": "late_transformer"},
    "one_lstm": {
        "model.fusion": "lstm_concat",
        "model.embedded_self_attention": False,
        "model.skip_connection": False,
    },
    "averaged_logits": {"model.fusion": "averaged_logits"},
    "audio_alone": {"model.modalities": ("audio",)},
    "video_alone": {"model.modalities": ("video",)},
}


def get_config(argument: str = "") -> ConfigDict:
    """The config of a baseline; `argument` is NAME or NAME,SIZE."""
    name, _, size = argument.partition(",")
    if name not in BASELINES:
        raise UserError(f"no baseline '{name}'; there are {', '.join(BASELINES)}")
    return make_config(name, size or AUTO, PLAIN | BASELINES[name])
