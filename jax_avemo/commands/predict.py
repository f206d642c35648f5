"""The command `avemo predict`."""

import argparse
from pathlib import Path

from jax_avemo.command_line import fetched, location
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.progress import say

HELP = "predict the emotions of every face in your own films, window by window"
EXAMPLES = "avemo predict FILM.mp4 --run runs/decoupled --out predictions --annotate"


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Those of this command."""
    p.add_argument(
        "files",
        type=Path,
        nargs="+",
        metavar="FILE_OR_FOLDER",
        help="film, sound or still picture, or a folder of them",
    )
    p.add_argument(
        "--run", type=location, help="run directory (default: newest finished below runs/)"
    )
    p.add_argument("--out", type=Path, default=Path("predictions"), help="folder for the results")
    p.add_argument(
        "--formats",
        type=_formats,
        default=("json", "csv", "vtt"),
        metavar="NAME,...",
        help="files to write: json, csv, vtt (subtitles), eaf (ELAN), TextGrid (Praat), "
        "labelstudio, or all (default: json,csv,vtt)",
    )
    p.add_argument("--hop", type=float, default=1.0, help="seconds from window to window")
    p.add_argument("--max-faces", type=int, default=4, help="followed at once")
    p.add_argument(
        "--no-enrolment",
        action="store_true",
        help="read every window by itself, not against earlier ones of the same person",
    )
    p.add_argument("--annotate", action="store_true", help="also draw an mp4, sound kept")
    p.add_argument("--json", action="store_true", help="print one JSON object a file")


def run(args: argparse.Namespace) -> None:
    """Predict each file; those that fail are told and counted."""
    from jax_avemo.inference.predict import load
    from jax_avemo.inference.prediction_files import as_json_line, find_sources, predict_files
    from jax_avemo.inference.summary import TABLE_HEADER, column_widths, table_line, table_rows
    from jax_avemo.runtime.memory import keep_freed_memory

    sources = find_sources(args.files)
    keep_freed_memory()
    model = load(fetched(args.run))
    say(f"run {model.facts.run}, network '{model.facts.name}' of size '{model.facts.size}'")
    if model.warning:
        say(f"warning: {model.warning}")
    for note in model.notes:
        say(f"note: {note}")
    widths = column_widths((source.name for source in sources), model.emotions)
    if not args.json:
        print(table_line(TABLE_HEADER, widths), flush=True)
    failed = 0
    for result in predict_files(
        model,
        sources,
        args.out,
        hop_seconds=args.hop,
        max_faces=args.max_faces,
        annotate=args.annotate,
        enrolment=not args.no_enrolment,
        formats=args.formats,
    ):
        failed += bool(result.error)
        if result.error:
            say(f"error: {result.error}")
        if args.json:
            if result.prediction is not None:
                print(as_json_line(result.prediction), flush=True)
            continue
        said = result.prediction.notes if result.prediction else ("not predicted",)
        notes = [note for note in said if note not in model.notes]
        for row in table_rows(result.source.name, result.prediction, notes):
            print(table_line(row, widths), flush=True)
    if failed < len(sources):
        say(f"written to {args.out}: predictions.csv of all, and files for each")
    if failed:
        raise UserError(f"{failed} of {len(sources)} files could not be predicted whole")


def _formats(text: str) -> tuple[str, ...]:
    """The type of --formats."""
    from jax_avemo.inference.prediction_files import WRITERS

    names = {name.lower(): name for name in WRITERS}
    asked = list(names) if text == "all" else [part.strip().lower() for part in text.split(",")]
    for part in asked:
        if part not in names:
            raise argparse.ArgumentTypeError(f"no format {part!r}; there are {', '.join(WRITERS)}")
    return tuple(names[part] for part in asked)
