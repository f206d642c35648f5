"""avemo: prepare, demo, train, evaluate, from the command line."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from jax_avemo import __version__
from jax_avemo.command_line import (
    Parser,
    add_config_arguments,
    guarded,
    natural,
    read_config,
    together,
)
from jax_avemo.config_fields import CORPORA
from jax_avemo.experiment import announce, clips_of_another, own_run, tell, train_run
from jax_avemo.runtime import cluster
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.progress import say

Work = Callable[[argparse.Namespace, list[str]], None]


def _prepare(args: argparse.Namespace, rest: list[str]) -> None:
    from jax_avemo.data.clip import ClipOptions
    from jax_avemo.data.prepare import prepare
    from jax_avemo.data.summary import to_text

    options = ClipOptions(
        frame_size=args.size,
        frames_per_second=args.fps,
        max_seconds=args.max_seconds,
        face_fallback=args.face_fallback,
        need_video=args.modality != "audio",
        need_audio=args.modality != "video",
    )
    summary = prepare(
        args.corpus, args.source, args.data_dir, options, workers=args.workers or None
    )
    if args.preview:
        from jax_avemo.data.preview import PREVIEW_NAME, write_previews

        count = len(write_previews(args.data_dir))
        say(f"{count} contact sheets, one a subject, are in {args.data_dir / PREVIEW_NAME}")
    if args.json:
        for note in summary.notes:
            say(f"note: {note}")
        print(json.dumps(asdict(summary), ensure_ascii=False))
        return
    print(to_text(summary))
    say(
        f"{summary.clips} clips of {summary.subjects} subjects in {args.data_dir}; "
        f"{summary.rejected} refused"
        + (f" (why: {args.data_dir / 'rejects.csv'})" if summary.rejected else "")
    )


def _demo(args: argparse.Namespace, rest: list[str]) -> None:
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


def _train(args: argparse.Namespace, rest: list[str]) -> None:
    with together(args):
        config = read_config(args, rest)
        run = args.workdir or Path("runs") / config.name
        announce(config, run)
        run.mkdir(parents=True, exist_ok=True)
        with own_run(run):
            train_run(config, run)
        tell(f"trained; measure it: avemo evaluate {run}")


def _evaluate(args: argparse.Namespace, rest: list[str]) -> None:
    from jax_avemo.evaluation.evaluator import evaluate_robustness, evaluate_run
    from jax_avemo.evaluation.model_card import write_card
    from jax_avemo.evaluation.results_table import table
    from jax_avemo.runtime.memory import keep_freed_memory

    keep_freed_memory()
    if args.corpus:
        _evaluate_elsewhere(args)
        return
    if args.source:
        raise UserError("--source needs --corpus NAME: which corpus it is")
    if args.robustness:
        from jax_avemo.evaluation import robustness

        with together(args) as speaks, own_run(args.run):
            results = evaluate_robustness(args.run, data_dir=args.data_dir)
        if speaks:
            print(json.dumps(results) if args.json else robustness.table(results["robustness"]))
        return
    with together(args) as speaks, own_run(args.run):
        results = evaluate_run(args.run, part=args.split, data_dir=args.data_dir)
        if args.split == "test" and speaks:
            write_card(args.run, results)
    if not speaks:
        return
    if args.json:
        print(json.dumps(results))
    elif args.split == "test":
        print(table(results))
    else:
        found = results["metrics"][args.split]
        for name in ("uar", "war", "macro_f1"):
            low, high = found[f"{name}_interval"]
            print(f"{name:10}{100 * found[name]:6.1f} %   ({100 * low:.1f} to {100 * high:.1f})")


def _serve(args: argparse.Namespace, rest: list[str]) -> None:
    try:
        from jax_avemo.web.app import ServerLimits
        from jax_avemo.web.serve import serve
    except ModuleNotFoundError as error:
        raise UserError(f"avemo serve needs {error.name}: pip install 'jax_avemo[web]'") from error

    limits = ServerLimits(
        upload_bytes=args.max_megabytes * 1_000_000, film_seconds=60.0 * args.max_minutes
    )
    serve(args.run, host=args.host, port=args.port, limits=limits)


def _crossval(args: argparse.Namespace, rest: list[str]) -> None:
    from jax_avemo.crossval import crossval_record, runner

    configs = [read_config(argparse.Namespace(config=spec), rest) for spec in args.config]
    cells = runner.make_cells(
        configs,
        folds=args.folds,
        seeds=args.seeds,
        workdir=args.workdir,
        only_folds=args.only_fold or (),
    )
    say(f"{len(cells)} cells in {args.workdir}; start the same command again to go on or to help")
    runner.run_cells(cells, args.workdir)
    command = crossval_record.command_of(
        args.config,
        folds=args.folds,
        seeds=args.seeds,
        only_folds=args.only_fold or (),
        workdir=args.workdir,
        overrides=rest,
    )
    record = crossval_record.write_record(cells, args.workdir, command)
    say(f"everything stands in {args.workdir / crossval_record.RECORD}")
    print(json.dumps(record) if args.json else crossval_record.table(record))


def _evaluate_elsewhere(args: argparse.Namespace) -> None:
    from jax_avemo.evaluation import cross_corpus
    from jax_avemo.evaluation.trained_network import load_run

    with own_run(args.run):
        trained = load_run(args.run)
        clips = clips_of_another(trained.config, args.corpus, args.source, args.data_dir)
        results = cross_corpus.evaluate_on(trained, clips, args.corpus)
    print(json.dumps(results) if args.json else cross_corpus.to_text(results, args.run))


def _report(args: argparse.Namespace, rest: list[str]) -> None:
    from jax_avemo.report.write import write_report

    print(
        write_report(
            args.folder, data_dir=args.data_dir, faces=args.faces, attention=not args.no_attention
        )
    )


def _doctor(args: argparse.Namespace, rest: list[str]) -> None:
    from jax_avemo import doctor

    findings = doctor.examine()
    print(json.dumps(doctor.as_json(findings)) if args.json else doctor.as_text(findings))
    if not doctor.sound(findings):
        raise UserError("something here will not work; the lines marked 'bad' say what to do")


def _predict(args: argparse.Namespace, rest: list[str]) -> None:
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
        raise UserError(f"{failed} of {len(args.files)} files could not be judged whole")


def _export(args: argparse.Namespace, rest: list[str]) -> None:
    from jax_avemo.inference.export import export_run

    target = args.out or args.run / f"{args.run.absolute().name}.{args.format}"
    made = export_run(args.run, target, args.format)
    say(f"largest difference of a probability from the network: {made.difference:.1e}")
    print(f"{made.path}  ({made.bytes / 1e6:.1f} MB)")
    print(made.description)


def build_parser() -> Parser:
    """Every command and its arguments; docs/reference/cli.md is made from it."""
    parser = Parser(
        prog="avemo",
        description="Audio-visual emotion recognition: what is felt, apart from who feels it.",
        epilog="avemo COMMAND --help says more. The whole experiment in one command: "
        "python -m jax_avemo.main --config=configs/decoupled.py",
    )
    parser.add_argument("--version", action="version", version=f"jax_avemo {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, text: str, work: Work) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        added.set_defaults(work=work)
        return added

    p = command("prepare", "turn a corpus's media files into clips", _prepare)
    p.add_argument(
        "corpus",
        help="how it lies on disk: ravdess, ravdess_song, enterface05, crema_d, demo, "
        "folder (LABEL/SUBJECT/*) or manifest (CSV)",
    )
    p.add_argument(
        "--source",
        type=Path,
        required=True,
        help="folder with the media files or zips, a zip, or a manifest (CSV)",
    )
    p.add_argument("--data-dir", type=Path, required=True, help="where the clips go")
    p.add_argument("--workers", type=natural, default=0, help="processes (default: one per core)")
    p.add_argument("--size", type=int, default=256, help="side of the stored face crops, px")
    p.add_argument("--fps", type=float, default=15.0, help="stored frames a second")
    p.add_argument("--max-seconds", type=float, default=12.0, help="longer takes are refused")
    p.add_argument(
        "--modality",
        choices=("both", "audio", "video"),
        default="both",
        help="what a take must have, and all that is kept: audio takes files of sound alone too",
    )
    p.add_argument(
        "--face-fallback",
        choices=("reject", "center"),
        default="reject",
        help="what becomes of a take without a face: refused, or the middle of each picture",
    )
    p.add_argument(
        "--preview",
        action="store_true",
        help="draw a contact sheet of every subject's crops, DATA_DIR/preview/SUBJECT.jpg",
    )
    p.add_argument("--json", action="store_true", help="print the summary as one JSON object")

    p = command("demo", "write the synthetic demo corpus (mp4 files in RAVDESS's layout)", _demo)
    p.add_argument("directory", type=Path, help="where it goes")
    p.add_argument("--actors", type=int, default=24, help="how many, half of either sex")
    p.add_argument("--takes", type=int, default=1, help="of each emotion and statement")
    p.add_argument("--seed", type=natural, default=0, help="which actors are made")
    p.add_argument("--confound", type=float, default=0.0, help="share of takes tied to the actor")
    p.add_argument("--workers", type=natural, default=0, help="processes (default: one per core)")

    p = command("train", "train an experiment (and no more)", _train)
    add_config_arguments(p)

    p = command("evaluate", "measure a run on subjects it never saw", _evaluate)
    p.add_argument("run", type=Path, help="run directory")
    p.add_argument(
        "--split",
        default="test",
        choices=("test", "validation", "probe"),
        help="which clips: of unseen subjects, of selecting ones, held out of training ones",
    )
    cluster.add_arguments(p)
    p.add_argument("--data-dir", type=Path, help="the clips, when they moved, or --corpus's")
    p.add_argument(
        "--corpus", choices=CORPORA, help="measure on another corpus, on the emotions both have"
    )
    p.add_argument("--source", type=Path, help="media of --corpus (prepared clips: --data-dir)")
    p.add_argument(
        "--robustness",
        action="store_true",
        help="measure the test clips without sound or picture, with noise, blur and delays",
    )
    p.add_argument("--json", action="store_true", help="print the results as JSON")

    p = command("serve", "show in a browser what a run makes of a film or of the webcam", _serve)
    p.add_argument("--run", type=Path, help="run directory (default: the newest finished one)")
    p.add_argument("--host", default="127.0.0.1", help="address to listen on")
    p.add_argument("--port", type=int, default=8765, help="0 = any free one")
    p.add_argument("--max-megabytes", type=int, default=500, help="of an uploaded film")
    p.add_argument("--max-minutes", type=float, default=10.0, help="of an uploaded film")

    p = command(
        "crossval", "train and measure experiments on every fold with every seed", _crossval
    )
    p.add_argument(
        "--config",
        action="append",
        required=True,
        metavar="FILE[:ARG]",
        help="experiment, as for train; give it several times to compare several",
    )
    p.add_argument("--folds", type=int, required=True, help="folds of the subjects")
    p.add_argument("--seeds", type=int, required=True, help="networks a fold, seeds 0, 1, ...")
    p.add_argument("--workdir", type=Path, required=True, metavar="DIR", help="of all its runs")
    p.add_argument(
        "--only-fold",
        type=int,
        action="append",
        metavar="F",
        help="run this fold (several times: these); the record is marked exploratory",
    )
    p.add_argument("--json", action="store_true", help="print the record as JSON")

    p = command("predict", "what a network sees and hears in your own films, and when", _predict)
    p.add_argument("files", type=Path, nargs="+", metavar="FILE", help="film, sound or picture")
    p.add_argument("--run", type=Path, help="run directory (default: newest finished below runs/)")
    p.add_argument("--out", type=Path, default=Path("predictions"), help="folder for the results")
    p.add_argument("--hop", type=float, default=1.0, help="seconds from window to window")
    p.add_argument("--max-faces", type=int, default=4, help="followed at once")
    p.add_argument("--annotate", action="store_true", help="also draw an mp4, sound kept")
    p.add_argument("--json", action="store_true", help="print one JSON object a file")

    p = command("report", "write a run or a cross-validation as one HTML file", _report)
    p.add_argument("folder", type=Path, metavar="RUN_OR_CROSSVAL", help="run or crossval directory")
    p.add_argument("--data-dir", type=Path, help="the clips, when they moved")
    p.add_argument(
        "--faces",
        action=argparse.BooleanOptionalAction,
        help="put frames of test clips into the page (default: only of synthetic actors)",
    )
    p.add_argument(
        "--no-attention", action="store_true", help="do not run the network to see where it looks"
    )

    p = command("export", "write a run as one file for other programs, weights inside", _export)
    p.add_argument("run", type=Path, help="run directory")
    p.add_argument("--format", default="stablehlo", choices=("stablehlo", "onnx"))
    p.add_argument("--out", type=Path, metavar="FILE", help="(default: in the run directory)")

    p = command("doctor", "look whether this machine can do the work, and say what to do", _doctor)
    p.add_argument("--json", action="store_true", help="print the findings as one JSON object")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    args, rest = build_parser().parse_known_args(argv)

    def work() -> None:
        if rest and args.command not in ("train", "crossval"):
            raise UserError(f"no such argument '{rest[0]}'; avemo {args.command} --help")
        args.work(args, rest)

    return guarded(work)


if __name__ == "__main__":
    sys.exit(main())
