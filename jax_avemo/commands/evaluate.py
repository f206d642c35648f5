"""The command `avemo evaluate`."""

import argparse

from jax_avemo.command_line import fetched, in_step, location, together
from jax_avemo.data.corpora import READERS
from jax_avemo.runtime import cluster
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.records import dumps

HELP = "evaluate a run on subjects it never saw"
EXAMPLES = """\
avemo evaluate runs/decoupled
avemo evaluate runs/decoupled --corpus crema_d --source CREMA-D --data-dir data/crema_d"""


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Those of this command."""
    p.add_argument("run", type=location, help="run directory")
    p.add_argument(
        "--split",
        default="test",
        choices=("test", "validation", "probe"),
        help="which clips: of unseen subjects, of validation ones, held out of training ones",
    )
    cluster.add_arguments(p)
    p.add_argument("--data-dir", type=location, help="the clips, when they moved, or --corpus's")
    p.add_argument(
        "--corpus",
        choices=tuple(READERS),
        metavar="CORPUS",
        help="evaluate on another corpus, on the emotions both have",
    )
    p.add_argument("--source", type=location, help="media of --corpus (prepared clips: --data-dir)")
    p.add_argument(
        "--robustness",
        action="store_true",
        help="evaluate the test clips without audio or video, with noise, blur and delays",
    )
    p.add_argument("--json", action="store_true", help="print the results as JSON")


def run(args: argparse.Namespace) -> None:
    """Evaluate on the run's own clips, or on another corpus."""
    if args.source and not args.corpus:
        raise UserError("--source needs --corpus NAME: which corpus it is")
    from jax_avemo.runtime.memory import keep_freed_memory

    keep_freed_memory()
    if args.corpus:
        with in_step(args.run) as (args.run,):
            print(_on_another_corpus(args))
        return
    with together(args) as speaks, in_step(args.run) as (args.run,):
        text = _robustness(args) if args.robustness else _own_clips(args, speaks)
    if speaks:
        print(text)


def _on_another_corpus(args: argparse.Namespace) -> str:
    from jax_avemo.evaluation import cross_corpus, tables
    from jax_avemo.evaluation.trained_network import load_run
    from jax_avemo.experiment import clips_of_another, own_run

    with own_run(args.run):
        trained = load_run(args.run)
        clips = clips_of_another(
            trained.config, args.corpus, fetched(args.source), fetched(args.data_dir)
        )
        results = cross_corpus.evaluate_on(trained, clips, args.corpus)
    return dumps(results) if args.json else tables.cross_corpus_table(results, args.run)


def _robustness(args: argparse.Namespace) -> str:
    from jax_avemo.evaluation import tables
    from jax_avemo.evaluation.evaluator import evaluate_robustness
    from jax_avemo.experiment import own_run

    with own_run(args.run):
        results = evaluate_robustness(args.run, data_dir=fetched(args.data_dir))
    return dumps(results) if args.json else tables.robustness_table(results.robustness)


def _own_clips(args: argparse.Namespace, speaks: bool) -> str:
    from jax_avemo.evaluation import tables
    from jax_avemo.evaluation.evaluator import evaluate_run
    from jax_avemo.evaluation.model_card import write_card
    from jax_avemo.experiment import own_run

    with own_run(args.run):
        results = evaluate_run(args.run, part=args.split, data_dir=fetched(args.data_dir))
        if args.split == "test" and speaks:
            write_card(args.run, results)
    if args.json:
        return dumps(results)
    if args.split == "test":
        return tables.results_table(results)
    return tables.scores_table(results.metrics.of(args.split))
