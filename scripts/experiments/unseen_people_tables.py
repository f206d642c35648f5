"""The tables of people never seen, from their records, and the figure of real voices."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from evidence_figures import COLOURS, GREY, figure_style  # noqa: E402
from evidence_tables import markdown  # noqa: E402

from jax_avemo.crossval.leakage_record import AttackSummary, EerSummary  # noqa: E402
from jax_avemo.evaluation.results import Facts, PairedDifference  # noqa: E402
from jax_avemo.evaluation.statistics import holm, paired_difference  # noqa: E402
from jax_avemo.evaluation.tables import p_value, percent, with_interval  # noqa: E402

CORPORA = {
    "ravdess": "RAVDESS speech, real, audio alone",
    "emodb": "EMO-DB, real, audio alone",
    "demo": "Synthetic corpus, audio and video",
}


@dataclass(frozen=True, kw_only=True)
class PeopleRow:
    """One experiment at one number of enrolment clips."""

    name: str
    config: str
    overrides: tuple[str, ...]
    enrolled: int
    curve: str
    parameters: int
    training_seconds: float | None
    uar: float
    uar_interval: tuple[float, float] | None
    uar_by_subject: dict[str, float]
    worst_quarter: float
    minus_reference: PairedDifference | None
    identity: AttackSummary | None
    """Of unseen people in z_e, as all below."""
    floor: AttackSummary | None
    above_floor: PairedDifference | None
    above_floor_minus_reference: PairedDifference | None
    identity_in_z_i: AttackSummary | None
    emotion_in_z_i: AttackSummary | None
    untrained: AttackSummary | None
    raw: AttackSummary | None
    eer: EerSummary | None


@dataclass(frozen=True, kw_only=True)
class PeopleRecord(Facts):
    """The record of one corpus."""

    schema_version: int = 1
    command: str
    folds: int
    folds_run: tuple[int, ...]
    seeds: tuple[int, ...]
    commits: tuple[str, ...]
    clips: int
    rows: tuple[PeopleRow, ...]


ENROLLED_ALONE, TRAINED_FOR_IT = "fusion alone, 8 enrolled", "person-centred, 8 enrolled"
IN_BRIEF = (
    "fusion alone",
    ENROLLED_ALONE,
    "as described",
    "post-hoc erasure",
    "decoupled",
    "decoupled, 8 enrolled",
)
"""The rows of README."""


def people_tables(record: PeopleRecord) -> str:
    """Markdown: recognition, leakage, and what stands beside every row of the second."""
    attacked = any(row.identity for row in record.rows)
    leakage = _leakage(record.rows) if attacked else ""
    return _recognition(record.rows) + "\n" + _of_training(record.rows) + leakage + _caption(record)


def _of_training(rows: Sequence[PeopleRow]) -> str:
    """What training for enrolment adds to enrolment alone, paired; "" without both rows."""
    by_name = {row.name: row for row in rows}
    if not {ENROLLED_ALONE, TRAINED_FOR_IT} <= by_name.keys():
        return ""
    alone, trained = by_name[ENROLLED_ALONE], by_name[TRAINED_FOR_IT]
    gaps = [
        trained.uar_by_subject[name] - alone.uar_by_subject[name] for name in alone.uar_by_subject
    ]
    added = paired_difference(trained.uar - alone.uar, np.array(gaps))
    return (
        f"{TRAINED_FOR_IT}, less {ENROLLED_ALONE}: {with_interval(added)}, p "
        f"{p_value(added.p_value)} (one more comparison, not adjusted).\n\n"
    )


def brief_table(record: PeopleRecord) -> str:
    """Markdown: recognition and leakage of the rows `IN_BRIEF`; Holm's p is that of all rows."""
    rows = record.rows
    reference = _reference(rows)
    adjusted = _adjusted(rows, lambda row: row.minus_reference)
    header = (
        "real voices, unseen people, %",
        "UAR (95 %)",
        f"less {reference}, p (Holm)",
        "identity in z_e",
        "above the floor",
    )
    cells = [
        (
            row.name,
            f"{percent(row.uar)} ({_interval(row)})",
            f"{with_interval(row.minus_reference)}, {adjusted[row.name]}"
            if row.minus_reference
            else "-",
            _attacked(row.identity),
            with_interval(row.above_floor) if row.above_floor else "-",
        )
        for row in rows
        if row.name in IN_BRIEF
    ]
    return markdown(header, cells) + "\n" + _caption(record)


def _recognition(rows: Sequence[PeopleRow]) -> str:
    header = ("", "UAR, % (95 %)", f"less {_reference(rows)}", "p (Holm)", "worst quarter")
    adjusted = _adjusted(rows, lambda row: row.minus_reference)
    return markdown(
        header,
        [
            (
                row.name,
                f"{percent(row.uar)} ({_interval(row)})",
                with_interval(row.minus_reference) if row.minus_reference else "-",
                adjusted[row.name],
                percent(row.worst_quarter),
            )
            for row in rows
        ],
    )


def _reference(rows: Sequence[PeopleRow]) -> str:
    """The row that the others are compared with."""
    return next(row.name for row in rows if row.minus_reference is None)


def _interval(row: PeopleRow) -> str:
    if row.uar_interval is None:
        return "one subject"
    return " to ".join(percent(end) for end in row.uar_interval)


def _leakage(rows: Sequence[PeopleRow]) -> str:
    header = (
        "identity of unseen people, %",
        "strongest attacker on z_e",
        "floor",
        "above the floor",
        f"this less {_reference(rows)}'s, p (Holm)",
        "in z_i: identity, emotion",
        "EER of z_e",
    )
    adjusted = _adjusted(rows, lambda row: row.above_floor_minus_reference)
    cells = []
    for row in rows:
        minus = row.above_floor_minus_reference
        mirror = (row.identity_in_z_i, row.emotion_in_z_i)
        cells.append(
            (
                row.name,
                _attacked(row.identity),
                _attacked(row.floor),
                with_interval(row.above_floor) if row.above_floor else "-",
                f"{with_interval(minus)}, {adjusted[row.name]}" if minus else "-",
                ", ".join(map(_attacked, mirror)) if any(mirror) else "-",
                f"{percent(row.eer.value)} ({row.eer.attacker})" if row.eer else "-",
            )
        )
    return markdown(header, cells)


def _adjusted(
    rows: Sequence[PeopleRow], of_row: Callable[[PeopleRow], PairedDifference | None]
) -> dict[str, str]:
    """Row -> its p value, by Holm over the rows that have one; "-" for the others."""
    found = {row.name: difference for row in rows if (difference := of_row(row))}
    p_values = holm([difference.p_value for difference in found.values()])
    return {row.name: "-" for row in rows} | {
        name: p_value(p) for name, p in zip(found, p_values, strict=True)
    }


def _attacked(found: AttackSummary | None) -> str:
    return f"{percent(found.value)} ({found.strongest})" if found else "-"


def _caption(record: PeopleRecord) -> str:
    first = record.rows[0]
    references = [
        f"{name} {_attacked(found)}"
        for name, found in (("untrained z_e", first.untrained), ("raw features", first.raw))
        if found
    ]
    if first.identity:
        references.insert(0, f"chance {percent(first.identity.chance)}")
        if first.identity.shuffled is not None:
            references.insert(1, f"shuffled labels {percent(first.identity.shuffled)}")
    some = "" if len(record.folds_run) == record.folds else f" (only {list(record.folds_run)})"
    beside = f" Identity: {', '.join(references)}." if references else ""
    seed = f", corpus seed {record.corpus_seed}" if record.synthetic else ""
    return (
        f"{CORPORA[record.corpus]}{seed}, size `{record.size}`, "
        f"{record.folds} folds{some}, "
        f"{len(record.seeds)} seeds, {len(first.uar_by_subject)} subjects, {record.clips} clips; "
        f"UAR chance {percent(1 / len(record.emotions))}.{beside} "
        f"People are the unit. Commit {', '.join(record.commits)}; `{record.command}`."
    )


def draw_curve(record: PeopleRecord, path: Path) -> None:
    """UAR over identity: a bar from the floor to the strongest attacker, the point at its end."""
    with figure_style("real_voices"):
        figure, axis = plt.subplots(figsize=(8.6, 4.2))
        for number, row in enumerate(record.rows):
            if not row.identity or not row.floor:
                continue
            colour = COLOURS[number % len(COLOURS)]
            uar, at, floor = 100 * row.uar, 100 * row.identity.value, 100 * row.floor.value
            axis.plot([floor, at], [uar, uar], color=colour, linewidth=1.2, alpha=0.6)
            axis.plot(floor, uar, "|", color=colour, markersize=9)
            marker = "osD"[number // len(COLOURS)]
            axis.plot(at, uar, marker, color=colour, markersize=6, label=row.name)
        for curve in dict.fromkeys(row.curve for row in record.rows if row.curve):
            joined = [row for row in record.rows if row.curve == curve and row.identity]
            xs = [100 * row.identity.value for row in joined if row.identity]
            axis.plot(xs, [100 * row.uar for row in joined], ":", color=GREY, linewidth=1.2)
        axis.set_xlabel("identity of unseen people, %: floor (|) to strongest attacker")
        axis.set_ylabel("UAR, %")
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color=GREY, alpha=0.25)
        axis.legend(frameon=False, fontsize=9, bbox_to_anchor=(1.02, 1), loc="upper left")
        figure.tight_layout()
        figure.savefig(path, transparent=True, metadata={"Date": None})
        plt.close(figure)
