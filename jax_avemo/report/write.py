"""Which files a report is made of, and where it goes."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np

from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.files import write_atomic

REPORT_NAME = "report.html"


def write_report(
    folder: Path, *, data_dir: Path | None = None, faces: bool | None = None, attention: bool = True
) -> Path:
    """Write `report.html` into a run directory or a cross-validation's folder; returns its path.

    Args:
      folder: with `results.json` or `crossval.json`.
      data_dir: the clips, when they moved.
      faces: put frames of test clips into the page; None = only of synthetic actors.
      attention: run the network over a few clips to see where it looks (half a minute).

    Raises:
      UserError: nothing to report there, results of an older version, or matplotlib is missing.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("reports need matplotlib; run: pip install 'jax_avemo[report]'")
    target = folder / REPORT_NAME
    if (folder / "crossval.json").exists():
        from jax_avemo.report.crossval_page import crossval_page

        write_atomic(target, crossval_page(_read(folder / "crossval.json")).encode())
        return target
    if not (folder / "results.json").exists():
        raise UserError(
            f"no results.json and no crossval.json in {folder}; run avemo evaluate {folder} first"
        )
    from jax_avemo.report.run_page import run_page

    results = _read(folder / "results.json")
    if results["schema_version"] < 2:
        raise UserError(
            f"{folder} was evaluated by an older version; avemo evaluate {folder} again"
        )
    looked = []
    if attention:
        from jax_avemo.report.attention_maps import look

        shown = results["synthetic"] if faces is None else faces
        looked = look(folder, data_dir)
        looked = looked if shown else [clip._replace(face=None) for clip in looked]
    log = folder / "metrics.jsonl"
    robustness = folder / "results-robustness.json"
    page = run_page(
        results,
        [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else [],
        _embeddings(folder / "embeddings.npz"),
        looked,
        _read(robustness) if robustness.exists() else None,
        str(folder),
    )
    write_atomic(target, page.encode())
    return target


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); make it again") from error


def _embeddings(path: Path) -> dict[str, np.ndarray] | None:
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)
