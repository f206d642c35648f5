"""Cross-validation: one run a cell (config, fold, seed), shared by any number of processes.

A cell is an ordinary run directory, WORKDIR/NAME/fold0-seed0, and goes on after a kill as any run
does. Each process that is given the same command takes a cell that nobody holds, by a lock that the
kernel frees when its holder dies, until all are done.
"""

import gc
import json
import statistics
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jax_avemo import config as settings
from jax_avemo.experiment import check_claim, ensure_clips, own_run, train_run
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.files import is_locked, try_lock, write_json
from jax_avemo.runtime.progress import say

_DONE = "cell.json"
_POLL_SECONDS = 2.0


@dataclass(frozen=True)
class Cell:
    """One network: an experiment's config with its fold and seed, and where it runs."""

    config: ConfigDict
    fold: int
    seed: int
    run: Path

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.config.name} fold {self.fold} seed {self.seed}"

    @property
    def lock(self) -> Path:
        """Held by whoever runs it."""
        return self.run.parent.parent / "locks" / f"{self.run.parent.name}-{self.run.name}"


def make_cells(
    configs: Sequence[ConfigDict],
    *,
    folds: int,
    seeds: int,
    workdir: Path,
    only_folds: Sequence[int] = (),
) -> list[Cell]:
    """Seed by seed, fold by fold, every experiment: what is finished is comparable early.

    Raises:
      UserError: two configs with one name, no seed, or a fold that does not exist.
    """
    names = [config.name for config in configs]
    if len(set(names)) != len(names):
        raise UserError(
            f"two experiments are called the same ({', '.join(names)}); give them one --config "
            "each, or another --workdir"
        )
    if folds < 2 or seeds < 1:
        raise UserError(f"{folds} folds and {seeds} seeds: at least 2 and 1 are needed")
    wanted = sorted(set(only_folds)) or list(range(folds))
    if missing := [fold for fold in wanted if not 0 <= fold < folds]:
        raise UserError(f"fold {missing[0]} does not exist; folds are 0 to {folds - 1}")
    cells = []
    for seed in range(seeds):
        for fold in wanted:
            for config in configs:
                ours = deepcopy(config)
                for field, value in (("split.folds", folds), ("split.fold", fold), ("seed", seed)):
                    settings.set_field(ours, field, value)
                run = workdir / config.name / f"fold{fold}-seed{seed}"
                cells.append(Cell(ours, fold, seed, run))
    return cells


def read_cell(cell: Cell) -> dict[str, Any] | None:
    """What a finished cell says of itself; None = not finished."""
    try:
        return json.loads((cell.run / _DONE).read_text())
    except FileNotFoundError:
        return None


def run_cells(cells: Sequence[Cell], workdir: Path) -> None:
    """Run every cell that is not finished; return when all are, whoever ran them.

    Raises:
      UserError: a run directory belongs to another config, or cells failed (the others were run).
    """
    for cell in cells:
        check_claim(cell.run, cell.config)
    if all(read_cell(cell) for cell in cells):
        return
    for config in {cell.config.name: cell.config for cell in cells}.values():
        with try_lock(workdir / "locks" / "clips", wait=True):
            ensure_clips(config)
    failures: dict[str, str] = {}
    waiting = False
    while open_cells := [c for c in cells if c.title not in failures and not read_cell(c)]:
        worked = False
        for cell in open_cells:
            with try_lock(cell.lock) as ours:
                if not ours or read_cell(cell):
                    continue
                worked = True
                say(f"{cell.title}: {_time_left(cells)}")
                try:
                    _run_cell(cell)
                except UserError as error:
                    failures[cell.title] = str(error)
                    say(f"error: {cell.title}: {error}")
        if not worked:
            if not waiting:
                say(f"{len(open_cells)} cells are run by others; waiting for them")
            waiting = True
            time.sleep(_POLL_SECONDS)
    if failures:
        name, reason = next(iter(failures.items()))
        raise UserError(f"{len(failures)} of {len(cells)} cells failed; {name}: {reason}")


def _run_cell(cell: Cell) -> None:
    from jax_avemo.evaluation.evaluator import evaluate_run
    from jax_avemo.runtime.compilation import make_room_for_programs

    make_room_for_programs()
    resumed = (cell.run / "checkpoints").exists()
    began = time.monotonic()
    cell.run.mkdir(parents=True, exist_ok=True)
    with own_run(cell.run):
        train_run(cell.config, cell.run)
        trained = time.monotonic()
        results = evaluate_run(cell.run)
    write_json(
        cell.run / _DONE,
        {
            "fold": cell.fold,
            "seed": cell.seed,
            "training_seconds": round(trained - began, 2),
            "evaluation_seconds": round(time.monotonic() - trained, 2),
            "resumed": resumed,
            "hardware": results.hardware,
        },
    )
    gc.collect()


def _time_left(cells: Sequence[Cell]) -> str:
    done: dict[str, list[float]] = {}
    for cell in cells:
        if found := read_cell(cell):
            seconds = found["training_seconds"] + found["evaluation_seconds"]
            done.setdefault(cell.config.name, []).append(seconds)
    finished = sum(map(len, done.values()))
    said = f"{finished} of {len(cells)} cells done"
    if not done:
        return said
    overall = statistics.mean(value for values in done.values() for value in values)
    left = sum(
        statistics.mean(done.get(cell.config.name, [overall]))
        for cell in cells
        if not read_cell(cell)
    )
    workers = sum(is_locked(cell.lock) for cell in cells if not read_cell(cell))
    return f"{said}, about {left / max(workers, 1) / 60:.0f} minutes left with {workers} running"
