"""The command `avemo predict`."""

import argparse
from pathlib import Path

from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.progress import say

HELP = "predict the emotions of every face in your own films, window by window"
EXAMPLES = "avemo predict FILM.mp4 --run runs/decoupled --out predictions --annotate"


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Those of this command."""
    p.add_argument("files", type=Path, nargs="+", metavar="FILE", help="film, sound or picture")
    p.add_argument("--run", type=Path, help="run directory (default: newest finished below runs/)")
    p.add_argument("--out", type=Path, default=Path("predictions"), help="folder for the results")
    p.add_argument("--hop", type=float, default=1.0, help="seconds from window to window")
    p.add_argument("--max-faces", type=int, default=4, help="followed at once")
    p.add_argument("--annotate", action="store_true", help="also draw an mp4, sound kept")
    p.add_argument("--json", action="store_true", help="print one JSON object a file")


def run(args: argparse.Namespace) -> None:
    """Predict each file; those that fail are told and counted."""
    from jax_avemo.inference.predict import load
    from jax_avemo.inference.prediction_files import as_json_line, predict_files, summary
    from jax_avemo.runtime.memory import keep_freed_memory

    keep_freed_memory()
    model = load(args.run)
    say(f"run {model.facts.run}, network '{model.facts.name}' of size '{model.facts.size}'")
    if model.warning:
        say(f"warning: {model.warning}")
    failed = 0
    for result in predict_files(
        model,
        args.files,
        args.out,
        hop_seconds=args.hop,
        max_faces=args.max_faces,
        annotate=args.annotate,
    ):
        if result.error:
            failed += 1
            say(f"error: {result.error}")
        if result.prediction is None:
            continue
        if args.json:
            print(as_json_line(result.prediction), flush=True)
            continue
        warning = f" ({model.warning})" if model.warning else ""
        print(f"{result.path}{warning}")
        print("\n".join(f"  {line}" for line in summary(result.prediction)))
        print(f"  written: {', '.join(map(str, result.written))}", flush=True)
    if failed:
        raise UserError(f"{failed} of {len(args.files)} files could not be predicted whole")
