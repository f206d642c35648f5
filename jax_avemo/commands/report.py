"""The command `avemo report`."""

import argparse
from pathlib import Path

from jax_avemo.command_line import fetched, location
from jax_avemo.runtime import remote

HELP = "write a run or a cross-validation as one HTML file"
EXAMPLES = "avemo report runs/decoupled"


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Those of this command."""
    p.add_argument(
        "folder", type=location, metavar="RUN_OR_CROSSVAL", help="run or crossval directory"
    )
    p.add_argument("--data-dir", type=location, help="the clips, when they moved")
    p.add_argument(
        "--faces",
        action=argparse.BooleanOptionalAction,
        help="put frames of test clips into the page (default: only of synthetic actors)",
    )
    p.add_argument(
        "--no-attention", action="store_true", help="do not run the network to see where it looks"
    )
    p.add_argument(
        "--tensorboard",
        action="store_true",
        help="write the training log as TensorBoard events too, RUN/tensorboard",
    )


def run(args: argparse.Namespace) -> None:
    """Write the page, and the events where asked, and print the paths."""
    with remote.in_step(args.folder) as (folder,):
        _write(folder, args)


def _write(folder: Path, args: argparse.Namespace) -> None:
    from jax_avemo.report.write import write_report

    if args.tensorboard:
        from jax_avemo.report.tensorboard import write_tensorboard

        print(write_tensorboard(folder))

    print(
        write_report(
            folder,
            data_dir=fetched(args.data_dir),
            faces=args.faces,
            attention=not args.no_attention,
        )
    )
