"""An experiment as a library: clips, training, evaluation.

`run_experiment(load_config("configs/decoupled.py:cpu"), Path("runs/decoupled"))` is the main job.
Finished stages are skipped, so that a killed job goes on where it was.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ml_collections import ConfigDict

from jax_avemo import config as settings
from jax_avemo.data.clip import ClipOptions
from jax_avemo.data.clip_store import ClipSource, read_clips
from jax_avemo.data.corpora import customary_folds
from jax_avemo.data.prepare import prepare
from jax_avemo.data.splits import split_clips
from jax_avemo.evaluation.evaluator import evaluate_run, load_finished, make_validation
from jax_avemo.evaluation.model_card import write_card
from jax_avemo.evaluation.results import Results
from jax_avemo.runs import latest_step
from jax_avemo.runtime import multihost
from jax_avemo.runtime.compilation import keep_compiled_programs
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.files import locked, write_json
from jax_avemo.runtime.memory import keep_freed_memory
from jax_avemo.runtime.progress import say
from jax_avemo.runtime.records import from_json, to_json, write_record
from jax_avemo.runtime.remote import fetch
from jax_avemo.synthetic.corpus import write_corpus
from jax_avemo.training import train_loop
from jax_avemo.training.build import check_choices

_FREE_FIELDS = {"data.workers", "train.compilation_cache_dir", "evaluate.batch_size", "data.source"}
"""Fields that may differ when a run is continued: they change no result."""
_OF_FUSION = {"objective.label_smoothing", "objective.auxiliary_weight"}
"""Of the objective, all that a network without an identity branch depends on."""


def tell(message: str) -> None:
    """Say something that is said once, however many processes the run has."""
    if multihost.is_first():
        say(message)


@contextmanager
def own_run(run: Path) -> Iterator[None]:
    """Keep other processes out of a run directory, where there is one.

    Of the processes of one run over several hosts the first holds it for all.
    """
    if not run.is_dir() or not multihost.is_first():
        yield
        return
    with locked(run, f"another process is at work in {run}: wait for it, end it, or use another"):
        yield


def announce(config: ConfigDict, run: Path) -> None:
    """The first lines: what runs, at which size, and how to get another."""
    tell(f"jax_avemo: experiment '{config.name}' at size '{config.size}', run directory {run}")
    if config.size == "cpu":
        tell(
            "size 'cpu', the default without an accelerator, has fewer and narrower blocks; the "
            "network as written is --config=FILE:full"
        )
    if config.split.protocol == "leaky" or config.evaluate.selection_split == "test":
        tell(
            "warning: this protocol lets the test subjects into training or selection; it exists "
            "to reproduce published figures, and its results are marked"
        )


def ensure_clips(config: ConfigDict) -> None:
    """The prepared clips of the config's corpus are made when they are not there."""
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
        audio_track=data.audio_track,
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
) -> ClipSource:
    """Clips of another corpus, made as those of `config` are; prepared ones need no `source`."""
    changes = {
        "data.corpus": corpus,
        "data.source": str(source or ""),
        "data.data_dir": str(folder or ""),
        "data.audio_track": 0,
    }
    other = settings.from_dict(settings.to_dict(config) | changes)
    ensure_clips(other)
    return read_clips(settings.data_dir(other))


def ensure_source(config: ConfigDict) -> Path | None:
    """The folder of media files; the demo corpus is made. None = only prepared clips are given."""
    data = config.data
    if data.corpus == "demo" and not data.source:
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
        return fetch(data.source)
    if (settings.data_dir(config) / "summary.json").exists():
        return None
    raise UserError(
        f"corpus '{data.corpus}' needs --config.data.source=FOLDER with its media files"
    )


def check_claim(run: Path, config: ConfigDict) -> None:
    """Refuse a run directory in which another config has trained; one without a step is free.

    Raises:
      UserError: it names the first field that differs.
    """
    path = run / "config.json"
    if latest_step(run) is None:
        return
    if not path.exists():
        raise UserError(f"{run} has checkpoints but no config.json; give another --workdir")
    try:
        # A field that is younger than the run has its default there.
        theirs = settings.to_dict(settings.from_dict(dict(json.loads(path.read_bytes()))))
    except UserError as error:
        raise UserError(
            f"{run} was made by another version of jax_avemo ({error}); give another --workdir"
        ) from error
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({error}); delete it and {run / 'checkpoints'}, or give "
            "another --workdir"
        ) from error
    ours = settings.to_dict(config)
    of_identity = {f for f in ours if f.startswith("objective.")} | {"model.adversary"}
    free = _FREE_FIELDS | (set() if config.model.decouple else of_identity - _OF_FUSION)
    for field, value in ours.items():
        if field not in free and theirs[field] != value:
            raise UserError(
                f"{run} was made by another config: {field} is {theirs[field]!r} there "
                f"and {value!r} here; give another --workdir or delete it"
            )


def train_run(config: ConfigDict, run: Path) -> None:
    """Clips, split, training: everything up to the last checkpoint.

    `config.json` is written when training is about to begin: a start that fails before leaves
    none, and one without a checkpoint may be replaced.
    """
    check_choices(config)
    keep_freed_memory()
    multihost.check_same(settings.to_dict(config) | {"--workdir": str(run)})
    multihost.from_first(lambda: check_claim(run, config))
    multihost.from_first(lambda: ensure_clips(config))
    clips = read_clips(settings.data_dir(config))
    keep_compiled_programs(config.train.compilation_cache_dir)
    split = split_clips(
        clips.labels,
        protocol=config.split.protocol,
        folds=config.split.folds
        or customary_folds(
            config.data.corpus,
            content_independent=config.split.protocol == "content_independent",
        ),
        fold=config.split.fold,
        validation_subjects=config.split.validation_subjects,
        seed=config.split.seed,
        probe_share=config.split.probe_fraction,
        same_takes=clips.same_takes,
    )
    if multihost.is_first():
        write_json(run / "config.json", settings.to_dict(config))
        write_record(run / "split.json", split)
    tell(
        f"subjects: {len(split.train_subjects)} training, {len(split.validation_subjects)} "
        f"validation, {len(split.test_subjects)} test; clips: {len(split.train)} training, "
        f"{len(split.probe)} held out for probes, {len(split.validation)} validation, "
        f"{len(split.test)} test"
    )
    train_loop.train(run, config, clips, split, make_validation(config, clips, split))


def train_experiment(config: ConfigDict, run: Path) -> None:
    """Train one experiment in its run directory, which nobody else may use meanwhile."""
    announce(config, run)
    run.mkdir(parents=True, exist_ok=True)
    with own_run(run):
        train_run(config, run)


def run_experiment(config: ConfigDict, run: Path) -> Results:
    """Train one experiment and evaluate it; returns the results on the test subjects."""
    began = time.monotonic()
    announce(config, run)
    run.mkdir(parents=True, exist_ok=True)
    with own_run(run):
        train_run(config, run)
        # Messages between processes are JSON.
        finished = multihost.from_first(lambda: to_json(load_finished(run)))
        results = from_json(Results, finished) if finished else evaluate_run(run)
        if multihost.is_first():
            write_card(run, results)
    tell(f"done in {(time.monotonic() - began) / 60:.1f} minutes")
    return results
