"""The tables of evidence, one command each, resumable.

python scripts/experiments/evidence.py NAME

headline     ours, fusion only and three baselines, 4 folds x 3 seeds
decoupling   ours without a part of the decoupling, 1 fold x 3 seeds
network      ours without a part of the network, 1 fold x 3 seeds
baselines    ours and every baseline, 1 fold x 3 seeds
confound     0 to 0.9, ours and the parts of the decoupling, 5 seeds, on balanced takes
protocols    ours where people recur and where the test selects, 4 folds
docs         the tables and the figure of docs/results.md

Give a command again to go on, or in a second terminal to share the work. Each writes
configs/results/NAME.json. `--corpus-seed 0` is for searching; what is reported comes once from
another one. Subject-independent tables share networks. Cost at size bench: 75 to 100 s a network
on 2 quiet cores, and 40 more for the first of every experiment.
"""

import argparse
import dataclasses
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evidence_figures import draw_confound
from evidence_tables import (
    MORE_CONFOUNDS,
    OURS,
    PAGE,
    TABLES,
    BalancedUar,
    ConfoundRecord,
    ConfoundRow,
    EvidenceRecord,
    ProtocolRow,
    ProtocolsRecord,
    filled,
    read_evidence,
)

from jax_avemo import config as settings
from jax_avemo.command_line import guarded
from jax_avemo.crossval import crossval_record, runner
from jax_avemo.crossval.crossval_record import CrossvalRecord
from jax_avemo.crossval.leakage_record import IDENTITY_IN_Z_E, summarise_attack
from jax_avemo.evaluation import compare
from jax_avemo.evaluation.compare import CellKey
from jax_avemo.evaluation.predictions import ClipPrediction, read_predictions
from jax_avemo.evaluation.results import (
    BALANCED_FILE,
    BalancedLeakage,
    BalancedResults,
    Facts,
    PeopleAttacked,
    read_results_of,
)
from jax_avemo.experiment import ensure_clips
from jax_avemo.runtime.files import try_lock, write_atomic
from jax_avemo.runtime.records import write_record
from jax_avemo.synthetic.plan import emotion_counts

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "configs/results"
STRONGEST = ("intermediate_attention", "cfn_sr", "averaged_logits")
CONFOUNDS = (0.0, 0.3, 0.6, 0.9)
METHODS = (
    "fusion_only",
    "decorrelated_fusion",
    "post_hoc_erasure",
    "erased",
    "as_described",
    "person_centred",
)
PROTOCOLS = {
    "subject-independent, selected on validation subjects": (),
    "clips dealt, people recur (leaky)": ("split.protocol=leaky",),
    "clips dealt, the best step on the test clips (leaky)": (
        "split.protocol=leaky",
        "evaluate.selection_split=test",
    ),
}
SHARED = "subject_independent"
"""Where the cells that tables share are, below the home of run directories."""
NEW_TAKES = 1e-6
"""A confound so small that every emotion stays equally frequent, and yet other takes than at 0."""


class BalancedTest(NamedTuple):
    """One network on balanced takes."""

    unseen: list[ClipPrediction]
    same_people: list[ClipPrediction]
    leakage: BalancedLeakage


def names_in(file: str, group: str) -> list[str]:
    """The experiments of a group in configs/FILE.py."""
    spec = importlib.util.spec_from_file_location(file, ROOT / f"configs/{file}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return list(getattr(module, group))


def headline_specs(baselines: Sequence[str], size: str) -> list[str]:
    """Ours, the same without decoupling, and the baselines."""
    return [
        f"configs/decoupled.py:{size}",
        f"configs/ablations.py:fusion_only,{size}",
        *(f"configs/baselines.py:{name},{size}" for name in baselines),
    ]


def exploratory_specs(what: str, size: str) -> list[str]:
    """Ours, and what the table of that name compares it with."""
    file = "baselines" if what == "baselines" else "ablations"
    names = names_in(file, what.upper())
    return [f"configs/decoupled.py:{size}", *(f"configs/{file}.py:{name},{size}" for name in names)]


def confound_specs(size: str) -> list[str]:
    """Ours and METHODS."""
    methods = [f"configs/ablations.py:{name},{size}" for name in METHODS]
    return [f"configs/decoupled.py:{size}", *methods]


def run_crossval(
    specs: Sequence[str],
    workdir: Path,
    overrides: Sequence[str],
    *,
    folds: int,
    seeds: int,
    only_folds: Sequence[int] = (),
) -> tuple[list[runner.Cell], CrossvalRecord]:
    """All cells and their record; what is finished is skipped."""
    configs = [settings.load_config(spec, overrides) for spec in specs]
    cells = runner.make_cells(
        configs, folds=folds, seeds=seeds, workdir=workdir, only_folds=only_folds
    )
    runner.run_cells(cells, workdir)
    command = crossval_record.command_of(
        specs,
        folds=folds,
        seeds=seeds,
        only_folds=only_folds,
        workdir=workdir,
        overrides=[f"--config.{override}" for override in overrides],
    )
    return cells, crossval_record.write_crossval(cells, workdir, command)


def run_confound(args: argparse.Namespace) -> ConfoundRecord:
    """Networks at every confound, evaluated on balanced takes of unseen and of their own actors."""
    common = [f"data.demo_seed={args.corpus_seed}", *args.override]
    spec = confound_specs(args.size)[0]
    new_takes = ["data.demo_takes=1", f"data.demo_confound={NEW_TAKES}"]
    balanced = settings.load_config(spec, [*common, *new_takes])
    with try_lock(args.home / "balanced.lock", wait=True):
        ensure_clips(balanced)
    rows: list[ConfoundRow] = []
    records = []
    for confound in args.confounds:
        cells, record = run_crossval(
            confound_specs(args.size),
            args.home / f"confound-{confound:g}",
            [f"data.demo_takes={args.takes}", f"data.demo_confound={confound}", *common],
            folds=args.folds,
            seeds=args.seeds,
            only_folds=[0],
        )
        records.append(record)
        rows += confound_rows(
            confound,
            realised(balanced.data.demo_actors, args.takes, args.corpus_seed, confound),
            balanced_tests(cells, settings.data_dir(balanced)),
            record.emotions,
        )
    facts = _facts(args, records[0])
    return ConfoundRecord(**facts, commits=records[0].commits, takes=args.takes, rows=tuple(rows))


def balanced_tests(
    cells: Sequence[runner.Cell], data_dir: Path
) -> dict[str, dict[CellKey, BalancedTest]]:
    """Method -> cell -> its predictions and leakage on the balanced takes."""
    from jax_avemo.evaluation.balanced import evaluate_balanced

    found: dict[str, dict[CellKey, BalancedTest]] = {}
    for cell in cells:
        if not (cell.run / BALANCED_FILE).exists():
            evaluate_balanced(cell.run, data_dir)
        found.setdefault(cell.config.name, {})[cell.fold, cell.seed] = BalancedTest(
            read_predictions(cell.run / "predictions-unseen.jsonl"),
            read_predictions(cell.run / "predictions-same_people.jsonl"),
            read_results_of(BalancedResults, cell.run / BALANCED_FILE).leakage,
        )
    return found


def run_protocols(args: argparse.Namespace) -> ProtocolsRecord:
    """One network under every protocol; the cells of the subject-independent one are shared."""
    spec, common = f"configs/decoupled.py:{args.size}", [f"data.demo_seed={args.corpus_seed}"]
    rows, records = [], []
    for number, (title, changes) in enumerate(PROTOCOLS.items()):
        workdir = args.home / (f"protocol-{number}" if changes else SHARED)
        config = settings.load_config(spec, [*common, *changes, *args.override])
        cells = runner.make_cells([config], folds=args.folds, seeds=args.seeds, workdir=workdir)
        runner.run_cells(cells, workdir)
        record = crossval_record.collect(cells, args.command_line)
        records.append(record)
        found = record.experiments[OURS].metrics
        rows.append(
            ProtocolRow(
                protocol=title,
                subject_independent=record.subject_independent,
                uar=found.uar,
                uar_interval=found.uar_interval,
                subjects=found.subjects,
                clips=found.clips,
            )
        )
    commits = {commit for record in records for commit in record.commits}
    facts = _facts(args, records[0])
    return ProtocolsRecord(**facts, commits=tuple(sorted(commits)), rows=tuple(rows))


def _facts(args: argparse.Namespace, record: CrossvalRecord) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(Facts)]
    return {name: getattr(record, name) for name in names} | {
        "command": args.command_line,
        "corpus_seed": args.corpus_seed,
        "seeds": tuple(range(args.seeds)),
    }


def realised(actors: int, takes: int, seed: int, confound: float) -> float:
    """The confound that the counts of clips make, which keeps every emotion at least once."""
    if confound == 0:
        return 0.0
    counts = emotion_counts(actors, takes, seed, confound)
    return float(1 - counts.min(axis=1).mean() / (2 * takes))


def confound_rows(
    confound: float,
    realised: float,
    tests: Mapping[str, Mapping[CellKey, BalancedTest]],
    emotions: Sequence[str],
) -> list[ConfoundRow]:
    """One row a method: UAR of both balanced tests, pooled and against ours; identity in z_e."""
    unseen = {
        name: compare.pool({cell: test.unseen for cell, test in cells.items()}, emotions)
        for name, cells in tests.items()
    }
    same_people = {
        name: compare.pool({cell: test.same_people for cell, test in cells.items()}, emotions)
        for name, cells in tests.items()
    }
    return [
        ConfoundRow(
            confound=confound,
            realised=realised,
            method=name,
            unseen=_balanced_uar(
                unseen[name],
                None if name == OURS else unseen[OURS],
                [test.leakage.unseen for test in cells.values()],
            ),
            same_people=_balanced_uar(
                same_people[name],
                None if name == OURS else same_people[OURS],
                [test.leakage.same_people for test in cells.values()],
            ),
        )
        for name, cells in tests.items()
    ]


def _balanced_uar(
    pooled: compare.Pooled,
    ours: compare.Pooled | None,
    attacked: Sequence[PeopleAttacked | None],
) -> BalancedUar:
    found = compare.summarise(pooled)
    networks = [one for one in attacked if one]
    identity = None
    if networks:
        z_e = [one.identity["z_e"] for one in networks]
        identity = summarise_attack(IDENTITY_IN_Z_E, z_e, networks[0].identity_chance)
    return BalancedUar(
        uar=found.uar,
        uar_interval=found.uar_interval,
        subjects=found.subjects,
        clips=found.clips,
        identity=identity,
        ours_minus_this=compare.compare(ours, pooled).uar if ours else None,
    )


def run_table(args: argparse.Namespace) -> CrossvalRecord | EvidenceRecord:
    """The record of the table that is asked for."""
    if args.what == "confound":
        return run_confound(args)
    if args.what == "protocols":
        return run_protocols(args)
    headline = args.what == "headline"
    _, record = run_crossval(
        headline_specs(args.baselines, args.size)
        if headline
        else exploratory_specs(args.what, args.size),
        args.home / SHARED,
        [f"data.demo_seed={args.corpus_seed}", *args.override],
        folds=args.folds,
        seeds=args.seeds,
        only_folds=() if headline else [0],
    )
    # Of so many networks every pair would be most of the record; crossval.json has them all.
    pairs = tuple(pair for pair in record.comparisons if pair.a == OURS)
    return dataclasses.replace(record, command=args.command_line, comparisons=pairs)


def command_of(given: Sequence[str]) -> str:
    """The command, without the places of the machine that gave it."""
    parts = list(given)
    for place in ("--home", "--records"):
        if place in parts:
            at = parts.index(place)
            del parts[at : at + 2]
    return " ".join(["python scripts/experiments/evidence.py", *parts])


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is asked; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tables = [name for name in TABLES if name not in MORE_CONFOUNDS]
    parser.add_argument("what", choices=(*tables, "docs"))
    parser.add_argument("--size", default="bench")
    parser.add_argument("--corpus-seed", type=int, default=0)
    parser.add_argument("--home", type=Path, default=Path("runs/evidence"), help="run directories")
    parser.add_argument("--records", type=Path, default=RECORDS, help="where the record goes")
    parser.add_argument("--name", default="", help="of the record (default: the table's)")
    parser.add_argument("--folds", type=int, default=0, help="default: 4; confound: 3, one is run")
    parser.add_argument("--seeds", type=int, default=0, help="default: 3; confound: 5")
    parser.add_argument("--baselines", nargs="+", default=STRONGEST, help="of the headline")
    parser.add_argument("--confounds", type=float, nargs="+", default=CONFOUNDS)
    parser.add_argument("--takes", type=int, default=2, help="of the confounded corpora")
    parser.add_argument(
        "--override", action="append", default=[], metavar="a.b=v", help="config field of every run"
    )
    args = parser.parse_args(argv)
    if args.what == "docs":
        write_atomic(PAGE, filled(PAGE.read_text(), args.records).encode())
        confound = read_evidence("confound", args.records / "confound.json")
        draw_confound(confound, ROOT / "docs/assets/confound.svg")
        return 0
    given = sys.argv[1:] if argv is None else argv
    args.command_line = command_of(given)
    args.folds = args.folds or (3 if args.what == "confound" else 4)
    args.seeds = args.seeds or (5 if args.what == "confound" else 3)

    def work() -> None:
        record = run_table(args)
        write_record(args.records / f"{args.name or args.what}.json", record)
        print(TABLES[args.what](record))

    return guarded(work)


if __name__ == "__main__":
    sys.exit(main())
