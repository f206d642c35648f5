"""Enrolment with clips of one emotion: what it does to recall on real voices.

python scripts/experiments/unbalanced_enrolment.py RUN...    measure, write the record
python scripts/experiments/unbalanced_enrolment.py --docs    fill docs/results.md

RUN are the runs of configs/ablations.py:person_centred that scripts/experiments/unseen_people.py
left in runs/people/ravdess/person_centred. Every test clip is centred on other clips of its
person: of all emotions, of its own emotion alone, of every other, of each one alone; without the
condition of `inference/earlier_windows.py` and with it: the network must read several emotions in
the enrolled clips. No label reaches the network.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from evidence_tables import markdown, replaced
from jaxtyping import Bool, Int

from jax_avemo.command_line import guarded
from jax_avemo.evaluation import evaluator, leakage, metrics
from jax_avemo.evaluation.enrolment import make_centred_heads
from jax_avemo.evaluation.results import read_results
from jax_avemo.evaluation.statistics import share_estimate
from jax_avemo.evaluation.tables import percent
from jax_avemo.inference.earlier_windows import LEAST_SPREAD, spread
from jax_avemo.runtime.files import write_atomic
from jax_avemo.runtime.records import read_record, write_record

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "configs/results/unbalanced_enrolment.json"
PAGE = ROOT / "docs/results.md"
MARK = "unbalanced enrolment"
COMMAND = "python scripts/experiments/unbalanced_enrolment.py runs/people/ravdess/person_centred/*"
CLIPS = 8
"""Enrolled at most; RAVDESS has 8 clips of an emotion of a person, one of them the clip itself."""


@dataclass(frozen=True, kw_only=True)
class EnrolmentRow:
    """Recall at one choice of the enrolment clips."""

    name: str
    uar: float
    uar_interval: tuple[float, float] | None
    uar_if_spread: float
    """Where the enrolled clips' emotions, as the network reads them, are too few: no enrolment."""
    uar_if_spread_interval: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class UnbalancedRecord:
    """unbalanced_enrolment.json."""

    schema_version: int = 1
    command: str
    commit: str
    networks: int
    subjects: int
    rows: tuple[EnrolmentRow, ...]


def choices(
    emotions: np.ndarray, names: Sequence[str]
) -> dict[str, Callable[[int], Bool[np.ndarray, " N"]]]:
    """Row's name -> (clip -> which clips may be enrolled for it)."""
    found: dict[str, Callable[[int], Bool[np.ndarray, " N"]]] = {
        "of any emotion": lambda clip: np.ones(len(emotions), bool),
        "of other emotions than the clip's": lambda clip: emotions != emotions[clip],
        "of the clip's own emotion": lambda clip: emotions == emotions[clip],
    }
    for number, name in enumerate(names):
        found[f"of {name} alone"] = lambda clip, number=number: emotions == number
    return found


def enrolled(
    subjects: np.ndarray,
    takes: np.ndarray,
    allowed: Callable[[int], Bool[np.ndarray, " N"]],
    rng: np.random.Generator,
) -> list[Int[np.ndarray, " K"]]:
    """Of every clip, at most CLIPS allowed clips of its person, not of its take."""
    found = []
    for clip in range(len(subjects)):
        others = (subjects == subjects[clip]) & (takes != takes[clip]) & allowed(clip)
        chosen = np.flatnonzero(others)
        found.append(rng.choice(chosen, min(CLIPS, len(chosen)), replace=False))
    return found


def of_run(run: Path, seed: int = 0) -> tuple[dict[str, dict[str, list[float]]], str]:
    """Row -> test subject -> UAR without and with the condition; the commit of the network."""
    trained, clips, rows, predict = evaluator.open_run(run, part="test")
    outputs: Any = predict(trained.variables, rows, run.name)
    labels = [clips.labels[row] for row in rows]
    emotions = evaluator.labels_of(clips, rows, trained.index)
    subjects, takes = leakage.subjects_of(labels), leakage.takes_of(labels)
    heads = make_centred_heads(trained.model)
    alone = outputs["probabilities"].argmax(1)
    predicted = {"none": np.stack([alone, alone])}
    for name, allowed in choices(emotions, trained.index.emotions).items():
        chosen = enrolled(subjects, takes, allowed, np.random.default_rng(seed))
        means = np.stack([outputs["z"][others].mean(axis=0) for others in chosen])
        centred = heads(trained.variables, outputs["z"], means)[0].argmax(1)
        enough = [spread(alone[others]) >= LEAST_SPREAD for others in chosen]
        predicted[name] = np.stack([centred, np.where(enough, centred, alone)])
    people = np.unique(subjects).tolist()
    classes = len(trained.index.emotions)
    found = {}
    for name, both in predicted.items():
        recalls = [
            metrics.by_person(
                emotions, one, subjects, metrics.unweighted_average_recall, classes=classes
            )[1]
            for one in both
        ]
        found[name] = dict(zip(people, np.stack(recalls, axis=1).tolist(), strict=True))
    return found, read_results(run / "results.json").commit or "unknown"


def measure(runs: Sequence[Path]) -> UnbalancedRecord:
    """All runs; networks of one person are averaged."""
    found, commits = zip(*map(of_run, runs), strict=True)
    rows = []
    for name in found[0]:
        people: dict[str, list[list[float]]] = {}
        for one in found:
            for person, recalls in one[name].items():
                people.setdefault(person, []).append(recalls)
        values = np.array([np.mean(recalls, axis=0) for recalls in people.values()])
        plain, if_spread = (share_estimate(float(x.mean()), x) for x in values.T)
        rows.append(
            EnrolmentRow(
                name=name,
                uar=plain.value,
                uar_interval=plain.bounds,
                uar_if_spread=if_spread.value,
                uar_if_spread_interval=if_spread.bounds,
            )
        )
    return UnbalancedRecord(
        command=COMMAND,
        commit=", ".join(sorted(set(commits))),
        networks=len(runs),
        subjects=len(people),
        rows=tuple(rows),
    )


def table(record: UnbalancedRecord) -> str:
    """Markdown."""
    lines = [
        (
            row.name,
            _told(row.uar, row.uar_interval),
            _told(row.uar_if_spread, row.uar_if_spread_interval),
        )
        for row in record.rows
    ]
    header = (f"{CLIPS} enrolment clips", "UAR, % (95 %)", "the same, only if they show several")
    return (
        markdown(header, lines)
        + f"\nRAVDESS speech, real, audio alone, {record.networks} networks, {record.subjects} "
        f"subjects; UAR chance 12.5. Commit {record.commit}; `{record.command}`."
    )


def _told(value: float, interval: tuple[float, float] | None) -> str:
    return f"{percent(value)} ({' to '.join(map(percent, interval))})" if interval else "-"


def fill_docs() -> None:
    """The table in docs/results.md."""
    record = read_record(
        UnbalancedRecord, RECORD, UnbalancedRecord.schema_version, f"run {COMMAND}"
    )
    write_atomic(PAGE, replaced(PAGE.read_text(), MARK, table(record), PAGE.name).encode())


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is asked; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="*", metavar="RUN")
    parser.add_argument("--docs", action="store_true", help="only fill the page from the record")
    args = parser.parse_args(argv)
    if bool(args.runs) == args.docs:
        parser.error("give runs, or --docs")

    def work() -> None:
        if args.docs:
            fill_docs()
            return
        record = measure(args.runs)
        write_record(RECORD, record)
        print(table(record))

    return guarded(work)


if __name__ == "__main__":
    sys.exit(main())
