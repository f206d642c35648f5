"""The main job `python -m jax_avemo.main --config=FILE[:ARG]`: train and evaluate."""

import sys
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from jax_avemo import config as settings
from jax_avemo.command_line import (
    Parser,
    add_config_arguments,
    guarded,
    parse,
    run_directory,
    together,
)

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

fields of a config (defaults of size 'full'):
"""


def build_parser() -> Parser:
    """The arguments; the help lists every field of a config."""
    parser = Parser(
        prog="python -m jax_avemo.main",
        description="Train an experiment and evaluate it; stages that are finished are skipped.",
        epilog=_EXAMPLES + settings.describe_fields(),
    )
    add_config_arguments(parser)
    return parser


def outcome(run: Path, config: ConfigDict) -> str:
    """Where the files of a finished run are, and the commands that come next."""
    return f"""
clips        {settings.data_dir(config)}
config       {run / "config.json"}
metrics      {run / "metrics.jsonl"}
checkpoints  {run / "checkpoints"}
results      {run / "results.json"}
predictions  {run / "predictions.jsonl"}
model card   {run / "card.md"}

evaluate it again       avemo evaluate {run}
report as HTML          avemo report {run}
predict your own films  avemo predict FILM.mp4 --run {run}
predict in the browser  avemo serve --run {run}"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""

    def work() -> None:
        args = parse(build_parser(), argv)
        with together(args) as speaks:
            config = settings.load_config(args.config, args.overrides)
            from jax_avemo.evaluation.tables import results_table
            from jax_avemo.experiment import run_experiment

            with run_directory(args, config) as run:
                results = run_experiment(config, run)
            if speaks:
                print(results_table(results))
                print(outcome(run, config))

    return guarded(work)


if __name__ == "__main__":
    sys.exit(main())
