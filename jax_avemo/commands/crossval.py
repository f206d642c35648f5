"""The command `avemo crossval`."""

import argparse
from pathlib import Path

from jax_avemo.command_line import accept_overrides, location
from jax_avemo.config import load_config
from jax_avemo.runtime import remote
from jax_avemo.runtime.progress import say
from jax_avemo.runtime.records import dumps

HELP = "train and evaluate experiments on every fold with every seed"
EXAMPLES = """\
avemo crossval --config=configs/decoupled.py:bench \\
    --config=configs/ablations.py:fusion_only,bench --folds 4 --seeds 3 --workdir runs/crossval"""


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Those of this command."""
    p.add_argument(
        "--config",
        action="append",
        required=True,
        metavar="FILE[:ARG]",
        help="experiment, as for train; give it several times to compare several",
    )
    p.add_argument("--folds", type=int, required=True, help="folds of the subjects")
    p.add_argument("--seeds", type=int, required=True, help="networks a fold, seeds 0, 1, ...")
    p.add_argument("--workdir", type=location, required=True, metavar="DIR", help="of all its runs")
    p.add_argument(
        "--only-fold",
        type=int,
        action="append",
        metavar="F",
        help="run this fold (several times: these); the record is marked exploratory",
    )
    p.add_argument("--json", action="store_true", help="print the record as JSON")
    accept_overrides(p)


def run(args: argparse.Namespace) -> None:
    """Run the cells that nobody has run, and write the record."""
    with remote.in_step(args.workdir) as (workdir,):
        _run_in(workdir, args)


def _run_in(workdir: Path, args: argparse.Namespace) -> None:
    configs = [load_config(spec, args.overrides) for spec in args.config]
    from jax_avemo.crossval import crossval_record, runner

    only_folds = args.only_fold or ()
    cells = runner.make_cells(
        configs, folds=args.folds, seeds=args.seeds, workdir=workdir, only_folds=only_folds
    )
    say(f"{len(cells)} cells in {workdir}; start the same command again to go on or to help")
    runner.run_cells(cells, workdir)
    command = crossval_record.command_of(
        args.config,
        folds=args.folds,
        seeds=args.seeds,
        only_folds=only_folds,
        workdir=args.workdir,
        overrides=args.overrides,
    )
    record = crossval_record.write_crossval(cells, workdir, command)
    say(f"the record is {workdir / crossval_record.RECORD}")
    print(dumps(record) if args.json else crossval_record.crossval_table(record))
