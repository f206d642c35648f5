"""Run directories below a folder: experiment, size, corpus, test UAR and state of each."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jax_avemo.evaluation.results import read_results
from jax_avemo.evaluation.tables import percent
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.files import folder_lock, is_locked
from jax_avemo.runtime.text_tables import aligned


@dataclass(frozen=True)
class RunSummary:
    """One run directory."""

    run: str
    name: str
    """Of the experiment."""
    size: str
    corpus: str
    uar: float | None
    """On the test subjects; None = not evaluated."""
    state: str
    """finished, running, stopped at step N, not begun, damaged, or evaluated by another version."""


def list_runs(folder: Path) -> list[RunSummary]:
    """Every run directory at or below `folder`, by path; the cells of a cross-validation too."""
    return [_summarise(path.parent) for path in sorted(folder.glob("**/config.json"))]


def latest_step(run: Path) -> int | None:
    """The step of the latest checkpoint in a run directory; None = nothing is trained yet."""
    steps = [int(path.name) for path in run.glob("checkpoints/*") if path.name.isdecimal()]
    return max(steps, default=None)


def to_text(runs: Iterable[RunSummary]) -> str:
    """The runs as a table for the terminal."""
    rows = [("run", "experiment", "size", "corpus", "UAR, %", "state")]
    for found in runs:
        rows.append(
            (found.run, found.name, found.size, found.corpus, percent(found.uar), found.state)
        )
    return "\n".join(aligned(rows, left=len(rows[0])))


def _summarise(run: Path) -> RunSummary:
    step = latest_step(run)
    state = "not begun" if step is None else f"stopped at step {step}"
    uar = None
    if (run / "results.json").exists():
        try:
            test = read_results(run / "results.json").metrics.test
            state, uar = "finished", test.uar if test else None
        except UserError:
            state = "evaluated by another version"
    if is_locked(folder_lock(run)):
        state = "running"
    config = _read(run / "config.json")
    if not {"name", "size", "data.corpus"} <= config.keys():
        state = "damaged"
    name, size, corpus = (str(config.get(key, "-")) for key in ("name", "size", "data.corpus"))
    return RunSummary(str(run), name, size, corpus, uar, state)


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return {}  # damaged
