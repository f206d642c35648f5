"""The training loop: resume, step, log, validate, save."""

import math
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict
from orbax.checkpoint import CheckpointManager

from jax_avemo import __version__
from jax_avemo import config as settings
from jax_avemo.data import resampling
from jax_avemo.data.augment import AugmentOptions
from jax_avemo.data.clip_store import ClipSource
from jax_avemo.data.pipeline import LabelIndex, check_stored, training_batches
from jax_avemo.data.splits import Split
from jax_avemo.models.avemo import AVEmo
from jax_avemo.runtime import multihost
from jax_avemo.runtime.devices import check_batch_size, data_mesh, place_batch
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.progress import Progress
from jax_avemo.runtime.records import to_json
from jax_avemo.schema import Labels
from jax_avemo.training import build, checkpoints, initialisation
from jax_avemo.training.metric_writer import MetricsLog
from jax_avemo.training.train_state import (
    Embed,
    TrainState,
    evaluated_variables,
    with_fitted_erasure,
)
from jax_avemo.training.train_step import TrainStep, prepare_training

Evaluate = Callable[[Any], dict[str, float]]
"""Variables of the network -> validation metrics, `uar` among them."""
MOST_SKIPPED = 20
"""Training stops when this many steps in all had a gradient that is not finite."""


class Interrupted(multihost.StoppedTogether):
    """SIGINT or SIGTERM came; the state was saved first."""

    def __init__(self, signal_number: int, step: int) -> None:
        super().__init__(f"stopped at step {step}; the same command goes on from there")
        self.exit_code = 128 + signal_number


def train(
    run: Path,
    config: ConfigDict,
    clips: ClipSource,
    split: Split,
    make_evaluate: Callable[[AVEmo, Mesh, LabelIndex], tuple[Evaluate, Embed]],
) -> None:
    """Train until the last step, from the latest checkpoint of `run` if there is one.

    The order of clips, augmentation, dropout and weights depend on (config, step) alone, so that
    a run that was killed and started again ends in the same bytes as an unbroken one.

    Args:
      run: its directory; gets `metrics.jsonl` and `checkpoints/`.
      config: resolved.
      clips: all stored clips.
      split: training, validation and test clips.
      make_evaluate: gives the function that evaluates the network on the validation clips, and
        the one that embeds the training clips.

    Raises:
      Interrupted: after SIGINT or SIGTERM, once the state is saved.
      UserError: the config does not fit the clips or the devices.
    """
    index = LabelIndex(clips.emotions, split.train_subjects)
    mesh = data_mesh()
    rows = rows_of(clips, split.train)
    _check(config, clips, index, mesh, rows)
    total_steps = count_steps(config, len(rows))
    model = build.build_model(config, len(index.emotions), len(index.subjects))
    state, train_step = prepare_training(config, model, total_steps, mesh)
    with checkpoints.writing(run) as manager:
        saved = checkpoints.restore_latest(manager, state)
        if saved is None:
            saved = initialisation.given(config, state, index, split, mesh)
        state = saved
        start = int(state.step)
        evaluate, embed = make_evaluate(model, mesh, index)
        labels = [clips.labels[row] for row in rows]
        job = Job(
            train_step=train_step,
            batches=training_inputs(config, clips, rows, index, mesh, start),
            total_steps=total_steps,
            fit_erasure=partial(with_fitted_erasure, embed=embed, labels=labels, index=index),
            evaluate=evaluate,
            manager=manager,
            facts=checkpoint_facts(config, clips, split, index, total_steps),
        )
        first, size = multihost.is_first(), config.train.batch_size
        bar = Progress(
            total_steps * size, "training", unit="clips", start=start * size, shown=first
        )
        log = MetricsLog(run / "metrics.jsonl" if first else None, start)
        with log, bar as progress, _signals() as came:
            _loop(config, state, job, log, progress, came)


class Job(NamedTuple):
    """What the loop calls, reads and writes."""

    train_step: TrainStep
    batches: Iterator[Any]
    """From the state's step on, on the devices."""
    total_steps: int
    fit_erasure: Callable[[TrainState], TrainState]
    evaluate: Evaluate
    manager: CheckpointManager
    facts: dict[str, Any]
    """See `checkpoint_facts`."""


def _loop(
    config: ConfigDict,
    state: TrainState,
    job: Job,
    log: MetricsLog,
    progress: Progress,
    came: list[int],
) -> None:
    """Step, log, validate and save until the last step or a signal."""
    train = config.train
    key = jax.random.key(config.seed)
    steps_between_evaluations = max(1, math.ceil(job.total_steps / train.num_evaluations))
    start = int(state.step)
    if start < job.total_steps:
        progress.advance(0, state="compiling, up to a minute the first time")
    for step in range(start + 1, job.total_steps + 1):
        state, metrics = job.train_step(state, next(job.batches), key)
        progress.forget("state")
        if step % train.log_every_steps == 0 or step == job.total_steps:
            values = {name: float(value) for name, value in metrics.items()}
            log.write(step, "train", values)
            _stop_if_not_finite(values, step)
            progress.advance(0, **_shown(values))
        progress.advance(train.batch_size)
        stop = multihost.agreed_signal(came, step)
        if step % steps_between_evaluations == 0 or step == job.total_steps:
            if state.erasure is not None:
                state = job.fit_erasure(state)
            scores = job.evaluate(evaluated_variables(state))
            log.write(step, "validation", scores)  # before the checkpoint: resuming keeps the line
            progress.advance(0, uar=scores["uar"])
            facts = job.facts | {"validation": scores}
            checkpoints.save(job.manager, step, state, facts, scores["uar"])
        elif stop:
            checkpoints.save(job.manager, step, state, job.facts, None)
        if stop and step < job.total_steps:
            checkpoints.finish(job.manager)
            raise Interrupted(stop, step)


def _check(
    config: ConfigDict, clips: ClipSource, index: LabelIndex, mesh: Mesh, rows: Sequence[int]
) -> None:
    """UserError where the config does not fit the clips or the devices."""
    train = config.train
    check_stored(clips.frame_size, build.build_inputs(config, training=True))
    check_batch_size("train.batch_size", train.batch_size, mesh, train.accumulation_steps)
    if len(rows) < train.batch_size:
        raise UserError(
            f"{len(rows)} training clips can't fill a batch of {train.batch_size}; "
            "lower train.batch_size"
        )
    if config.model.decouple and len(index.subjects) < 2:
        raise UserError(
            "telling identities apart needs two training subjects; give more, or set "
            "model.decouple=false"
        )


def count_steps(config: ConfigDict, num_clips: int) -> int:
    """Steps of a whole training on so many clips, at least 1."""
    return max(1, round(config.train.epochs * num_clips / config.train.batch_size))


def training_inputs(
    config: ConfigDict,
    clips: ClipSource,
    rows: Sequence[int],
    index: LabelIndex,
    mesh: Mesh,
    start_step: int,
) -> Iterator[Any]:
    """The batches from `start_step` on, on the devices."""
    drawn = drawn_rows(clips.labels, rows) if config.train.resample else rows
    batches = training_batches(
        clips,
        drawn,
        [clips.labels[row] for row in drawn],
        build.build_inputs(config, training=True),
        index,
        AugmentOptions(**config.augment),
        batch_size=config.train.batch_size,
        clips_per_subject=config.train.clips_per_subject,
        seed=config.seed,
        start_step=start_step,
        process_index=multihost.index(),
        process_count=multihost.count(),
    )
    return (place_batch(batch, mesh) for batch in batches)


def checkpoint_facts(
    config: ConfigDict, clips: ClipSource, split: Split, index: LabelIndex, total_steps: int
) -> dict[str, Any]:
    """What a checkpoint says of its run beside the state (JSON values)."""
    seen = {*split.train, *split.probe, *split.validation}
    learnt = {labels.emotion for labels in clips.labels if labels.key in seen}
    return {
        "version": __version__,
        "config": settings.to_dict(config),
        "split": to_json(split),
        "emotions": list(index.emotions),
        "learnt_emotions": [name for name in index.emotions if name in learnt],
        "subjects": list(index.subjects),
        "clips": clips.fingerprint,
        "synthetic": clips.synthetic,
        "total_steps": total_steps,
    }


def rows_of(clips: ClipSource, keys: tuple[str, ...]) -> list[int]:
    """Positions of the clips named by `keys`, in the order of the stored clips."""
    wanted = set(keys)
    return [row for row, labels in enumerate(clips.labels) if labels.key in wanted]


def drawn_rows(labels: Sequence[Labels], rows: Sequence[int]) -> list[int]:
    """`rows`, rare pairs of emotion and subject more often (`data.resampling`)."""
    weights = resampling.independence_weights(
        [labels[row].emotion for row in rows], [labels[row].subject for row in rows]
    )
    return [rows[position] for position in resampling.draws(weights)]


def _shown(values: dict[str, float]) -> dict[str, float]:
    wanted = {
        "loss/emotion": "emotion",
        "loss/identity": "identity",
        "weight/emotion": "w_e",
        "weight/identity": "w_i",
        "accuracy": "acc",
    }
    return {short: values[name] for name, short in wanted.items() if name in values}


def _stop_if_not_finite(values: dict[str, float], step: int) -> None:
    if values["skipped"] >= MOST_SKIPPED:
        raise UserError(
            f"{values['skipped']:.0f} of {step} steps had a loss or gradient that is not finite "
            "and were skipped; lower train.learning_rate or look at the clips"
        )


@contextmanager
def _signals() -> Iterator[list[int]]:
    """SIGINT and SIGTERM, collected instead of ending the process."""
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
