"""What the cells of a cross-validation add up to: one record, and its table."""

import json
import statistics
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from jax_avemo.crossval.runner import Cell, read_cell
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.files import write_json

CROSSVAL_SCHEMA_VERSION = 1
RECORD = "crossval.json"


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


def collect(cells: Sequence[Cell], command: str) -> dict[str, Any]:
    """One record of all finished cells: pooled figures, leakage, and every pair compared.

    Raises:
      UserError: no experiment has a seed with all its folds.
    """
    from jax_avemo.evaluation import compare

    finished = [cell for cell in cells if read_cell(cell)]
    by_name: dict[str, list[Cell]] = {}
    for cell in finished:
        by_name.setdefault(cell.config.name, []).append(cell)
    if not by_name:
        raise UserError("no cell is finished")
    experiments: dict[str, Any] = {}
    pooled: dict[str, compare.Pooled] = {}
    leaks: dict[str, dict[str, dict[compare.CellKey, float]]] = {}
    results: dict[str, Any] = {}
    for name, of_name in by_name.items():
        found = {
            (c.fold, c.seed): json.loads((c.run / "results.json").read_text()) for c in of_name
        }
        lines = {(c.fold, c.seed): _lines(c.run / "predictions.jsonl") for c in of_name}
        results = next(iter(found.values()))
        try:
            pooled[name] = compare.pool(lines, results["emotions"])
        except ValueError as error:
            raise UserError(f"{name}: {error}") from error
        leaks[name] = _leaks(found)
        times = [told for cell in of_name if (told := read_cell(cell)) and not told["resumed"]]
        experiments[name] = {
            "parameters": results["parameters"],
            "training_seconds": _median([told["training_seconds"] for told in times]),
            "evaluation_seconds": _median([told["evaluation_seconds"] for told in times]),
            "metrics": compare.summarise(pooled[name]),
            "calibration": _calibration(found),
            "leakage": {
                quantity: {
                    "mean": statistics.mean(values.values()),
                    "by_cell": {
                        f"fold{fold}-seed{seed}": value
                        for (fold, seed), value in sorted(values.items())
                    },
                }
                for quantity, values in leaks[name].items()
            },
            "config": {
                field: value
                for field, value in results["config"].items()
                if field not in {"seed", "split.fold"}
            },
        }
    comparisons = []
    for a, b in combinations(by_name, 2):
        try:
            of_metrics = compare.compare(pooled[a], pooled[b])
        except ValueError:
            continue  # their corpora differ, or no seed is finished in both
        comparisons.append(
            {
                "a": a,
                "b": b,
                "metrics": of_metrics,
                "leakage": {
                    quantity: compare.compare_over_cells(values, leaks[b][quantity])
                    for quantity, values in leaks[a].items()
                    if quantity in leaks[b]
                },
            }
        )
    folds = sorted({cell.fold for cell in cells})
    return {
        "schema_version": CROSSVAL_SCHEMA_VERSION,
        "command": command,
        "synthetic": results["synthetic"],
        "honest": results["honest"],
        "corpus": results["corpus"],
        "corpus_seed": results["corpus_seed"],
        "size": results["size"],
        "folds": cells[0].config.split.folds,
        "folds_run": folds,
        "seeds": sorted({cell.seed for cell in cells}),
        "cells": len(cells),
        "complete": len(finished) == len(cells),
        "exploratory": len(folds) < cells[0].config.split.folds,
        "commits": sorted(
            {json.loads((c.run / "results.json").read_text())["commit"] or "" for c in finished}
        ),
        "versions": results["versions"],
        "hardware": results["hardware"],
        "emotions": results["emotions"],
        "experiments": experiments,
        "comparisons": comparisons,
    }


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def _leaks(found: Mapping[tuple[int, int], Any]) -> dict[str, dict[tuple[int, int], float]]:
    """Quantity -> cell -> value, such as "z_e identity linear" or "z_e eer cosine"."""
    leaks: dict[str, dict[tuple[int, int], float]] = {}
    for key, results in found.items():
        for quantity, value in leakage_figures(results["leakage"]).items():
            leaks.setdefault(quantity, {})[key] = value
    return leaks


def leakage_figures(leakage: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a run's leakage report, one flat name each."""
    flat: dict[str, float] = {}
    for part, title in (("training_subjects", ""), ("untrained", "untrained ")):
        for name, targets in leakage.get(part, {}).items():
            for target, kinds in targets.items():
                for kind, result in kinds.items():
                    flat[f"{title}{name} {target} {kind}"] = result["balanced_accuracy"]
    for name, result in leakage.get("unseen_subjects", {}).items():
        for attack in ("cosine", "plda"):
            if not result[attack]:
                continue  # nothing to learn from
            for end, field in (
                ("", "equal_error_rate"),
                (" same sex", "equal_error_rate_same_sex"),
            ):
                if (value := result[attack][field]) is not None:
                    flat[f"{name} eer {attack}{end}"] = value
        for kind, probe in result.get("probe", {}).items():
            flat[f"unseen {name} identity {kind}"] = probe["balanced_accuracy"]
    return flat


def _calibration(found: Mapping[tuple[int, int], Any]) -> dict[str, float]:
    """Mean over the cells: every network has a temperature of its own."""
    tests = [results["calibration"]["test"] for results in found.values()]
    return {
        name: statistics.mean(test[name] for test in tests) for name in ("ece_before", "ece_after")
    }


def write_record(cells: Sequence[Cell], workdir: Path, command: str) -> dict[str, Any]:
    """`collect`, written to WORKDIR/crossval.json."""
    record = collect(cells, command)
    write_json(workdir / RECORD, record)
    return record


def table(record: Mapping[str, Any]) -> str:
    """The record as a reader wants it on a terminal."""
    marks = [f"size {record['size']}", f"corpus {record['corpus']}"]
    marks += ["SYNTHETIC actors"] * record["synthetic"]
    marks += ["NOT an honest protocol"] * (not record["honest"])
    marks += ["exploratory: not all folds"] * record["exploratory"]
    marks += ["incomplete"] * (not record["complete"])
    experiments = record["experiments"]
    wide = max(12, *(len(name) for name in experiments)) + 2
    first = next(iter(experiments.values()))["metrics"]
    lines = [
        f"{len(record['folds_run'])} of {record['folds']} folds, {len(record['seeds'])} seeds, "
        f"{first['subjects']} subjects, {first['clips']} clips ({', '.join(marks)})",
        f"chance {100 * first['chance']:.1f}; intervals: 95 %, over subjects",
        "",
        f"{'':{wide}}{'UAR':>6}{'interval':>16}{'worst 1/4':>11}{'ECE':>7}{'id in z_e':>11}"
        f"{'parameters':>12}{'train s':>9}",
    ]
    for name, found in experiments.items():
        measured = found["metrics"]
        low, high = measured["uar_interval"]
        identity = found["leakage"].get("z_e identity linear")
        seconds = found["training_seconds"]
        lines.append(
            f"{name:{wide}}{100 * measured['uar']:>6.1f}"
            f"{f'{100 * low:.1f} to {100 * high:.1f}':>16}"
            f"{100 * measured['fairness']['worst_quartile']:>11.1f}"
            f"{100 * found['calibration']['ece_after']:>7.1f}"
            f"{100 * identity['mean'] if identity else float('nan'):>11.1f}"
            f"{found['parameters']:>12,}{seconds if seconds is not None else float('nan'):>9.0f}"
        )
    if record["comparisons"]:
        lines += ["", "UAR of the first minus the second (paired, 95 % interval, p of none)"]
        for pair in record["comparisons"]:
            uar = pair["metrics"]["uar"]
            lines.append(
                f"  {pair['a']} - {pair['b']}: {100 * uar['difference']:+.1f} "
                f"({100 * uar['low']:+.1f} to {100 * uar['high']:+.1f}), p {uar['p_value']:.3f}"
            )
    return "\n".join(lines)
