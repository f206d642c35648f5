"""The command `avemo train`."""

import argparse

from jax_avemo.command_line import add_config_arguments, run_directory, together
from jax_avemo.config import load_config

HELP = "train an experiment (and no more)"
EXAMPLES = "avemo train --config=configs/decoupled.py:cpu --config.train.epochs=50"


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Those of this command."""
    add_config_arguments(p)


def run(args: argparse.Namespace) -> None:
    """Train, and say how to go on."""
    with together(args):
        config = load_config(args.config, args.overrides)
        from jax_avemo.experiment import tell, train_experiment

        with run_directory(args, config) as run:
            train_experiment(config, run)
        tell(f"trained; evaluate it: avemo evaluate {run}")
