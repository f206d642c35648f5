"""The command `avemo prepare`."""

import argparse
import json
import shlex
from dataclasses import asdict
from pathlib import Path

from jax_avemo.command_line import location, natural
from jax_avemo.configs.default import DEFAULT
from jax_avemo.data.corpora import READERS
from jax_avemo.runtime import remote
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.progress import say

HELP = "turn a corpus's media files into clips"
EXAMPLES = """\
avemo prepare ravdess --source RAVDESS --data-dir data/ravdess --size 80 --fps 12
avemo prepare folder --source RECORDINGS --data-dir data/mine --preview"""


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Those of this command; the defaults are those of training at size full."""
    stored = DEFAULT["data"]
    p.add_argument(
        "corpus",
        choices=tuple(READERS),
        metavar="CORPUS",
        help="layout on disk; folder is LABEL/SUBJECT/*, manifest a CSV file",
    )
    p.add_argument(
        "--source",
        type=location,
        required=True,
        metavar="PATH",
        help="folder with the media files or zips, a zip, or a manifest (CSV)",
    )
    p.add_argument(
        "--data-dir", type=location, required=True, metavar="DIR", help="where the clips go"
    )
    p.add_argument("--workers", type=natural, default=0, help="processes (0: one a core)")
    p.add_argument(
        "--beam-runner",
        metavar="NAME",
        default="",
        help="make the clips in Apache Beam: DirectRunner, FlinkRunner, SparkRunner",
    )
    p.add_argument(
        "--beam-options",
        metavar="OPTIONS",
        default="",
        help="Beam's own, as one argument: --beam-options='--direct_num_workers=2'",
    )
    p.add_argument(
        "--size", type=int, default=stored["stored_size"], help="side of the stored face crops, px"
    )
    p.add_argument("--fps", type=float, default=stored["stored_fps"], help="stored frames a second")
    p.add_argument(
        "--max-seconds", type=float, default=stored["max_seconds"], help="longer takes are refused"
    )
    p.add_argument(
        "--modality",
        choices=("both", "audio", "video"),
        default="both",
        help="what a take must have, and all that is kept: audio takes audio files too",
    )
    p.add_argument(
        "--face-fallback",
        choices=("reject", "center"),
        default=stored["face_fallback"],
        help="what becomes of a take without a face: refused, or the middle of each picture",
    )
    p.add_argument(
        "--audio-track",
        type=natural,
        default=0,
        help="of files with several, from 1 (0: the default one, or the first that is not silent)",
    )
    p.add_argument(
        "--preview",
        action="store_true",
        help="draw a contact sheet of every subject's crops, DATA_DIR/preview/SUBJECT.jpg",
    )
    p.add_argument("--json", action="store_true", help="print the summary as one JSON object")


def run(args: argparse.Namespace) -> None:
    """Make the clips and say what became of each file."""
    if args.beam_runner and any(map(remote.is_remote, (args.source, args.data_dir))):
        raise UserError("--beam-runner takes folders that all its machines share, no URLs")
    with remote.in_step(args.data_dir) as (data_dir,):
        _prepare(args, remote.fetch(args.source), data_dir)


def _prepare(args: argparse.Namespace, source: Path, data_dir: Path) -> None:
    from jax_avemo.data.beam import BeamRunner
    from jax_avemo.data.clip import ClipOptions
    from jax_avemo.data.prepare import prepare
    from jax_avemo.data.preview import PREVIEW_NAME, write_previews
    from jax_avemo.data.summary import to_text

    options = ClipOptions(
        frame_size=args.size,
        frames_per_second=args.fps,
        max_seconds=args.max_seconds,
        face_fallback=args.face_fallback,
        need_video=args.modality != "audio",
        need_audio=args.modality != "video",
        audio_track=args.audio_track,
    )
    if args.beam_options and not args.beam_runner:
        raise UserError("--beam-options without --beam-runner: say which runner they are for")
    beam = BeamRunner(args.beam_runner, tuple(shlex.split(args.beam_options)))
    summary = prepare(
        args.corpus,
        source,
        data_dir,
        options,
        workers=args.workers or None,
        beam=beam if beam.name else None,
    )
    if args.preview:
        count = len(write_previews(data_dir))
        say(f"{count} contact sheets, one a subject, are in {data_dir / PREVIEW_NAME}")
    if args.json:
        for note in summary.notes:
            say(f"note: {note}")
        print(json.dumps(asdict(summary), ensure_ascii=False))
        return
    print(to_text(summary))
    say(
        f"{summary.clips} clips of {summary.subjects} subjects in {data_dir}; "
        f"{summary.rejected} refused"
        + (f" (why: {data_dir / 'rejects.csv'})" if summary.rejected else "")
    )
