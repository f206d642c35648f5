"""Run directories below a folder: experiment, size, corpus, test UAR and state of each."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jax_avemo.runtime.files import folder_lock, is_locked


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
    """finished, running, stopped at step N, not begun, or damaged."""


def list_runs(folder: Path) -> list[RunSummary]:
    """Every run directory at or below `folder`, by path; the cells of a cross-validation too."""
    return [_summarise(path.parent) for path in sorted(folder.glob("**/config.json"))]


def latest_step(run: Path) -> int | None:
    """The step of the latest checkpoint in a run directory; None = nothing is trained yet."""
    steps = [int(path.name) for path in run.glob("checkpoints/*") if path.name.isdecimal()]
    return max(steps, default=None)


def to_text(runs: Iterable[RunSummary]) -> str:
    """The runs as a table for the terminal."""
    rows = [("run", "experiment", "size", "corpus", "UAR", "state")]
    for found in runs:
        uar = "-" if found.uar is None else f"{100 * found.uar:.1f} %"
        rows.append((found.run, found.name, found.size, found.corpus, uar, found.state))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join(lines)


def _summarise(run: Path) -> RunSummary:
    config, results = _read(run / "config.json"), _read(run / "results.json")
    step = latest_step(run)
    uar = None
    if config is None or not {"name", "size", "data.corpus"} <= config.keys():
        state, config = "damaged", {}
    elif is_locked(folder_lock(run)):
        state = "running"
    elif results is not None:
        state, uar = "finished", results["metrics"]["test"]["uar"]
    else:
        state = "not begun" if step is None else f"stopped at step {step}"
    name, size, corpus = (config.get(key, "-") for key in ("name", "size", "data.corpus"))
    return RunSummary(str(run), name, size, corpus, uar, state)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None  # absent or damaged
