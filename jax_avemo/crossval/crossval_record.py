"""Record of a cross-validation: pooled metrics, leakage and comparisons, and its table."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from jax_avemo.crossval.leakage_record import (
    IDENTITY_FLOOR,
    IDENTITY_IN_Z_E,
    Attack,
    AttackDifference,
    EnrolmentSummary,
    LeakageSummary,
    compare_leakage,
    summarise_enrolment,
    summarise_leakage,
)
from jax_avemo.crossval.runner import Cell, read_cell
from jax_avemo.evaluation import compare, tables
from jax_avemo.evaluation.compare import CellKey, MetricDifferences, PooledMetrics
from jax_avemo.evaluation.predictions import PREDICTIONS_FILE, read_predictions
from jax_avemo.evaluation.results import (
    RESULTS_FILE,
    Facts,
    PairedDifference,
    Results,
    read_results,
)
from jax_avemo.evaluation.statistics import holm
from jax_avemo.evaluation.tables import interval, p_value, percent, with_interval
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.records import read_record, write_record
from jax_avemo.runtime.text_tables import aligned

CROSSVAL_SCHEMA_VERSION = 3
RECORD = "crossval.json"


@dataclass(frozen=True)
class MeanCalibration:
    """Expected calibration error on test clips, mean over the networks."""

    ece_before: float
    ece_after: float


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One experiment over all its cells."""

    parameters: int
    training_seconds: float | None
    """Median over the cells that were trained in one go."""
    evaluation_seconds: float | None
    metrics: PooledMetrics
    calibration: MeanCalibration
    leakage: LeakageSummary
    enrolment: tuple[EnrolmentSummary, ...] = ()
    """By rising number of clips; empty where the networks are not person-centred."""
    config: dict[str, Any]
    """Without seed and fold."""


@dataclass(frozen=True)
class Comparison:
    """Experiment a minus experiment b."""

    a: str
    b: str
    metrics: MetricDifferences
    leakage: tuple[AttackDifference, ...]

    def attacked(self, attack: Attack) -> PairedDifference | None:
        """Difference of an attack's success; None where it was not measured on both."""
        return next((found.difference for found in self.leakage if found.attack == attack), None)


@dataclass(frozen=True, kw_only=True)
class CrossvalRecord(Facts):
    """crossval.json."""

    schema_version: int = CROSSVAL_SCHEMA_VERSION
    command: str
    folds: int
    folds_run: tuple[int, ...]
    seeds: tuple[int, ...]
    cells: int
    complete: bool
    exploratory: bool
    """Not all folds were run."""
    commits: tuple[str, ...]
    experiments: dict[str, Experiment]
    comparisons: tuple[Comparison, ...]

    @property
    def first(self) -> PooledMetrics:
        """Metrics of the first experiment: what all experiments share stands there too."""
        return next(iter(self.experiments.values())).metrics


def command_of(
    specs: Sequence[str],
    *,
    folds: int,
    seeds: int,
    only_folds: Sequence[int],
    workdir: Path | str,
    overrides: Sequence[str],
) -> str:
    """The command line that makes the record again."""
    parts = ["avemo crossval", *(f"--config={spec}" for spec in specs)]
    parts += [f"--folds {folds}", f"--seeds {seeds}"]
    parts += [f"--only-fold {fold}" for fold in only_folds]
    return " ".join([*parts, f"--workdir {workdir}", *overrides])


def collect(cells: Sequence[Cell], command: str) -> CrossvalRecord:
    """One record of all finished cells: pooled metrics, leakage, and every pair compared.

    Raises:
      UserError: no experiment has a seed with all its folds.
    """
    finished = [cell for cell in cells if read_cell(cell)]
    by_name: dict[str, list[Cell]] = {}
    for cell in finished:
        by_name.setdefault(cell.config.name, []).append(cell)
    if not by_name:
        raise UserError("no cell is finished")
    results: dict[str, dict[CellKey, Results]] = {
        name: {(cell.fold, cell.seed): read_results(cell.run / RESULTS_FILE) for cell in of_name}
        for name, of_name in by_name.items()
    }
    pooled = {name: _pooled(of_name, results[name]) for name, of_name in by_name.items()}
    leakage = {
        name: summarise_leakage(
            {cell: found.leakage for cell, found in of_name.items() if found.leakage}
        )
        for name, of_name in results.items()
    }
    last = next(iter(results[list(by_name)[-1]].values()))
    folds = sorted({cell.fold for cell in cells})
    return CrossvalRecord(
        command=command,
        synthetic=last.synthetic,
        subject_independent=last.subject_independent,
        corpus=last.corpus,
        corpus_seed=last.corpus_seed,
        size=last.size,
        folds=cells[0].config.split.folds,
        folds_run=tuple(folds),
        seeds=tuple(sorted({cell.seed for cell in cells})),
        cells=len(cells),
        complete=len(finished) == len(cells),
        exploratory=len(folds) < cells[0].config.split.folds,
        commits=tuple(
            sorted({one.commit or "" for found in results.values() for one in found.values()})
        ),
        versions=last.versions,
        hardware=last.hardware,
        emotions=last.emotions,
        experiments={
            name: _experiment(of_name, results[name], pooled[name], leakage[name])
            for name, of_name in by_name.items()
        },
        comparisons=_comparisons(pooled, leakage),
    )


def _pooled(cells: Sequence[Cell], results: Mapping[CellKey, Results]) -> compare.Pooled:
    predictions = {
        (cell.fold, cell.seed): read_predictions(cell.run / PREDICTIONS_FILE) for cell in cells
    }
    try:
        return compare.pool(predictions, next(iter(results.values())).emotions)
    except ValueError as error:
        raise UserError(f"{cells[0].config.name}: {error}") from error


def _experiment(
    cells: Sequence[Cell],
    results: Mapping[CellKey, Results],
    pooled: compare.Pooled,
    leakage: LeakageSummary,
) -> Experiment:
    first = next(iter(results.values()))
    times = [told for cell in cells if (told := read_cell(cell)) and not told["resumed"]]
    tests = [
        found.calibration.test
        for found in results.values()
        if found.calibration and found.calibration.test
    ]
    return Experiment(
        parameters=first.parameters,
        training_seconds=_median([told["training_seconds"] for told in times]),
        evaluation_seconds=_median([told["evaluation_seconds"] for told in times]),
        metrics=compare.summarise(pooled),
        calibration=MeanCalibration(
            ece_before=statistics.mean(test.ece_before for test in tests),
            ece_after=statistics.mean(test.ece_after for test in tests),
        ),
        leakage=leakage,
        enrolment=summarise_enrolment({cell: one.enrolment for cell, one in results.items()}),
        config={
            field: value
            for field, value in first.config.items()
            if field not in {"seed", "split.fold"}
        },
    )


def _comparisons(
    pooled: Mapping[str, compare.Pooled], leakage: Mapping[str, LeakageSummary]
) -> tuple[Comparison, ...]:
    comparisons = []
    for a, b in combinations(pooled, 2):
        try:
            of_metrics = compare.compare(pooled[a], pooled[b])
        except ValueError:
            continue  # their corpora differ, or no seed is finished in both
        comparisons.append(Comparison(a, b, of_metrics, compare_leakage(leakage[a], leakage[b])))
    return tuple(comparisons)


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def write_crossval(cells: Sequence[Cell], workdir: Path, command: str) -> CrossvalRecord:
    """`collect`, written to WORKDIR/crossval.json."""
    record = collect(cells, command)
    write_record(workdir / RECORD, record)
    return record


def read_crossval(path: Path) -> CrossvalRecord:
    """Read what `write_crossval` wrote.

    Raises:
      UserError: the file is not there, damaged, or of another version.
    """
    remedy = "give the same command (avemo crossval ...) again"
    return read_record(CrossvalRecord, path, CROSSVAL_SCHEMA_VERSION, remedy)


def crossval_table(record: CrossvalRecord) -> str:
    """The record as a table for the terminal."""
    marks = tables.marks(record)
    marks += ["exploratory: not all folds"] * record.exploratory
    marks += ["incomplete"] * (not record.complete)
    first = record.first
    rows: list[tuple[str, ...]] = [
        ("", "UAR", "interval", "worst 1/4", "ECE", "id in z_e", "floor", "train s")
    ]
    for name, found in record.experiments.items():
        measured, seconds = found.metrics, found.training_seconds
        attacked = [found.leakage.of(attack) for attack in (IDENTITY_IN_Z_E, IDENTITY_FLOOR)]
        rows.append(
            (
                name,
                percent(measured.uar),
                interval(measured.estimates["UAR"]),
                percent(measured.fairness.worst_quartile),
                percent(found.calibration.ece_after),
                *(percent(one.value) if one else "-" for one in attacked),
                "-" if seconds is None else f"{seconds:.0f}",
            )
        )
    lines = [
        f"{len(record.folds_run)} of {record.folds} folds, {len(record.seeds)} seeds, "
        f"{first.subjects} subjects, {first.clips} clips ({', '.join(marks)})",
        f"chance {percent(first.chance)}; intervals: 95 %, over subjects",
        "id in z_e, floor: identity of unseen subjects, by the strongest attacker on z_e and on "
        "the emotion probabilities",
        "",
        *aligned(rows),
    ]
    if record.comparisons:
        lines += ["", "UAR of the first minus the second (paired, 95 % interval, p by Holm)"]
        adjusted = holm([pair.metrics.uar.p_value for pair in record.comparisons])
        lines += [
            f"  {pair.a} - {pair.b}: {with_interval(pair.metrics.uar)}, p {p_value(p)}"
            for pair, p in zip(record.comparisons, adjusted, strict=True)
        ]
    return "\n".join(lines)
