"""The tables of docs/results.md and README, as Markdown, from the records in configs/results.

`python scripts/experiments/evidence.py docs` writes them to their places in both pages.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jax_avemo.crossval.crossval_record import Comparison, CrossvalRecord, read_crossval
from jax_avemo.crossval.leakage_record import (
    IDENTITY_FLOOR,
    IDENTITY_IN_Z_E,
    Attack,
    AttackSummary,
    EerSummary,
    LeakageSummary,
)
from jax_avemo.evaluation.compare import PooledMetrics
from jax_avemo.evaluation.results import Bounds, Estimate, Facts, PairedDifference
from jax_avemo.evaluation.statistics import holm
from jax_avemo.evaluation.tables import p_value, percent, with_interval
from jax_avemo.runtime.records import read_record

ROOT = Path(__file__).parents[2]
OURS = "decoupled"
EVIDENCE_SCHEMA_VERSION = 3
IDENTITY_IN_Z_I = Attack("unseen", "z_i", "identity")
EMOTION_IN_Z_I = Attack("unseen", "z_i", "emotion")


@dataclass(frozen=True)
class Uar:
    """UAR over some subjects, in a record of these scripts."""

    uar: float
    uar_interval: Bounds | None
    subjects: int
    clips: int

    @property
    def estimate(self) -> Estimate:
        """With its interval."""
        return Estimate.of(self.uar, self.uar_interval)


@dataclass(frozen=True)
class BalancedUar(Uar):
    """One of the two balanced tests of a method."""

    identity: AttackSummary | None
    """Read from z_e by the strongest attacker on the same clips; None: not measured so."""
    ours_minus_this: PairedDifference | None = None


@dataclass(frozen=True)
class ConfoundRow:
    """One method at one confound."""

    confound: float
    realised: float
    method: str
    unseen: BalancedUar
    same_people: BalancedUar


@dataclass(frozen=True, kw_only=True)
class EvidenceRecord(Facts):
    """What the confound's and the protocols' records share."""

    schema_version: int = EVIDENCE_SCHEMA_VERSION
    command: str
    seeds: tuple[int, ...]
    commits: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ConfoundRecord(EvidenceRecord):
    """confound.json."""

    takes: int
    rows: tuple[ConfoundRow, ...]


@dataclass(frozen=True, kw_only=True)
class ProtocolRow(Uar):
    """UAR under one protocol."""

    protocol: str
    subject_independent: bool


@dataclass(frozen=True, kw_only=True)
class ProtocolsRecord(EvidenceRecord):
    """protocols.json."""

    rows: tuple[ProtocolRow, ...]


def crossval_tables(record: CrossvalRecord) -> str:
    """Markdown of the headline's or the ablations' record: recognition, then leakage."""
    return (_recognition(record) + "\n" + _leakage(record)) + _caption(
        record, record.first, record.exploratory
    )


def _recognition(record: CrossvalRecord) -> str:
    header = (
        "",
        "UAR, % (95 %)",
        "decoupled minus this",
        "p (Holm)",
        "worst quarter",
        "ECE",
        "parameters",
    )
    pairs = _pairs_with_ours(record)
    p_values = holm([pair.metrics.uar.p_value for pair in pairs.values()])
    adjusted = dict(zip(pairs, p_values, strict=True))
    rows = []
    for name, found in record.experiments.items():
        pair = pairs.get(name)
        rows.append(
            (
                name,
                with_interval(found.metrics.estimates["UAR"]),
                with_interval(pair.metrics.uar) if pair else "-",
                p_value(adjusted[name]) if pair else "-",
                percent(found.metrics.fairness.worst_quartile),
                percent(found.calibration.ece_after),
                f"{found.parameters:,}",
            )
        )
    return markdown(header, rows)


def _leakage(record: CrossvalRecord) -> str:
    header = (
        "unseen subjects, %",
        "identity in z_e: strongest attacker measured",
        "floor: in the probabilities",
        "above the floor (p)",
        "verification EER of z_e",
        "identity in z_i",
        "emotion in z_i",
    )
    beyond = {
        name: found.leakage.above_floor
        for name, found in record.experiments.items()
        if found.leakage.above_floor
    }
    p_values = holm([found.p_value for found in beyond.values()])
    adjusted = dict(zip(beyond, p_values, strict=True))
    rows = []
    for name, found in record.experiments.items():
        over, leakage = beyond.get(name), found.leakage
        rows.append(
            (
                name,
                attacked(leakage, IDENTITY_IN_Z_E),
                attacked(leakage, IDENTITY_FLOOR),
                f"{with_interval(over)}, {p_value(adjusted[name])}" if over else "-",
                verified(leakage.lowest_eer("z_e")),
                attacked(leakage, IDENTITY_IN_Z_I),
                attacked(leakage, EMOTION_IN_Z_I),
            )
        )
    # Older records lack most of it.
    kept = [i for i in range(len(header)) if any(row[i] != "-" for row in rows)]
    return markdown([header[i] for i in kept], [[row[i] for i in kept] for row in rows])


def attacked(leakage: LeakageSummary, attack: Attack) -> str:
    """Balanced accuracy of the strongest attacker and its name, or "-"."""
    found = leakage.of(attack)
    return f"{percent(found.value)} ({found.strongest})" if found else "-"


def verified(found: EerSummary | None) -> str:
    """EER and the attacker's name, or "-"."""
    return f"{percent(found.value)} ({found.attacker})" if found else "-"


def confound_table(record: ConfoundRecord) -> str:
    """Markdown of the confound's record."""
    header = (
        "confound (realised)",
        "method",
        "unseen actors, UAR % (95 %)",
        "decoupled minus this",
        "same people, new takes, UAR %",
        "decoupled minus this",
    )
    rows = []
    for row in record.rows:
        cells = [f"{row.confound:g} ({row.realised:.2f})", row.method]
        for part in (row.unseen, row.same_people):
            cells.append(with_interval(part.estimate))
            cells.append(with_interval(part.ours_minus_this) if part.ours_minus_this else "-")
        rows.append(tuple(cells))
    return markdown(header, rows) + _caption(record, record.rows[0].unseen)


def protocols_table(record: ProtocolsRecord) -> str:
    """Markdown of the protocols' record."""
    rows = [(row.protocol, with_interval(row.estimate)) for row in record.rows]
    return markdown(("protocol", "UAR, % (95 %)"), rows) + _caption(record, record.rows[0])


def _pairs_with_ours(record: CrossvalRecord) -> dict[str, Comparison]:
    return {pair.b: pair for pair in record.comparisons if pair.a == OURS}


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells).lstrip() + " |\n"

    return line(header) + "|---" * len(header) + "|\n" + "".join(map(line, rows)) + "\n"


def _caption(
    record: CrossvalRecord | EvidenceRecord, first: Uar | PooledMetrics, exploratory: bool = False
) -> str:
    marks = "Synthetic corpus" if record.synthetic else f"Corpus {record.corpus}"
    if exploratory:
        marks += ", exploratory (not all folds)"
    seeds = f"{len(record.seeds)} seeds" if len(record.seeds) > 1 else "one seed"
    return (
        f"{marks}, size `{record.size}`, corpus seed {record.corpus_seed}, {seeds}, "
        f"{first.subjects} subjects, {first.clips} clips, chance "
        f"{percent(1 / len(record.emotions))}. UAR: intervals over subjects, seeds averaged "
        "inside. Commit "
        f"{', '.join(record.commits)}; `{record.command}`."
    )


NOT_RUN = "Not run yet."
MORE_CONFOUNDS = ("confound_303", "confound_305")
"""The confound's table again, with the headline of now, on other corpora."""
TABLES: dict[str, Callable[[Any], str]] = {
    "headline": crossval_tables,
    "decoupling": crossval_tables,
    "network": crossval_tables,
    "baselines": crossval_tables,
    "confound": confound_table,
    **dict.fromkeys(MORE_CONFOUNDS, confound_table),
    "protocols": protocols_table,
}
PAGE = ROOT / "docs/results.md"


def read_evidence(name: str, path: Path) -> Any:
    """The record of the table of that name.

    Raises:
      UserError: it is damaged, or of another version.
    """
    kinds = {
        "confound": ConfoundRecord,
        **dict.fromkeys(MORE_CONFOUNDS, ConfoundRecord),
        "protocols": ProtocolsRecord,
    }
    if name not in kinds:
        return read_crossval(path)
    remedy = f"give: python scripts/experiments/evidence.py {name}"
    return read_record(kinds[name], path, EVIDENCE_SCHEMA_VERSION, remedy)


def filled(text: str, records: Path) -> str:
    """The page's text with every table between its marks made from its record."""
    for name, table in TABLES.items():
        path = records / f"{name}.json"
        made = table(read_evidence(name, path)) if path.exists() else NOT_RUN
        text = replaced(text, name, made, PAGE.name)
    return text


def replaced(text: str, mark: str, made: str, page: str) -> str:
    """The text with `made` between the marks of that name."""
    before, between, rest = text.partition(f"<!-- {mark} -->")
    _, end, after = rest.partition(f"<!-- end {mark} -->")
    assert between, f"{page}: {mark} is not marked"
    assert end, f"{page}: {mark} has no end"
    return before + f"<!-- {mark} -->\n{made}\n<!-- end {mark} -->" + after
