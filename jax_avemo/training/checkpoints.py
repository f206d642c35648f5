"""Checkpoints of a run: the best and the latest, written by Orbax, with checksums.

A checkpoint holds the state and everything needed to use it without a config file: the resolved
config, the split, the numbers of emotions and subjects, and the validation metrics. Every read
compares checksums; a damaged checkpoint is refused.
"""

import contextlib
import errno
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers

from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.progress import say
from jax_avemo.training import checksums
from jax_avemo.training.checksums import DamagedError

State = TypeVar("State")
SELECTED_BY = "uar"
"""The validation metric that decides which checkpoint is the best."""


def _score(metrics: Any) -> float:
    value = float((metrics or {}).get(SELECTED_BY, -math.inf))
    return value if math.isfinite(value) else -math.inf  # NaN never displaces the best


def open_checkpoints(run: Path, *, read_only: bool = False) -> ocp.CheckpointManager:
    """The checkpoints of a run directory; the best by validation UAR and the latest are kept.

    A checkpoint whose JSON items are damaged is refused when reading, and deleted with a line when
    writing: the run then goes on from the one before.
    """
    folder = (run / "checkpoints").absolute()
    if read_only and not folder.is_dir():
        raise UserError(f"no checkpoints in {run}; is it a run directory (runs/NAME)?")
    for step in _steps(folder):
        try:
            checksums.read_about(folder / str(step))
        except DamagedError as damage:
            if read_only:
                raise _refusal(folder, step, damage) from damage
            _drop(folder, step, damage)
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
    return ocp.CheckpointManager(
        folder, options=options, item_names=("state", "about", "checksums")
    )


@contextlib.contextmanager
def writing(run: Path) -> Iterator[ocp.CheckpointManager]:
    """The checkpoints of a run, to write. What `save` began is waited for, after an error too."""
    manager = open_checkpoints(run)
    try:
        yield manager
    finally:
        with _full_disk(manager):
            manager.close()


def save(
    manager: ocp.CheckpointManager, step: int, state: Any, about: dict[str, Any], uar: float | None
) -> None:
    """Start writing a checkpoint; `uar` None = not evaluated (never the best)."""
    if step in manager.all_steps():
        return
    metrics = {SELECTED_BY: -math.inf if uar is None else uar}
    # Of an array on several devices Orbax writes a slice from each and compiles every slice: the
    # first checkpoint then holds training up for seconds (scripts/benchmarks/checkpoint.py).
    state = checksums.on_host(state)
    with _full_disk(manager):
        saved = manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                about=ocp.args.JsonSave(about),
                checksums=ocp.args.JsonSave(checksums.sums_of(state, about, metrics)),
            ),
            metrics=metrics,
            force=True,
        )
    if not saved:
        raise RuntimeError(f"checkpoint of step {step} was not written")


def finish(manager: ocp.CheckpointManager) -> None:
    """Wait until what `save` began is written."""
    with _full_disk(manager):
        manager.wait_until_finished()


def restore(manager: ocp.CheckpointManager, step: int, like: State) -> State:
    """The state saved at `step`, with the shapes, types and shardings of `like`.

    Raises:
      UserError: the checkpoint is damaged (the line names a whole one), or is of another network.
    """
    folder = Path(manager.directory)
    try:
        return _restore(folder / str(step), like)
    except DamagedError as damage:
        raise _refusal(folder, step, damage) from damage


def restore_latest(manager: ocp.CheckpointManager, like: State) -> State | None:
    """The state of the latest whole checkpoint, or None where there is no checkpoint.

    Damaged ones behind it are deleted, with a line that says so; their steps are made again.

    Raises:
      UserError: there are checkpoints, and none is whole.
    """
    folder = Path(manager.directory)
    for step in reversed(_steps(folder)):
        try:
            return _restore(folder / str(step), like)
        except DamagedError as damage:
            _drop(folder, step, damage)
            manager.reload()
    return None


def read_about(manager: ocp.CheckpointManager, step: int) -> dict[str, Any]:
    """The facts beside a checkpoint's state: config, split, names, validation metrics."""
    folder = Path(manager.directory)
    try:
        return checksums.read_about(folder / str(step))
    except DamagedError as damage:
        raise _refusal(folder, step, damage) from damage


def best_step(manager: ocp.CheckpointManager, run: Path) -> int:
    """The step of the checkpoint with the best validation UAR."""
    step = manager.best_step()
    if step is None:
        step = manager.latest_step()
    if step is None:
        raise UserError(f"no finished checkpoint in {run}; train it first")
    return step


def _steps(folder: Path) -> list[int]:
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())


def _restore(folder: Path, like: State) -> State:
    arrays = checksums.read_state(folder)
    wanted = checksums.named_leaves(like)
    differ = sorted(wanted.keys() ^ arrays.keys()) or sorted(
        name for name, leaf in wanted.items() if leaf.shape != arrays[name].shape
    )
    if differ:
        raise UserError(
            f"{folder} was saved by a network of another shape ({differ[0]} and "
            f"{len(differ) - 1} others differ); use the version it was trained with"
        )

    def place(name: str, leaf: Any) -> jax.Array:
        array = arrays[name].astype(leaf.dtype)
        if leaf.sharding is None:
            return jax.numpy.asarray(array)
        # Each host makes the parts that its devices hold.
        return jax.make_array_from_callback(array.shape, leaf.sharding, lambda part: array[part])

    leaves = [place(name, leaf) for name, leaf in wanted.items()]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _whole(folder: Path, steps: list[int]) -> list[int]:
    """The steps whose checkpoints are undamaged."""
    whole = []
    for step in steps:
        with contextlib.suppress(DamagedError):
            checksums.read_state(folder / str(step))
            whole.append(step)
    return whole


def _refusal(folder: Path, step: int, damage: DamagedError) -> UserError:
    whole = _whole(folder, [other for other in _steps(folder) if other != step])
    remedy = (
        f"step {whole[-1]} is whole; delete {folder / str(step)} to use that"
        if whole
        else f"no other is whole; delete {folder} and train again"
    )
    return UserError(f"checkpoint {folder / str(step)} is damaged ({damage}): {remedy}")


def _drop(folder: Path, step: int, damage: DamagedError) -> None:
    """Delete a damaged checkpoint, if there is a whole one to go on from."""
    whole = _whole(folder, [other for other in _steps(folder) if other != step])
    if not whole:
        raise _refusal(folder, step, damage)
    say(
        f"warning: checkpoint {folder / str(step)} is damaged ({damage}) and is deleted; "
        f"going on from step {whole[-1]}"
    )
    if jax.process_index() == 0:
        shutil.rmtree(folder / str(step))
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(f"dropped checkpoint {step}")


@contextlib.contextmanager
def _full_disk(manager: ocp.CheckpointManager) -> Iterator[None]:
    """ENOSPC for a full disk, which storage libraries report in exceptions of their own."""
    try:
        yield
    except Exception as error:
        full = os.strerror(errno.ENOSPC)
        if full in str(error):
            raise OSError(errno.ENOSPC, full, str(manager.directory)) from error
        raise
