"""Fine-tuning: from ImageNet weights of the face network, or from another run.

    python -m jax_avemo.main --config=configs/finetune.py --config.init.weights_file=FILE
    python -m jax_avemo.main --config=configs/finetune.py:run[,SIZE] --config.init.run=RUN

The first takes torchvision's or timm's `resnext50_32x4d` (.safetensors, or .pth where PyTorch is
installed; nothing in it is run) into the face network, which starts at exactly the imported
function: coordinate attention begins as the identity. It therefore reads colour, standardised as
those weights expect, at size `full`. The stem and the first stage stay as they are, later stages
learn the more the later they stand. The second goes on from a run of the same size, everything
learning at a lower rate; heads of subjects start afresh. A run that has learned from
validation or test subjects is refused.

Cost: of `configs/decoupled.py:full` a third of the epochs; for GPUs. No result is given here: no
such weights were at hand.
"""

from typing import Any

from jax_avemo.configs.decoupled import DECOUPLED
from ml_collections import ConfigDict

from jax_avemo.config import AUTO, make_config
from jax_avemo.runtime.errors import UserError

SHORT: dict[str, Any] = {"train.learning_rate": 3e-4, "train.epochs": 30}
KINDS: dict[str, dict[str, Any]] = {
    "weights": SHORT
    | {
        "model.pixels": ("colour",),
        "model.colour_mean": (0.485, 0.456, 0.406),
        "model.colour_deviation": (0.229, 0.224, 0.225),
        "model.frozen_stages": 2,
        "train.layer_decay": 0.7,
    },
    "run": SHORT | {"train.layer_decay": 0.8},
}


def get_config(argument: str = "weights") -> ConfigDict:
    """The config; `argument` is `weights` or `run`, then optionally `,SIZE`."""
    kind, _, size = argument.partition(",")
    if kind not in KINDS:
        raise UserError(f"finetune starts from {' or '.join(KINDS)}, not from '{kind}'")
    if not size:
        size = "full" if kind == "weights" else AUTO
    return make_config(f"finetune_{kind}", size, DECOUPLED | KINDS[kind])
