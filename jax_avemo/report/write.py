"""Report files of a run or of a cross-validation."""

import importlib.util
import json
from pathlib import Path

from jax_avemo.evaluation.predictions import EMBEDDINGS_FILE, read_embeddings
from jax_avemo.evaluation.results import (
    RESULTS_FILE,
    ROBUSTNESS_FILE,
    RobustnessResults,
    read_results,
    read_results_of,
)
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
        from jax_avemo.crossval.crossval_record import read_crossval
        from jax_avemo.report.crossval_page import crossval_page

        page = crossval_page(read_crossval(folder / "crossval.json"))
        write_atomic(target, page.encode())
        return target
    if not (folder / "results.json").exists():
        raise UserError(
            f"no results.json and no crossval.json in {folder}; run avemo evaluate {folder} first"
        )
    from jax_avemo.report.run_page import run_page

    results = read_results(folder / RESULTS_FILE)
    looked = []
    if attention:
        from jax_avemo.report.attention_maps import look

        shown = results.synthetic if faces is None else faces
        looked = look(folder, data_dir)
        looked = looked if shown else [clip._replace(face=None) for clip in looked]
    log = folder / "metrics.jsonl"
    robustness = folder / ROBUSTNESS_FILE
    page = run_page(
        results,
        [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else [],
        read_embeddings(folder / EMBEDDINGS_FILE),
        looked,
        read_results_of(RobustnessResults, robustness).robustness if robustness.exists() else None,
        str(folder),
    )
    write_atomic(target, page.encode())
    return target
