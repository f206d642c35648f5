"""The command `avemo evaluate`."""

import argparse
import json
from pathlib import Path

from jax_avemo.command_line import add_cluster_arguments, together
from jax_avemo.data.corpora import READERS
from jax_avemo.runtime.errors import UserError

HELP = "evaluate a run on subjects it never saw"
EXAMPLES = """\
avemo evaluate runs/decoupled
avemo evaluate runs/decoupled --corpus crema_d --source CREMA-D --data-dir data/crema_d"""


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Those of this command."""
    p.add_argument("run", type=Path, help="run directory")
    p.add_argument(
        "--split",
        default="test",
        choices=("test", "validation", "probe"),
        help="which clips: of unseen subjects, of validation ones, held out of training ones",
    )
    add_cluster_arguments(p)
    p.add_argument("--data-dir", type=Path, help="the clips, when they moved, or --corpus's")
    p.add_argument(
        "--corpus",
        choices=tuple(READERS),
        metavar="CORPUS",
        help="evaluate on another corpus, on the emotions both have",
    )
    p.add_argument("--source", type=Path, help="media of --corpus (prepared clips: --data-dir)")
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
        print(_on_another_corpus(args))
        return
    with together(args) as speaks:
        text = _robustness(args) if args.robustness else _own_clips(args, speaks)
    if speaks:
        print(text)


def _on_another_corpus(args: argparse.Namespace) -> str:
    from jax_avemo.evaluation import cross_corpus
    from jax_avemo.evaluation.trained_network import load_run
    from jax_avemo.experiment import clips_of_another, own_run

    with own_run(args.run):
        trained = load_run(args.run)
        clips = clips_of_another(trained.config, args.corpus, args.source, args.data_dir)
        results = cross_corpus.evaluate_on(trained, clips, args.corpus)
    return json.dumps(results) if args.json else cross_corpus.to_text(results, args.run)


def _robustness(args: argparse.Namespace) -> str:
    from jax_avemo.evaluation import robustness
    from jax_avemo.evaluation.evaluator import evaluate_robustness
    from jax_avemo.experiment import own_run

    with own_run(args.run):
        results = evaluate_robustness(args.run, data_dir=args.data_dir)
    return json.dumps(results) if args.json else robustness.table(results["robustness"])


def _own_clips(args: argparse.Namespace, speaks: bool) -> str:
    from jax_avemo.evaluation.evaluator import evaluate_run
    from jax_avemo.evaluation.model_card import write_card
    from jax_avemo.evaluation.results_table import table
    from jax_avemo.experiment import own_run

    with own_run(args.run):
        results = evaluate_run(args.run, part=args.split, data_dir=args.data_dir)
        if args.split == "test" and speaks:
            write_card(args.run, results)
    if args.json:
        return json.dumps(results)
    if args.split == "test":
        return table(results)
    found = results["metrics"][args.split]
    lines = []
    for name in ("uar", "war", "macro_f1"):
        low, high = found[f"{name}_interval"]
        lines.append(f"{name:10}{100 * found[name]:6.1f} %   ({100 * low:.1f} to {100 * high:.1f})")
    return "\n".join(lines)
