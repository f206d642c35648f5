"""Results as text: estimates with their intervals, and the tables of the terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from jax_avemo.evaluation.results import (
    Condition,
    CrossCorpusResults,
    Estimate,
    Facts,
    Leakage,
    PairedDifference,
    Results,
    Scores,
)

TARGETS = ("identity", "emotion")


def percent(share: float | None, digits: int = 1, *, signed: bool = False) -> str:
    """A share in percent, without the sign; "-" where there is none."""
    if share is None:
        return "-"
    return f"{100 * share:{'+' if signed else ''}.{digits}f}"


def with_interval(estimate: Estimate | PairedDifference, digits: int = 1) -> str:
    """An estimate in percent as "50.0 (40.0 to 60.0)", a difference with its sign."""
    signed = isinstance(estimate, PairedDifference)
    value = estimate.difference if isinstance(estimate, PairedDifference) else estimate.value
    written = percent(value, digits, signed=signed)
    between = interval(estimate, digits)
    return f"{written} ({between})"


def interval(estimate: Estimate | PairedDifference, digits: int = 1) -> str:
    """Only the interval, as "40.0 to 60.0"."""
    if estimate.low is None or estimate.high is None:
        return "one subject: no interval"
    signed = isinstance(estimate, PairedDifference)
    low, high = (percent(end, digits, signed=signed) for end in (estimate.low, estimate.high))
    return f"{low} to {high}"


def p_value(value: float) -> str:
    """A p value with three digits."""
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def marks(record: Facts) -> list[str]:
    """What a reader must know before any number."""
    said = [f"size {record.size}", f"corpus {record.corpus}"]
    said += ["SYNTHETIC actors"] * record.synthetic
    said += ["NOT subject-independent"] * (not record.subject_independent)
    return said


def results_table(results: Results) -> str:
    """The test results, with chance beside each, and what linear probes read."""
    found = results.test
    scores = [("", "value, %", "95 % interval", "chance")]
    for title, estimate in found.estimates.items():
        chance = "" if title == "macro-F1" else percent(found.chance)
        scores.append((title, percent(estimate.value), interval(estimate), chance))
    return "\n".join(
        [
            f"{results.name}: {found.clips} clips of {len(results.split.test_subjects)} unseen "
            f"subjects ({', '.join(marks(results))})",
            "",
            *aligned(scores),
            *(_probes_lines(results.leakage) if results.leakage else ()),
        ]
    )


def _probes_lines(leakage: Leakage) -> list[str]:
    head = ("", *(cell for target in TARGETS for cell in (f"{target}, %", "interval", "chance")))
    rows = [head]
    for name, targets in leakage.training_subjects.items():
        row = [name]
        for target in TARGETS:
            probe = targets.get(target, {}).get("linear")
            if probe is None:
                row += ["-"] * 3
            else:
                value, chance = percent(probe.balanced_accuracy), percent(probe.chance)
                row += [value, interval(probe.estimate), chance]
        rows.append(tuple(row))
    return [
        "",
        "linear probes (balanced accuracy on held-out clips of the training subjects):",
        *aligned(rows),
    ]


def scores_table(scores: Scores) -> str:
    """UAR, WAR and macro-F1, a line each."""
    rows = [(f"{title}, %", with_interval(found)) for title, found in scores.estimates.items()]
    return "\n".join(aligned(rows))


def robustness_table(found: Mapping[str, Condition]) -> str:
    """UAR under every condition, and less the clean one's."""
    rows = [("", "UAR, %", "minus clean")]
    for name, row in found.items():
        gap = with_interval(row.minus_clean) if row.minus_clean else ""
        rows.append((name, with_interval(row.estimate), gap))
    return "\n".join(aligned(rows))


def cross_corpus_table(results: CrossCorpusResults, run: Path) -> str:
    """The scores among the shared emotions, and what was left out."""
    found, home = results.metrics.cross_corpus, results.trained_on
    mark = {True: " (SYNTHETIC)", False: ""}
    lines = [
        f"{run}, trained on {home.corpus}{mark[home.synthetic]}, on {results.corpus}"
        f"{mark[results.synthetic]}: {found.clips} clips of {len(found.uar_by_subject)} subjects",
        f"shared emotions: {', '.join(results.emotions)}; chance {percent(found.chance)} %",
        scores_table(found),
    ]
    if results.left_out:
        counts = ", ".join(f"{count} {name}" for name, count in results.left_out.items())
        lines.append(f"left out, unknown to the network: {counts}")
    return "\n".join(lines)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with the columns at the same places: the first to the left, others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
