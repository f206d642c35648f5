"""As many learning rates for fusion alone as for the headline, on validation subjects.

    python scripts/experiments/learning_rates.py --source PATH   RAVDESS speech, audio alone
    python scripts/experiments/learning_rates.py --docs          the table from the record alone

Two folds of six, one seed, 3 to 4 minutes a network on one core. A network that is finished is
read, not trained again. No figure of test subjects is read. The record goes to
configs/results/learning_rates.json, the table to docs/results.md.
"""

import argparse
import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path

from evidence_tables import PAGE, ROOT, EvidenceRecord, markdown, replaced
from unseen_people import AUDIO, REFERENCE, ROWS, experiments_of

from jax_avemo.command_line import guarded
from jax_avemo.crossval import runner
from jax_avemo.evaluation.results import Facts, read_results
from jax_avemo.evaluation.tables import percent
from jax_avemo.runtime.files import write_atomic
from jax_avemo.runtime.records import read_record, write_record

RECORD = ROOT / "configs/results/learning_rates.json"
MARK = "learning rates"
COMMAND = "python scripts/experiments/learning_rates.py --source PATH"
RATES = (0.001, 0.002, 0.004)
FOLDS, FOLDS_RUN = 6, (0, 1)
COMPARED = (REFERENCE, "decoupled")


@dataclass(frozen=True, kw_only=True)
class LearningRateRow:
    """One experiment at one learning rate."""

    name: str
    learning_rate: float
    uar_by_fold: tuple[float, ...]
    """UAR of the validation subjects with the weights that a run selects."""

    @property
    def uar(self) -> float:
        """Mean over the folds."""
        return sum(self.uar_by_fold) / len(self.uar_by_fold)


@dataclass(frozen=True, kw_only=True)
class LearningRateRecord(EvidenceRecord):
    """learning_rates.json."""

    folds: int
    folds_run: tuple[int, ...]
    validation_subjects: int
    rows: tuple[LearningRateRow, ...]


def measure(source: Path, workdir: Path) -> LearningRateRecord:
    """Train what is missing; the record of all networks."""
    rows = [row for row in ROWS if row.name in COMPARED]
    overrides = (f"data.source={source}", "data.corpus=ravdess", *AUDIO)
    made, first, commits, people = [], None, set(), set()
    for rate in RATES:
        configs = experiments_of(rows, "voice", (*overrides, f"train.learning_rate={rate}"))
        place = workdir / f"{rate:g}"
        cells = runner.make_cells(
            list(configs.values()), folds=FOLDS, seeds=1, workdir=place, only_folds=FOLDS_RUN
        )
        runner.run_cells(cells, place)
        for row in rows:
            name = configs[row.config, row.overrides].name
            ours = [
                read_results(cell.run / "results.json")
                for cell in cells
                if cell.config.name == name
            ]
            first = first or ours[0]
            commits |= {(one.commit or "unknown")[:12] for one in ours}
            people |= {person for one in ours for person in one.split.validation_subjects}
            selected = [one.metrics.validation_at_selection for one in ours]
            made += [
                LearningRateRow(
                    name=row.name,
                    learning_rate=rate,
                    uar_by_fold=tuple(found["uar"] for found in selected if found),
                )
            ]
    assert first is not None
    return LearningRateRecord(
        **{field.name: getattr(first, field.name) for field in dataclasses.fields(Facts)},
        command=COMMAND,
        seeds=(first.seed,),
        commits=tuple(sorted(commits)),
        folds=FOLDS,
        folds_run=FOLDS_RUN,
        validation_subjects=len(people),
        rows=tuple(made),
    )


def table(record: LearningRateRecord) -> str:
    """Markdown of the record: experiments down, learning rates across."""
    rates = sorted({row.learning_rate for row in record.rows})
    found = {(row.name, row.learning_rate): row for row in record.rows}
    names = list(dict.fromkeys(row.name for row in record.rows))
    lines = [(name, *(percent(found[name, rate].uar) for rate in rates)) for name in names]
    header = ("UAR of validation subjects, %", *(f"{rate:g}" for rate in rates))
    return markdown(header, lines) + (
        f"RAVDESS speech, real, audio alone, size `{record.size}`, folds "
        f"{', '.join(str(fold) for fold in record.folds_run)} of {record.folds}, "
        f"{len(record.seeds)} seed, {record.validation_subjects} validation subjects. Commit "
        f"{', '.join(record.commits)}; `{record.command}`."
    )


def filled(page: str) -> str:
    """The page's text with the table of the committed record."""
    version = EvidenceRecord.schema_version
    record = read_record(LearningRateRecord, RECORD, version, f"give: {COMMAND}")
    return replaced(page, MARK, table(record), PAGE.name)


def main() -> int:
    """Train what is missing, write the record, fill the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--source", type=Path, help="RAVDESS: a folder, or its zips")
    what.add_argument("--docs", action="store_true", help="only fill docs/results.md")
    parser.add_argument("--workdir", type=Path, default=Path("runs/learning_rates"))
    args = parser.parse_args()

    def work() -> None:
        if not args.docs:
            write_record(RECORD, measure(args.source, args.workdir))
        write_atomic(PAGE, filled(PAGE.read_text()).encode())

    return guarded(work)


if __name__ == "__main__":
    sys.exit(main())
