"""python -m jax_avemo.main --config=FILE[:ARG]: train an experiment and evaluate it."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from jax_avemo import config as settings
from jax_avemo.command_line import Parser, add_config_arguments, guarded, read_config, together

_EXAMPLES = """\
examples:
  python -m jax_avemo.main --config=configs/decoupled.py
      with nothing prepared: makes the synthetic demo corpus, trains, evaluates
  python -m jax_avemo.main --config=configs/decoupled.py --config.data.corpus=ravdess \\
      --config.data.source=PATH
      the same on RAVDESS
  python -m jax_avemo.main --config=configs/decoupled.py:full --config.train.epochs=50
      another size (tiny, cpu, full) and one field changed
  python -m jax_avemo.main --config=configs/ablations.py:fusion_only
"""


def where(run: Path, config: ConfigDict) -> str:
    """Where everything is."""
    return "\n".join(
        [
            "",
            f"clips        {settings.data_dir(config)}",
            f"config       {run / 'config.json'}",
            f"metrics      {run / 'metrics.jsonl'}",
            f"checkpoints  {run / 'checkpoints'}",
            f"results      {run / 'results.json'}",
            f"predictions  {run / 'predictions.jsonl'}",
            f"model card   {run / 'card.md'}",
            f"evaluate it again: avemo evaluate {run}",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = Parser(
        prog="python -m jax_avemo.main",
        description="Train an experiment and evaluate it; stages that are finished are skipped.",
        epilog=_EXAMPLES
        + "\nfields of a config (defaults of size 'full'):\n"
        + settings.describe_fields().replace("%", "%%"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_config_arguments(parser)
    args, rest = parser.parse_known_args(argv)

    def work() -> None:
        with together(args) as speaks:
            config = read_config(args, rest)
            run = args.workdir or Path("runs") / config.name
            from jax_avemo.evaluation.results_table import table
            from jax_avemo.experiment import run_experiment

            results = run_experiment(config, run)
            if speaks:
                print(table(results))
                print(where(run, config))

    return guarded(work)


if __name__ == "__main__":
    sys.exit(main())
