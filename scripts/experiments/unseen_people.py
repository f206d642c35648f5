"""The parts of the decoupling on people never seen: real voices, or the synthetic corpus.

python scripts/experiments/unseen_people.py --source PATH     RAVDESS speech, audio alone
python scripts/experiments/unseen_people.py --corpus emodb --source PATH --folds 10
python scripts/experiments/unseen_people.py --corpus demo --folds 4 --override data.demo_seed=303
python scripts/experiments/unseen_people.py --docs            fill docs/results.md, draw the curve

A cell is one network: an experiment, a fold, a seed. The same command goes on after a kill; a
second terminal shares the work. Seeds are finished one after the other, and the corpus's record
in configs/results is written after each. Choices are made on validation subjects.
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from evidence_tables import replaced
from unseen_people_tables import (
    PeopleRecord,
    PeopleRow,
    brief_table,
    draw_curve,
    people_tables,
)

from jax_avemo import config as settings
from jax_avemo.command_line import guarded
from jax_avemo.crossval import crossval_record, runner
from jax_avemo.crossval.crossval_record import CrossvalRecord, Experiment
from jax_avemo.crossval.leakage_record import (
    IDENTITY_FLOOR,
    IDENTITY_IN_Z_E,
    Attack,
    LeakageSummary,
)
from jax_avemo.evaluation.metrics import worst_quartile
from jax_avemo.evaluation.results import Facts
from jax_avemo.evaluation.statistics import paired_difference, share_estimate
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.files import write_atomic
from jax_avemo.runtime.records import read_record, write_record

ROOT = Path(__file__).parents[2]
RECORDS = {
    "ravdess": ROOT / "configs/results/real_voices.json",
    "emodb": ROOT / "configs/results/real_voices_emodb.json",
    "demo": ROOT / "configs/results/synthetic_people.json",
}
CURVE = ROOT / "docs/assets/real_voices.svg"
PAGE, README = ROOT / "docs/results.md", ROOT / "README.md"
MARK_IN_BRIEF = "real voices in brief"
CONFIRMATION = ROOT / "configs/results/synthetic_people_304.json"
MARKS = {
    RECORDS["ravdess"]: "real voices",
    RECORDS["emodb"]: "real voices, emodb",
    RECORDS["demo"]: "synthetic people",
    CONFIRMATION: "synthetic people, confirmed",
}
"""Which part of the page is filled from which record."""
AUDIO = ("data.modality=audio", "model.modalities=audio")
SIZES = {"ravdess": "voice", "emodb": "voice", "demo": "bench"}


class Row(NamedTuple):
    """A row of the table: an experiment, and how many clips of a person are enrolled."""

    name: str
    config: str
    """FILE.py or FILE.py:ABLATION, without the size."""
    overrides: tuple[str, ...] = ()
    enrolled: int = 0
    curve: str = ""
    """Rows of one name are joined in the figure: one method at several strengths."""


REFERENCE = "fusion alone"
FUSION = "configs/ablations.py:fusion_only"
CENTRED = "configs/ablations.py:person_centred"
DECOUPLED = "configs/decoupled.py"
COUPLED = "configs/ablations.py:coupled"
UNTRAINED_CENTRE = ("model.person_centred=True", "objective.person_centred_weight=0.0")
ROWS = (
    Row(REFERENCE, FUSION),
    Row("fusion alone, 8 enrolled", FUSION, UNTRAINED_CENTRE, 8),
    Row("sampler alone", "configs/ablations.py:decorrelated_fusion"),
    Row("as described", "configs/ablations.py:as_described"),
    Row("post-hoc erasure", "configs/ablations.py:post_hoc_erasure"),
    Row("coupling and erasure", "configs/ablations.py:erased"),
    Row("narrow z_e", "configs/ablations.py:not_centred"),
    Row("person-centred", "configs/ablations.py:wide_z_e", curve="centred"),
    Row("person-centred, 8 enrolled", "configs/ablations.py:wide_z_e", (), 8, "centred"),
    Row("both", CENTRED, curve="both"),
    Row("both, 8 enrolled", CENTRED, (), 8, "both"),
    Row("decoupled", DECOUPLED, curve="decoupled"),
    Row("decoupled, 8 enrolled", DECOUPLED, (), 8, "decoupled"),
    Row("coupled", COUPLED, curve="coupled"),
    Row("coupled, 8 enrolled", COUPLED, (), 8, "coupled"),
    Row("both, no functionals", CENTRED, ("model.functionals=False",)),
    Row("both, no functionals, 8 enrolled", CENTRED, ("model.functionals=False",), 8),
)
"""Rows of one config and overrides share their networks. Every row is compared with REFERENCE."""


def experiments_of(
    rows: Sequence[Row], size: str, overrides: Sequence[str]
) -> dict[tuple[str, tuple[str, ...]], Any]:
    """The configs of the rows, one for all rows that share networks; named by their place."""
    configs: dict[tuple[str, tuple[str, ...]], Any] = {}
    for row in rows:
        if (row.config, row.overrides) not in configs:
            separator = "," if ":" in row.config else ":"
            spec = f"{row.config}{separator}{size}"
            config = settings.load_config(spec, [*row.overrides, *overrides])
            changed = "-".join(override.replace("=", "-") for override in row.overrides)
            if changed:
                settings.set_field(config, "name", f"{config.name}-{changed}")
            configs[row.config, row.overrides] = config
    return configs


def run(args: argparse.Namespace, rows: Sequence[Row] = ROWS) -> PeopleRecord:
    """Every cell, seed by seed; the record is written after each seed."""
    data = [f"data.source={args.source}"] if args.source else []
    data += [f"data.corpus={args.corpus}"]
    data += [f"data.data_dir={args.data_dir}"] if args.data_dir else []
    data += AUDIO if args.corpus != "demo" else ()
    configs = experiments_of(rows, args.size, [*data, *args.override])
    before = read_people(args.record) if args.keep_rows else None
    record = None
    for seeds in range(1, args.seeds + 1):
        cells = runner.make_cells(
            list(configs.values()),
            folds=args.folds,
            seeds=seeds,
            workdir=args.workdir,
            only_folds=args.only_fold,
        )
        runner.run_cells(cells, args.workdir)
        found = crossval_record.collect(cells, args.command_line)
        names = {row.name: configs[row.config, row.overrides].name for row in rows}
        record = record_of(found, rows, names)
        if before and seeds < args.seeds:
            continue  # the record has all seeds
        record = merged(before, record) if before else record
        write_record(args.record, record)
    assert record is not None
    return record


def record_of(
    found: CrossvalRecord, rows: Sequence[Row], experiments: dict[str, str]
) -> PeopleRecord:
    """The rows of a cross-validation's record; `experiments` maps their names to its own."""
    reference = next(row for row in rows if row.name == REFERENCE)
    of_reference = _measured(found.experiments[experiments[reference.name]], reference)
    facts = {field.name: getattr(found, field.name) for field in dataclasses.fields(Facts)}
    return PeopleRecord(
        **facts,
        command=found.command,
        folds=found.folds,
        folds_run=found.folds_run,
        seeds=found.seeds,
        commits=found.commits,
        clips=found.first.clips,
        rows=tuple(
            _row(
                row,
                found.experiments[experiments[row.name]],
                None if row == reference else of_reference,
            )
            for row in rows
        ),
    )


def merged(before: PeopleRecord, after: PeopleRecord) -> PeopleRecord:
    """The rows of both, those of `after` where both have one.

    Raises:
      UserError: another corpus, size, folds or seeds, or other networks of the reference.
    """
    for name in ("corpus", "corpus_seed", "size", "folds", "folds_run", "seeds", "clips"):
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            raise UserError(f"--keep-rows: {name} is {old} in the record and {new} here")
    rows = {row.name: row for row in (*before.rows, *after.rows)}
    of_reference = [
        next(row.uar_by_subject for row in record.rows if row.name == REFERENCE)
        for record in (before, after)
    ]
    if of_reference[0] != of_reference[1]:
        raise UserError(f"--keep-rows: '{REFERENCE}' has other figures in the record than here")
    return dataclasses.replace(
        after,
        command=f"{before.command}; {after.command}",
        commits=tuple(sorted({*before.commits, *after.commits})),
        rows=tuple(rows[row.name] for row in ROWS if row.name in rows),
    )


class Measured(NamedTuple):
    """UAR of every person, and the leakage, at a row's number of enrolment clips."""

    uar_by_subject: dict[str, float]
    leakage: LeakageSummary


def _measured(experiment: Experiment, row: Row) -> Measured:
    if row.enrolled == 0:
        return Measured(experiment.metrics.fairness.uar_by_subject, experiment.leakage)
    for one in experiment.enrolment:
        if one.clips == row.enrolled:
            return Measured(one.uar_by_subject, one.leakage)
    raise UserError(f"row '{row.name}': {row.config} has no figures at {row.enrolled} clips")


def _row(row: Row, experiment: Experiment, reference: Measured | None) -> PeopleRow:
    people, leakage = _measured(experiment, row)
    values = np.array(list(people.values()))
    estimate = share_estimate(float(values.mean()), values)
    identity = leakage.of(IDENTITY_IN_Z_E)
    minus = leaks = None
    if reference:
        gaps = np.array([people[name] - reference.uar_by_subject[name] for name in people])
        minus = paired_difference(float(gaps.mean()), gaps)
        above, of_reference = _above_floor(leakage), _above_floor(reference.leakage)
        both = sorted(above.keys() & of_reference.keys())
        if both:
            gaps = np.array([above[name] - of_reference[name] for name in both])
            leaks = paired_difference(float(gaps.mean()), gaps)
    eer = leakage.lowest_eer("z_e")
    return PeopleRow(
        name=row.name,
        config=row.config,
        overrides=row.overrides,
        enrolled=row.enrolled,
        curve=row.curve,
        parameters=experiment.parameters,
        training_seconds=experiment.training_seconds,
        uar=estimate.value,
        uar_interval=estimate.bounds,
        uar_by_subject=people,
        worst_quarter=worst_quartile(list(people.values())),
        minus_reference=minus,
        identity=identity,
        floor=leakage.of(IDENTITY_FLOOR),
        above_floor=leakage.above_floor,
        above_floor_minus_reference=leaks,
        # The identity embedding, the untrained network and verification know no enrolment.
        identity_in_z_i=leakage.of(Attack("unseen", "z_i", "identity")),
        emotion_in_z_i=leakage.of(Attack("unseen", "z_i", "emotion")),
        untrained=leakage.of(Attack("unseen", "untrained z_e", "identity")),
        raw=leakage.of(Attack("unseen", "raw features", "identity")),
        eer=eer,
    )


def _above_floor(leakage: LeakageSummary) -> dict[str, float]:
    """Of every person, the strongest attacker on z_e less the strongest on the floor."""
    z_e, floor = leakage.of(IDENTITY_IN_Z_E), leakage.of(IDENTITY_FLOOR)
    if not z_e or not floor:
        return {}
    both = z_e.by_subject.keys() & floor.by_subject.keys()
    return {name: z_e.by_subject[name] - floor.by_subject[name] for name in both}


def filled(page: str, mark: str, record: PeopleRecord) -> str:
    """The page with a record's tables between its marks, and of RAVDESS the curve."""
    made = people_tables(record)
    if record.corpus == "ravdess":
        made += f"\n\n![UAR over identity leakage on real voices](assets/{CURVE.name})"
    return replaced(page, mark, made, PAGE.name)


def filled_readme(text: str, record: PeopleRecord) -> str:
    """README with the short table of RAVDESS between its marks."""
    return replaced(text, MARK_IN_BRIEF, brief_table(record), README.name)


def fill_docs() -> None:
    """docs/results.md, README and the curve, from the records that there are."""
    for path, mark in MARKS.items():
        if path.exists():
            record = read_people(path)
            write_atomic(PAGE, filled(PAGE.read_text(), mark, record).encode())
            if record.corpus == "ravdess":
                write_atomic(README, filled_readme(README.read_text(), record).encode())
                draw_curve(record, CURVE)


def read_people(path: Path) -> PeopleRecord:
    """Read the record.

    Raises:
      UserError: it is not there, damaged, or of another version.
    """
    remedy = "give: python scripts/experiments/unseen_people.py --source PATH"
    return read_record(PeopleRecord, path, PeopleRecord.schema_version, remedy)


def command_of(args: argparse.Namespace) -> str:
    """The command, without the places of the machine that gave it."""
    parts = ["python scripts/experiments/unseen_people.py"]
    if args.corpus != "ravdess":
        parts += [f"--corpus {args.corpus}"]
    if args.corpus != "demo":
        parts += ["--source PATH"]
    parts += [f"--size {args.size} --folds {args.folds} --seeds {args.seeds}"]
    parts += [f"--only-fold {fold}" for fold in args.only_fold]
    parts += [f'--row "{name}"' for name in args.row]
    return " ".join(parts + [f"--override {override}" for override in args.override])


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is asked; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--docs", action="store_true", help="only fill the pages from the record")
    parser.add_argument("--corpus", choices=tuple(RECORDS), default="ravdess")
    parser.add_argument("--source", type=Path, help="the corpus: a folder, or RAVDESS's zips")
    parser.add_argument("--data-dir", type=Path, help="prepared clips, instead of --source")
    parser.add_argument("--size", help="default: voice; of the synthetic corpus bench")
    parser.add_argument("--folds", type=int, default=6)
    parser.add_argument("--only-fold", type=int, action="append", default=[])
    parser.add_argument(
        "--row", action="append", default=[], choices=[row.name for row in ROWS], help="only these"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workdir", type=Path, help="default: runs/people/CORPUS")
    parser.add_argument("--record", type=Path, help="default: below configs/results")
    parser.add_argument(
        "--keep-rows", action="store_true", help="keep the record's rows that are not run"
    )
    parser.add_argument(
        "--override", action="append", default=[], metavar="a.b=v", help="config field of every run"
    )
    args = parser.parse_args(argv)
    if args.docs:
        return guarded(fill_docs)
    args.record = args.record or RECORDS[args.corpus]
    args.workdir = args.workdir or Path("runs/people", args.corpus)
    args.size = args.size or SIZES[args.corpus]
    args.command_line = command_of(args)
    rows = [row for row in ROWS if row.name in (REFERENCE, *args.row) or not args.row]
    return guarded(lambda: print(people_tables(run(args, rows))))


if __name__ == "__main__":
    sys.exit(main())
