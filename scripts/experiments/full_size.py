"""The network as written (size `full`) and size `cpu`, on the same takes of the synthetic corpus.

    python scripts/experiments/full_size.py [--workdir DIR]
    python scripts/experiments/full_size.py --docs               the table from the record alone

`full` is trained at 112 px instead of 224: 105 minutes on 2 cores, 12 GB of memory in training and
20 in evaluation. A run that is finished is read, not repeated; one that was stopped goes on. The
record goes to configs/results/full_size.json, the table to docs/results.md.
"""

import argparse
import dataclasses
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from evidence_tables import PAGE, ROOT, EvidenceRecord, Uar, markdown, replaced

from jax_avemo.command_line import guarded
from jax_avemo.evaluation.leakage_summary import above_floor, strongest
from jax_avemo.evaluation.results import Facts, PairedDifference, Results, read_results
from jax_avemo.evaluation.statistics import paired_difference
from jax_avemo.evaluation.tables import p_value, percent, with_interval
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.files import write_atomic
from jax_avemo.runtime.records import read_record, write_record

RECORD = ROOT / "configs/results/full_size.json"
MARK = "full size"
COMMAND = "python scripts/experiments/full_size.py"
SMALLER = ("data.stored_size=144", "input.frame_size=112", "train.batch_size=16")
RUNS: dict[str, tuple[str, ...]] = {
    "full": (*SMALLER, "train.epochs=24"),
    "cpu": ("train.epochs=24",),
}
"""Size, which names the run's folder as well -> what is changed of `configs/decoupled.py`."""


@dataclass(frozen=True, kw_only=True)
class FullSizeRow(Uar):
    """One network on the test subjects of the corpus's fold."""

    size: str
    frame_size: int
    epochs: int
    parameters: int
    validation_uar: float
    minutes: float
    """From the run's first file to its results: training, evaluation and attackers."""
    full_minus_this: PairedDifference | None
    """UAR of size `full` less this one's, paired by subject."""
    attacker: str
    identity: float
    """Balanced accuracy of the strongest attacker on z_e of the test subjects."""
    above_floor: PairedDifference


@dataclass(frozen=True, kw_only=True)
class FullSizeRecord(EvidenceRecord):
    """full_size.json."""

    rows: tuple[FullSizeRow, ...]


def train(size: str, workdir: Path) -> Results:
    """The main job with those changes; its results."""
    run = workdir / size
    command = [
        *(sys.executable, "-m", "jax_avemo.main"),
        f"--config={ROOT}/configs/decoupled.py:{size}",
        f"--workdir={run}",
        *(f"--config.{change}" for change in RUNS[size]),
    ]
    if not (run / "results.json").exists() and subprocess.run(command).returncode:
        raise UserError(f"size {size} stopped before its results; the same command goes on")
    return read_results(run / "results.json")


def row(results: Results, run: Path, full: Results) -> FullSizeRow:
    """What the table says of a run."""
    test = results.test
    minus = None
    if results is not full:
        of_full = full.test.uar_by_subject
        gaps = np.array([of_full[name] - uar for name, uar in test.uar_by_subject.items()])
        minus = paired_difference(float(gaps.mean()), gaps)
    selected = results.metrics.validation_at_selection
    assert selected is not None
    assert results.leakage is not None
    attacked = results.leakage.unseen
    assert attacked is not None
    attacker, found = strongest(attacked.identity["z_e"])
    floor = above_floor(attacked)
    assert floor is not None
    seconds = (run / "results.json").stat().st_mtime - (run / "split.json").stat().st_mtime
    return FullSizeRow(
        uar=test.uar,
        uar_interval=test.uar_interval,
        subjects=len(results.split.test_subjects),
        clips=test.clips,
        size=results.size,
        frame_size=results.config["input.frame_size"],
        epochs=results.config["train.epochs"],
        parameters=results.parameters,
        validation_uar=selected["uar"],
        minutes=round(seconds / 60, 1),
        full_minus_this=minus,
        attacker=attacker,
        identity=found.balanced_accuracy,
        above_floor=floor,
    )


def table(record: FullSizeRecord) -> str:
    """Markdown of the record."""
    header = (
        *("size", "face crops", "epochs", "parameters", "minutes", "validation UAR"),
        *("UAR, % (95 %)", "`full` minus this", "p", "identity in z_e", "above the floor"),
    )
    rows = [
        (
            found.size,
            f"{found.frame_size} px",
            str(found.epochs),
            f"{found.parameters:,}",
            f"{found.minutes:.0f}",
            percent(found.validation_uar),
            with_interval(found.estimate),
            with_interval(minus) if (minus := found.full_minus_this) else "-",
            p_value(minus.p_value) if minus else "-",
            f"{percent(found.identity)} ({found.attacker})",
            with_interval(found.above_floor),
        )
        for found in record.rows
    ]
    first = record.rows[0]
    return markdown(header, rows) + (
        f"Synthetic corpus, audio and video, corpus seed {record.corpus_seed}, one seed, one fold, "
        f"{first.subjects} test subjects, {first.clips} clips, chance "
        f"{percent(1 / len(record.emotions))}; identity: chance {percent(1 / first.subjects)}. "
        f"{record.hardware}. Commit "
        f"{', '.join(record.commits)}; `{record.command}`."
    )


def measure(workdir: Path) -> FullSizeRecord:
    """Train what is missing; the record of all runs."""
    found = {size: train(size, workdir) for size in RUNS}
    full = found["full"]
    facts = {field.name: getattr(full, field.name) for field in dataclasses.fields(Facts)}
    return FullSizeRecord(
        **facts,
        command=COMMAND,
        seeds=(full.seed,),
        commits=tuple(sorted({(one.commit or "unknown")[:12] for one in found.values()})),
        rows=tuple(row(one, workdir / size, full) for size, one in found.items()),
    )


def filled(page: str) -> str:
    """The page's text with the table of the committed record."""
    record = read_record(FullSizeRecord, RECORD, EvidenceRecord.schema_version, f"give: {COMMAND}")
    return replaced(page, MARK, table(record), PAGE.name)


def main() -> int:
    """Train what is missing, write the record, fill the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", type=Path, default=Path("runs/full_size"))
    parser.add_argument("--docs", action="store_true", help="only fill docs/results.md")
    args = parser.parse_args()

    def work() -> None:
        if not args.docs:
            write_record(RECORD, measure(args.workdir))
        write_atomic(PAGE, filled(PAGE.read_text()).encode())

    return guarded(work)


if __name__ == "__main__":
    sys.exit(main())
