"""Real voices of another corpus: UAR on the emotions that both corpora have.

python scripts/experiments/cross_corpus_voices.py --corpus emodb --data-dir DIR RUNS    measure
python scripts/experiments/cross_corpus_voices.py --docs                fill docs/results.md

RUNS is the --workdir of scripts/experiments/unseen_people.py: its networks were trained on the
other corpus. DIR has the prepared clips of CORPUS. Every network reads every clip; a person's
recall is averaged over the networks; people are the unit. Nothing is fitted or chosen on CORPUS.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from evidence_tables import markdown, replaced

from jax_avemo.command_line import guarded
from jax_avemo.data.clip_store import ClipSource, read_clips
from jax_avemo.evaluation import cross_corpus, leakage, metrics
from jax_avemo.evaluation.enrolment import DRAWS, make_centred_heads, mean_of_other_clips
from jax_avemo.evaluation.evaluator import make_predict
from jax_avemo.evaluation.results import read_results
from jax_avemo.evaluation.statistics import holm, paired_difference, share_estimate
from jax_avemo.evaluation.tables import p_value, with_interval
from jax_avemo.evaluation.trained_network import load_run
from jax_avemo.runtime import devices
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.files import write_atomic
from jax_avemo.runtime.progress import Progress
from jax_avemo.runtime.records import read_record, write_record
from jax_avemo.schema import shared_emotion

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/results.md"
CORPORA = ("emodb", "ravdess")
FUSION = "fusion_only-model.person_centred-True-objective.person_centred_weight-0.0"
"""Fusion alone that can enrol: its loss is that of fusion alone."""
EXPERIMENTS = {
    FUSION: "fusion alone",
    "as_described": "as described",
    "wide_z_e": "person-centred",
    "person_centred": "both",
    "decoupled": "decoupled",
}
"""Folder of the networks -> name of the row; the first is what the others are compared with."""
ENROLLED = 8


class Recall(NamedTuple):
    """UAR, and of every person the jackknife pseudo-value (`metrics.by_person`)."""

    uar: float
    by_subject: dict[str, float]


class Heard(NamedTuple):
    """What one network makes of the other corpus."""

    recalls: dict[int, Recall]
    """By the number of enrolled clips; 0 alone where the network is not person-centred."""
    emotions: tuple[str, ...]
    clips: int
    trained_on: str


@dataclass(frozen=True, kw_only=True)
class CrossCorpusRow:
    """One method on the other corpus."""

    name: str
    networks: int
    uar: float
    uar_by_subject: dict[str, float]
    """Pseudo-values."""


@dataclass(frozen=True, kw_only=True)
class CrossCorpusRecord:
    """cross_corpus_CORPUS.json."""

    schema_version: int = 1
    command: str
    commits: tuple[str, ...]
    trained_on: str
    corpus: str
    emotions: tuple[str, ...]
    clips: int
    rows: tuple[CrossCorpusRow, ...]


def record_path(corpus: str) -> Path:
    """Where the record of a corpus stands."""
    return ROOT / f"configs/results/cross_corpus_{corpus}.json"


def of_run(run: Path, clips: ClipSource) -> Heard:
    """Recall of one network on the emotions that both corpora have."""
    trained = load_run(run)
    home = trained.config.data.corpus
    seen = {*trained.split.train, *trained.split.probe, *trained.split.validation}
    keys = {label.key for label in clips.labels}
    cross_corpus.check_another(home, clips.corpus, clips.corpus, seen, keys)
    known = trained.index.emotions
    learnt = trained.about["learnt_emotions"]
    names = cross_corpus.shared_emotions(learnt, [label.emotion for label in clips.labels])
    rows = [k for k, label in enumerate(clips.labels) if shared_emotion(label.emotion) in names]
    predict = make_predict(trained.model, devices.data_mesh(), trained.config, clips, trained.index)
    outputs: Any = predict(trained.variables, rows, run.name)
    labels = [clips.labels[row] for row in rows]
    emotions = np.array([names.index(shared_emotion(label.emotion)) for label in labels])
    subjects, takes = leakage.subjects_of(labels), leakage.takes_of(labels)

    def by_person(probabilities: Sequence[np.ndarray]) -> Recall:
        among = [cross_corpus.restrict(one, known, names)[0].argmax(1) for one in probabilities]
        value, people = metrics.by_person(
            emotions,
            np.stack(among),
            subjects,
            metrics.unweighted_average_recall,
            classes=len(names),
        )
        names_of_people = np.unique(subjects).tolist()
        return Recall(value, dict(zip(names_of_people, people.tolist(), strict=True)))

    found = {0: by_person([outputs["probabilities"]])}
    if trained.config.model.person_centred:
        heads, rng = make_centred_heads(trained.model), np.random.default_rng(0)
        drawn = []
        for _ in range(DRAWS):
            means = mean_of_other_clips(outputs["z"], subjects, takes, ENROLLED, rng)
            drawn.append(heads(trained.variables, outputs["z"], means)[0])
        found[ENROLLED] = by_person(drawn)
    return Heard(found, names, len(rows), home)


def measure(runs: Mapping[str, Sequence[Path]], clips: ClipSource) -> CrossCorpusRecord:
    """Every network of every experiment."""
    rows: dict[str, list[Recall]] = {}
    commits, heard = set(), None
    with Progress(sum(map(len, runs.values())), "evaluating", unit="networks") as progress:
        for experiment, folders in runs.items():
            for run in folders:
                heard = of_run(run, clips)
                commits.add(read_results(run / "results.json").commit or "unknown")
                for enrolled, recall in heard.recalls.items():
                    more = f", {enrolled} enrolled" * bool(enrolled)
                    rows.setdefault(EXPERIMENTS[experiment] + more, []).append(recall)
                progress.advance()
    assert heard is not None
    return CrossCorpusRecord(
        command=f"python scripts/experiments/cross_corpus_voices.py --corpus {clips.corpus} "
        "--data-dir DIR RUNS",
        commits=tuple(sorted(commits)),
        trained_on=heard.trained_on,
        corpus=clips.corpus,
        emotions=heard.emotions,
        clips=heard.clips,
        rows=tuple(
            CrossCorpusRow(
                name=name,
                networks=len(networks),
                uar=float(np.mean([one.uar for one in networks])),
                uar_by_subject={
                    person: float(np.mean([one.by_subject[person] for one in networks]))
                    for person in networks[0].by_subject
                },
            )
            for name, networks in rows.items()
        ),
    )


def table(record: CrossCorpusRecord) -> str:
    """Markdown: UAR, and what it is less that of the first row."""
    reference, *others = record.rows
    first = _people(reference)
    differences = [
        paired_difference(row.uar - reference.uar, _people(row) - first) for row in others
    ]
    adjusted = holm([found.p_value for found in differences])
    compared = [("-", "-")] + [
        (with_interval(found), p_value(p)) for found, p in zip(differences, adjusted, strict=True)
    ]
    lines = [
        (
            row.name,
            with_interval(share_estimate(row.uar, _people(row))),
            *cells,
            str(row.networks),
        )
        for row, cells in zip(record.rows, compared, strict=True)
    ]
    header = ("", "UAR, % (95 %)", f"less {reference.name}", "p (Holm)", "networks")
    return (
        markdown(header, lines)
        + f"\nTrained on {record.trained_on}, evaluated on {record.corpus}: real, audio alone, "
        f"{record.clips} clips of {len(first)} people, {', '.join(record.emotions)}; UAR "
        f"chance {100 / len(record.emotions):.1f}. People are the unit. Commit "
        f"{', '.join(record.commits)}; `{record.command}`."
    )


def _people(row: CrossCorpusRow) -> np.ndarray:
    return np.array(list(row.uar_by_subject.values()))


def fill_docs() -> None:
    """The tables in docs/results.md."""
    page = PAGE.read_text()
    for corpus in CORPORA:
        record = read_record(
            CrossCorpusRecord,
            record_path(corpus),
            CrossCorpusRecord.schema_version,
            f"run {Path(__file__).name}",
        )
        page = replaced(page, f"cross-corpus, {corpus}", table(record), PAGE.name)
    write_atomic(PAGE, page.encode())


def runs_in(workdir: Path, seed: int) -> dict[str, list[Path]]:
    """Finished runs of one seed, by experiment, those that are there."""
    found = {
        name: sorted(path.parent for path in workdir.glob(f"{name}/fold*-seed{seed}/results.json"))
        for name in EXPERIMENTS
    }
    if next(iter(EXPERIMENTS)) not in [name for name, runs in found.items() if runs]:
        raise UserError(f"no finished run of {next(iter(EXPERIMENTS))} in {workdir}")
    return {name: runs for name, runs in found.items() if runs}


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is asked; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="?", metavar="RUNS")
    parser.add_argument("--corpus", choices=CORPORA, help="that is evaluated")
    parser.add_argument("--data-dir", type=Path, help="its prepared clips")
    parser.add_argument("--seed", type=int, default=0, help="of the networks")
    parser.add_argument("--docs", action="store_true", help="only fill the page from the records")
    args = parser.parse_args(argv)
    if not args.docs and None in (args.runs, args.corpus, args.data_dir):
        parser.error("give --corpus, --data-dir and RUNS, or --docs")

    def work() -> None:
        if args.docs:
            fill_docs()
            return
        record = measure(runs_in(args.runs, args.seed), read_clips(args.data_dir))
        write_record(record_path(record.corpus), record)
        print(table(record))

    return guarded(work)


if __name__ == "__main__":
    sys.exit(main())
