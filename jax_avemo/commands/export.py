"""The command `avemo export`."""

import argparse
from pathlib import Path

from jax_avemo.command_line import location
from jax_avemo.runtime import remote
from jax_avemo.runtime.progress import say

HELP = "write a run as one file for other programs, or as a folder to share"
EXAMPLES = "avemo export runs/decoupled --format onnx --out decoupled.onnx"


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Those of this command."""
    p.add_argument("run", type=location, help="run directory")
    p.add_argument(
        "--format",
        default="stablehlo",
        choices=("stablehlo", "onnx", "folder"),
        help="one file for other programs, or a folder for this one (safetensors, config, card)",
    )
    p.add_argument("--out", type=Path, metavar="PATH", help="(default: in the run directory)")


def run(args: argparse.Namespace) -> None:
    """Write the file or folder and print where it is."""
    with remote.in_step(args.run) as (args.run,):
        _export(args)


def _export(args: argparse.Namespace) -> None:
    if args.format == "folder":
        from jax_avemo.inference.model_folder import write_folder

        print(write_folder(args.run, args.out or args.run / "exported"))
        return
    from jax_avemo.inference.export import export_run

    target = args.out or args.run / f"{args.run.absolute().name}.{args.format}"
    made = export_run(args.run, target, args.format)
    say(f"largest difference of a probability from the network: {made.difference:.1e}")
    print(f"{made.path}  ({made.bytes / 1e6:.1f} MB)")
    print(made.description)
