"""The command `avemo demo`."""

import argparse
from pathlib import Path

from jax_avemo.command_line import natural
from jax_avemo.configs.default import DEFAULT
from jax_avemo.runtime.progress import say

HELP = "write the synthetic demo corpus (mp4 files in RAVDESS's layout)"
EXAMPLES = "avemo demo data/demo --actors 8"


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Those of this command; the defaults are those of training."""
    made = DEFAULT["data"]
    p.add_argument("directory", type=Path, help="where it goes")
    p.add_argument(
        "--actors", type=int, default=made["demo_actors"], help="how many, half of either sex"
    )
    p.add_argument(
        "--takes", type=int, default=made["demo_takes"], help="of each emotion and statement"
    )
    p.add_argument("--seed", type=natural, default=made["demo_seed"], help="which actors are made")
    p.add_argument(
        "--confound",
        type=float,
        default=made["demo_confound"],
        help="share of takes tied to the actor",
    )
    p.add_argument("--workers", type=natural, default=0, help="processes (0: one a core)")


def run(args: argparse.Namespace) -> None:
    """Write the corpus."""
    from jax_avemo.synthetic.corpus import write_corpus

    write_corpus(
        args.directory,
        actors=args.actors,
        takes=args.takes,
        seed=args.seed,
        confound=args.confound,
        workers=args.workers or None,
    )
    say(f"the demo corpus is in {args.directory}; it lies as RAVDESS does")
