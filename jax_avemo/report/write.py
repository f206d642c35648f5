"""Report files of a run or of a cross-validation."""

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jax_avemo.evaluation.predictions import (
    EMBEDDINGS_FILE,
    PREDICTIONS_FILE,
    read_embeddings,
    read_predictions,
)
from jax_avemo.evaluation.results import (
    RESULTS_FILE,
    ROBUSTNESS_FILE,
    Results,
    RobustnessResults,
    read_results,
    read_results_of,
)
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.files import write_atomic
from jax_avemo.runtime.progress import Progress, say
from jax_avemo.runtime.text_tables import to_csv

REPORT_NAME = "report.html"


def write_report(
    folder: Path, *, data_dir: Path | None = None, faces: bool | None = None, attention: bool = True
) -> Path:
    """Write `report.html` into a run directory or a cross-validation's folder; returns its path.

    Beside a run's page the confusion matrix and the training curves stand as `report-*.csv` and
    `report-*.png`.

    Args:
      folder: with `results.json` or `crossval.json`.
      data_dir: the clips, when they moved.
      faces: put frames of test clips into the page; None = only of synthetic actors.
      attention: run the network over a few clips to see where it looks (half a minute). Where that
        is not possible, such as without the clips, the page says why.

    Raises:
      UserError: nothing to report there, results of an older version, or matplotlib is missing.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("reports need matplotlib; run: pip install 'jax_avemo[report]'")
    if (folder / "crossval.json").exists():
        from jax_avemo.crossval.crossval_record import read_crossval
        from jax_avemo.report.crossval_page import crossval_page

        page = crossval_page(read_crossval(folder / "crossval.json"))
    elif (folder / RESULTS_FILE).exists():
        page = _run_report(folder, data_dir, faces, attention)
    else:
        raise UserError(
            f"no results.json and no crossval.json in {folder}; run avemo evaluate {folder} first"
        )
    write_atomic(folder / REPORT_NAME, page.encode())
    return folder / REPORT_NAME


def _run_report(folder: Path, data_dir: Path | None, faces: bool | None, attention: bool) -> str:
    from jax_avemo.report.run_page import SECTIONS, RunFiles, run_page

    results = read_results(folder / RESULTS_FILE)
    robustness = folder / ROBUSTNESS_FILE
    predictions = folder / PREDICTIONS_FILE
    files = RunFiles(
        log=read_log(folder / "metrics.jsonl"),
        predictions=read_predictions(predictions) if predictions.exists() else (),
        embeddings=read_embeddings(folder / EMBEDDINGS_FILE),
        robustness=read_results_of(RobustnessResults, robustness).robustness
        if robustness.exists()
        else None,
    )
    looked, without_attention = [], ""
    if attention:
        from jax_avemo.report.attention_maps import look

        try:
            looked = look(folder, data_dir)
        except UserError as error:
            without_attention = f"The network was not run on its clips: {error}."
            say(f"note: no attention in the report: {error}")
    if not (results.synthetic if faces is None else faces):
        looked = [clip._replace(face=None) for clip in looked]
    with Progress(SECTIONS + 1, "report", unit="sections") as progress:
        write_beside(folder, results, files.log)
        progress.advance()
        return run_page(
            results,
            files,
            looked,
            str(folder),
            without_attention=without_attention,
            after_each=progress.advance,
        )


def write_beside(folder: Path, results: Results, log: Sequence[Mapping[str, Any]]) -> None:
    """The confusion matrix and the training curves as CSV and PNG."""
    from jax_avemo.report import figures

    matrix, emotions = figures.reordered(results.test.confusion, results.emotions)
    rows = [[emotion, *row] for emotion, row in zip(emotions, matrix, strict=True)]
    _write_csv(folder / "report-confusion.csv", [["true \\ predicted", *emotions], *rows])
    figures.write_png(figures.confusion(matrix, emotions), folder / "report-confusion.png")
    if not log:
        return
    names = sorted({name for line in log for name in line} - {"step", "kind"})
    curves = [[line["step"], line["kind"], *(line.get(name, "") for name in names)] for line in log]
    _write_csv(folder / "report-curves.csv", [["step", "kind", *names], *curves])
    for panel, name in zip(
        figures.training(log, results.step), ("losses", "weights", "validation"), strict=True
    ):
        figures.write_png(panel, folder / f"report-{name}.png")


def _write_csv(path: Path, rows: Sequence[Sequence[object]]) -> None:
    write_atomic(path, to_csv(rows).encode())


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; empty where there is none.

    Raises:
      UserError: a line is damaged.
    """
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_text().splitlines()]
    except ValueError as error:
        raise UserError(
            f"{path} is damaged ({error}); delete it to report without curves"
        ) from error
