"""TensorBoard events of a training log."""

import shutil
from pathlib import Path

from jax_avemo.report.write import read_log
from jax_avemo.runtime.errors import UserError

TENSORBOARD_FOLDER = "tensorboard"


def write_tensorboard(run: Path) -> Path:
    """Write metrics.jsonl as RUN/tensorboard, anew each time; returns that folder.

    Scalars are called kind/name ("train/loss/emotion", "validation/uar") and stand at their steps.

    Raises:
      UserError: the writer is not installed, or the run has no log.
    """
    try:
        from tensorboardX import SummaryWriter
    except ModuleNotFoundError as error:
        raise UserError(
            "TensorBoard events need tensorboardX; run: pip install 'jax_avemo[tensorboard]'"
        ) from error
    log = read_log(run / "metrics.jsonl")
    if not log:
        raise UserError(f"{run} has no metrics.jsonl: nothing to show in TensorBoard")
    folder = run / TENSORBOARD_FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    with SummaryWriter(str(folder)) as writer:
        for line in log:
            for name, value in line.items():
                if name not in ("step", "kind") and isinstance(value, int | float):
                    writer.add_scalar(f"{line['kind']}/{name}", value, line["step"])
    return folder
