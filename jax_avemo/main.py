"""python -m jax_avemo.main --config=FILE[:ARG]: make the clips if need be, train, evaluate.

Every stage looks for its artefact first and is skipped where it is whole, so that the same command
goes on after a kill, and costs seconds when all is done.
"""

import argparse
import errno
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jax_avemo import cluster
from jax_avemo import config as settings
from jax_avemo.arguments import Parser, one_line
from jax_avemo.errors import UserError
from jax_avemo.files import locked, write_json
from jax_avemo.progress import say

_FREE_FIELDS = {"data.workers", "train.compilation_cache", "evaluate.batch_size", "data.source"}
"""Fields that may differ when a run is continued: they change no result."""
_OF_FUSION = {"objective.label_smoothing", "objective.auxiliary"}
"""Of the objective, all that a network without an identity branch depends on."""

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


def tell(message: str) -> None:
    """Say something that is said once, however many processes the run has."""
    from jax_avemo.training import hosts

    if hosts.is_first():
        say(message)


def guarded(work: Callable[[], None]) -> int:
    """Run `work`; a user's mistake becomes one line on stderr. Returns the exit code."""
    logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax tells of its every default
    try:
        work()
    except (Exception, KeyboardInterrupt) as error:
        if (code := report(error)) is None:
            raise
        return code
    return 0


def report(error: BaseException) -> int | None:
    """Say a user's mistake or an interruption in one line. Its exit code; None = it is neither."""
    code = getattr(error, "exit_code", None)  # training's Interrupted has one
    if isinstance(error, KeyboardInterrupt):
        say("interrupted; the same command goes on from what is finished")
        return code or 130
    if isinstance(error, UserError):
        say(f"error: {one_line(str(error))}")
        return 1
    if isinstance(error, OSError):
        say(f"error: {one_line(_told(error))}")
        return 1
    if code is not None:
        say(str(error))
    return code


@contextmanager
def together(args: argparse.Namespace) -> Iterator[bool]:
    """Be one of several processes, where flags or the cluster say so; whether it is the first."""
    given = (args.coordinator, args.process_count, args.process_index)
    found = cluster.find_cluster(*given, os.environ, tpu=settings.tpu_present())
    if found is None:
        yield True
        return
    from jax_avemo.training import hosts

    with hosts.joined(found, report):
        tell(f"this is process 0 of {hosts.count()} (found by {found.found_by})")
        yield hosts.is_first()


def _told(error: OSError) -> str:
    where = f": {error.filename}" if error.filename else ""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "; free some, and the same command goes on from what is finished" if full else ""
    return f"{error.strerror or error}{where}{remedy}"


@contextmanager
def own_run(run: Path) -> Iterator[None]:
    """Keep other processes out of a run directory, where there is one.

    Of the processes of one run over several hosts the first holds it for all.
    """
    from jax_avemo.training import hosts

    if not run.is_dir() or not hosts.is_first():
        yield
        return
    with locked(run, f"another process is at work in {run}: wait for it, end it, or use another"):
        yield


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that name an experiment."""
    parser.add_argument(
        "--config",
        required=True,
        metavar="FILE[:ARG]",
        help="experiment; ARG is a size (tiny, cpu, full) or an ablation's NAME[,SIZE]",
    )
    parser.add_argument(
        "--workdir", type=Path, metavar="DIR", help="directory of the run (default: runs/NAME)"
    )
    cluster.add_arguments(parser)


def read_config(args: argparse.Namespace, rest: Sequence[str]) -> ConfigDict:
    """The resolved config; `rest` are arguments argparse did not know."""
    overrides = []
    for argument in rest:
        if not argument.startswith("--config."):
            raise UserError(f"no such argument '{argument}'; --help lists what there is")
        overrides.append(argument.removeprefix("--config."))
    return settings.load_config(args.config, overrides)


def announce(config: ConfigDict, run: Path) -> None:
    """The first lines: what runs, at which size, and how to get another."""
    tell(f"jax_avemo: experiment '{config.name}' at size '{config.size}', run directory {run}")
    if config.size == "cpu" and not settings.accelerator_present():
        tell(
            "no accelerator found, so the 'cpu' size was taken: the same blocks, fewer and "
            "narrower. The method as written: --config=FILE:full"
        )
    if config.split.protocol == "leaky" or config.evaluate.select == "test":
        tell(
            "warning: this protocol lets the test subjects into training or selection; it exists "
            "to reproduce published figures, and its numbers are marked as not honest"
        )


def ensure_clips(config: ConfigDict) -> None:
    """The prepared clips of the config's corpus are made when they are not there."""
    from jax_avemo.data.clip import ClipOptions
    from jax_avemo.data.prepare import prepare

    data = config.data
    if data.modality != "both" and tuple(config.model.modalities) != (data.modality,):
        raise UserError(
            f"clips of data.modality={data.modality} alone need a network of it alone: "
            f"--config.model.modalities={data.modality}"
        )
    source = ensure_source(config)
    options = ClipOptions(
        frame_size=data.stored_size,
        frames_per_second=data.stored_fps,
        max_seconds=data.max_seconds,
        face_fallback=data.face_fallback,
        need_video=data.modality != "audio",
        need_audio=data.modality != "video",
    )
    folder = settings.data_dir(config)
    if source is None:
        return
    summary = prepare(data.corpus, source, folder, options, workers=data.workers or None)
    for note in summary.notes:
        say(f"note: {note}")
    if summary.rejected:
        say(f"{summary.rejected} files were refused; why stands in {folder / 'rejects.csv'}")


def clips_of_another(
    config: ConfigDict, corpus: str, source: Path | None, folder: Path | None
) -> Any:
    """Clips of another corpus, made as those of `config` are; prepared ones need no `source`."""
    from jax_avemo.data.clips.clips_dataset_builder import read_clips

    changes = {
        "data.corpus": corpus,
        "data.source": str(source or ""),
        "data.data_dir": str(folder or ""),
    }
    other = settings.from_dict(settings.to_dict(config) | changes)
    ensure_clips(other)
    return read_clips(settings.data_dir(other))


def ensure_source(config: ConfigDict) -> Path | None:
    """The folder of media files; the demo corpus is made. None = only prepared clips are given."""
    data = config.data
    if data.corpus == "demo" and not data.source:
        from jax_avemo.demo.corpus import write_corpus

        source = settings.demo_source(config)
        write_corpus(
            source,
            actors=data.demo_actors,
            takes=data.demo_takes,
            seed=data.demo_seed,
            confound=data.demo_confound,
            workers=data.workers or None,
        )
        return source
    if data.source:
        return Path(data.source)
    if (settings.data_dir(config) / "summary.json").exists():
        return None
    raise UserError(
        f"corpus '{data.corpus}' needs --config.data.source=FOLDER with its media files"
    )


def claim_run(run: Path, config: ConfigDict) -> None:
    """Store the resolved config with the run, or refuse a directory that another config made."""
    path = run / "config.json"
    ours = settings.to_dict(config)
    if path.exists():
        try:
            theirs = dict(json.loads(path.read_bytes()))
        except (ValueError, TypeError) as error:
            raise UserError(
                f"{path} is damaged ({error}); delete it and {run / 'checkpoints'}, or give "
                "another --workdir"
            ) from error
        # A field that is younger than the run has its default there.
        theirs = settings.to_dict(settings.from_dict(theirs))
        idle = () if config.model.decouple else [f for f in ours if f.startswith("objective.")]
        free = _FREE_FIELDS | (set(idle) - _OF_FUSION)
        for field, value in ours.items():
            if field not in free and theirs[field] != value:
                raise UserError(
                    f"{run} was made by another config: {field} is {theirs[field]!r} there "
                    f"and {value!r} here; give another --workdir or delete it"
                )
    elif (run / "checkpoints").exists():
        raise UserError(f"{run} has checkpoints but no config.json; give another --workdir")
    else:
        write_json(path, ours)


def train_run(config: ConfigDict, run: Path) -> None:
    """Clips, split, training: everything up to the last checkpoint."""
    from jax_avemo.data.clips.clips_dataset_builder import read_clips
    from jax_avemo.data.folds import split_clips
    from jax_avemo.evaluation.evaluate import make_validation
    from jax_avemo.training import hosts, loop
    from jax_avemo.training.memory import keep_freed_memory
    from jax_avemo.training.programs import keep_compiled_programs

    keep_freed_memory()
    hosts.check_same(settings.to_dict(config) | {"--workdir": str(run)})
    hosts.from_first(lambda: claim_run(run, config))
    hosts.from_first(lambda: ensure_clips(config))
    clips = read_clips(settings.data_dir(config))
    keep_compiled_programs(config.train.compilation_cache)
    split = split_clips(
        clips.labels,
        protocol=config.split.protocol,
        folds=settings.folds(config),
        fold=config.split.fold,
        validation_subjects=config.split.validation_subjects,
        seed=config.split.seed,
        probe_share=config.split.probe_share,
    )
    if hosts.is_first():
        write_json(run / "split.json", split.to_json())
    tell(
        f"subjects: {len(split.train_subjects)} train, {len(split.validation_subjects)} select, "
        f"{len(split.test_subjects)} test; clips: {len(split.train)} train, {len(split.probe)} "
        f"held out for probes, {len(split.validation)} select, {len(split.test)} test"
    )
    loop.train(run, config, clips, split, make_validation(config, clips, split))


def table(results: dict[str, Any]) -> str:
    """The results as a reader wants them, with chance beside each."""
    found = results["metrics"]["test"]
    marks = [f"size {results['size']}", f"corpus {results['corpus']}"]
    if results["synthetic"]:
        marks.append("SYNTHETIC actors")
    if not results["honest"]:
        marks.append("NOT an honest protocol")
    split = results["split"]
    lines = [
        f"{results['name']}: {found['clips']} clips of {len(split['test_subjects'])} unseen "
        f"subjects ({', '.join(marks)})",
        "",
        f"{'':12}{'value':>8}  {'95 % interval':>15}{'chance':>10}",
    ]
    chance = found["chance"]
    for name, title in (("uar", "UAR"), ("war", "WAR"), ("macro_f1", "macro-F1")):
        low, high = found[f"{name}_interval"]
        interval = f"{100 * low:.1f} to {100 * high:.1f}"
        beside = f"{100 * chance:>10.1f}" if name != "macro_f1" else ""
        lines.append(f"{title:12}{100 * found[name]:>7.1f}%  {interval:>15}{beside}")
    lines += [
        "",
        "what a linear probe reads from an embedding (balanced accuracy on held-out clips of the",
        "training subjects):",
        f"{'':12}{'identity':>9}{'interval':>16}{'chance':>8}{'emotion':>10}{'interval':>16}"
        f"{'chance':>8}",
    ]
    for name, targets in results["leakage"]["training_subjects"].items():
        row = f"{name:12}"
        for target in ("identity", "emotion"):
            probe = targets[target]["linear"]
            interval = f"{100 * probe['low']:.0f} to {100 * probe['high']:.0f}"
            row += f"{100 * probe['balanced_accuracy']:>8.1f}%{interval:>16}"
            row += f"{100 * probe['chance']:>8.1f}"
            row += " " if target == "identity" else ""
        lines.append(row)
    return "\n".join(lines)


def run_experiment(config: ConfigDict, run: Path) -> dict[str, Any]:
    """The main job: train and evaluate one experiment; finished stages are skipped."""
    announce(config, run)
    began = time.monotonic()
    run.mkdir(parents=True, exist_ok=True)
    with own_run(run):
        train_run(config, run)
        from jax_avemo.evaluation.card import write_card
        from jax_avemo.evaluation.evaluate import evaluate_run, load_finished
        from jax_avemo.training import hosts

        results = hosts.from_first(lambda: load_finished(run))
        if results is None:
            results = evaluate_run(run)
        if hosts.is_first():
            write_card(run, results)
    tell(f"done in {(time.monotonic() - began) / 60:.1f} minutes")
    return results


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
            results = run_experiment(config, run)
            if speaks:
                print(table(results))
                print(where(run, config))

    return guarded(work)


if __name__ == "__main__":
    sys.exit(main())
