"""How a run is saved and found again: Orbax, the best and the latest, self-contained.

A checkpoint holds the state and everything needed to use it without a config file: the resolved
config, who was in which split, the emotions' and subjects' numbers, and the validation figures.
"""

import math
from pathlib import Path
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from jax_avemo.errors import UserError

State = TypeVar("State")
SELECTED_BY = "uar"
"""The validation metric that decides which checkpoint is the best."""


def _score(metrics: Any) -> float:
    value = float((metrics or {}).get(SELECTED_BY, -math.inf))
    return value if math.isfinite(value) else -math.inf  # NaN never displaces the best


def open_checkpoints(run: Path, *, read_only: bool = False) -> ocp.CheckpointManager:
    """The checkpoints of a run directory; the best by validation UAR and the latest are kept."""
    folder = (run / "checkpoints").absolute()
    if read_only and not folder.is_dir():
        raise UserError(f"no checkpoints in {run}; is it a run directory (runs/NAME)?")
    policies = checkpoint_managers.AnyPreservationPolicy(
        [
            checkpoint_managers.LatestN(1),
            checkpoint_managers.BestN(
                get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False
            ),
        ]
    )
    options = ocp.CheckpointManagerOptions(
        preservation_policy=policies,
        best_fn=_score,
        cleanup_tmp_directories=not read_only,
        read_only=read_only,
        create=not read_only,
    )
    return ocp.CheckpointManager(folder, options=options, item_names=("state", "about"))


def save(
    manager: ocp.CheckpointManager, step: int, state: Any, about: dict[str, Any], uar: float | None
) -> None:
    """Start writing a checkpoint; `uar` None = not evaluated (never the best)."""
    if step in manager.all_steps():
        return
    saved = manager.save(
        step,
        args=ocp.args.Composite(state=ocp.args.StandardSave(state), about=ocp.args.JsonSave(about)),
        metrics={SELECTED_BY: -math.inf if uar is None else uar},
        force=True,
    )
    if not saved:
        raise RuntimeError(f"checkpoint of step {step} was not written")


def restore(manager: ocp.CheckpointManager, step: int, like: State) -> State:
    """The state saved at `step`, with the shapes, types and shardings of `like`."""
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    restored = manager.restore(
        step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
    )
    return restored["state"]


def read_about(manager: ocp.CheckpointManager, step: int) -> dict[str, Any]:
    """What a checkpoint says of itself: config, split, names, validation figures."""
    return manager.restore(step, args=ocp.args.Composite(about=ocp.args.JsonRestore()))["about"]


def best_step(manager: ocp.CheckpointManager, run: Path) -> int:
    """The step whose checkpoint did best on the validation subjects."""
    step = manager.best_step()
    if step is None:
        step = manager.latest_step()
    if step is None:
        raise UserError(f"no finished checkpoint in {run}; train it first")
    return step
