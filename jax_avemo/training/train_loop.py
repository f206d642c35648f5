"""The training loop: resume, step, log, validate, save."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jax_avemo import __version__
from jax_avemo import config as settings
from jax_avemo.data import resampling
from jax_avemo.data.augment import AugmentOptions
from jax_avemo.data.clips.clips_dataset_builder import ClipSource
from jax_avemo.data.pipeline import LabelIndex, check_stored, training_batches
from jax_avemo.data.splits import Split
from jax_avemo.models.avemo import AVEmo
from jax_avemo.runtime import multihost
from jax_avemo.runtime.devices import check_batch_size, data_mesh, place_batch
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.progress import Progress
from jax_avemo.schema import Labels
from jax_avemo.training import build, checkpoints, initialisation
from jax_avemo.training.erase import Embed, with_fitted_erasure
from jax_avemo.training.metric_writer import MetricsLog
from jax_avemo.training.train_state import evaluated_variables, prepare_state

Evaluate = Callable[[Any], dict[str, float]]
"""Variables of the network -> validation figures, `uar` among them."""
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
      split: who is in which split.
      make_evaluate: gives the function that measures the network on the selecting subjects, and
        the one that embeds the training clips.

    Raises:
      Interrupted: after SIGINT or SIGTERM, once the state is saved.
      UserError: the config does not fit the clips or the devices.
    """
    index = LabelIndex(clips.emotions, split.train_subjects)
    inputs = build.build_inputs(config, training=True)
    check_stored(clips.frame_size, inputs)
    mesh = data_mesh()
    check_batch_size(
        "train.batch_size", config.train.batch_size, mesh, config.train.accumulation_steps
    )
    rows = rows_of(clips, split.train)
    if len(rows) < config.train.batch_size:
        raise UserError(
            f"{len(rows)} training clips can't fill a batch of {config.train.batch_size}; "
            "lower train.batch_size"
        )
    if config.model.decouple and len(index.subjects) < 2:
        raise UserError(
            "telling identities apart needs two training subjects; give more, or set "
            "model.decouple=false"
        )
    schedule = build.build_schedule(config, len(rows))
    model = build.build_model(config, len(index.emotions), len(index.subjects))
    state, train_step = prepare_state(config, model, index, schedule, mesh)
    manager = checkpoints.open_checkpoints(run)
    if (saved := checkpoints.restore_latest(manager, state)) is not None:
        state = saved
    else:
        state = initialisation.given(config, state, index, split, mesh)
    start = int(state.step)
    about = {
        "version": __version__,
        "config": settings.to_dict(config),
        "split": split.to_json(),
        "emotions": list(index.emotions),
        "subjects": list(index.subjects),
        "clips": clips.fingerprint,
        "synthetic": clips.synthetic,
        "total_steps": schedule.total_steps,
    }
    drawn = drawn_rows(clips.labels, rows) if config.train.resample else rows
    batches = training_batches(
        clips,
        drawn,
        [clips.labels[row].emotion for row in drawn],
        inputs,
        index,
        AugmentOptions(**config.augment),
        batch_size=config.train.batch_size,
        seed=config.seed,
        start_step=start,
        process_index=multihost.index(),
        process_count=multihost.count(),
    )
    key = jax.random.key(config.seed)
    evaluate, embed = make_evaluate(model, mesh, index)
    total = schedule.total_steps
    with (
        MetricsLog(run / "metrics.jsonl" if multihost.is_first() else None, start) as log,
        Progress(
            total * config.train.batch_size,
            "training",
            unit="clips",
            start=start * config.train.batch_size,
            shown=multihost.is_first(),
        ) as progress,
        _signals() as came,
    ):
        if start < total:
            progress.advance(0, state="compiling, up to a minute the first time")
        for step in range(start + 1, total + 1):
            state, metrics = train_step(state, place_batch(next(batches), mesh), key)
            progress.forget("state")
            if step % config.train.log_every_steps == 0 or step == total:
                values = {name: float(value) for name, value in metrics.items()}
                log.write(step, "train", values)
                _stop_if_not_finite(values, step)
                progress.advance(0, **_shown(values))
            progress.advance(config.train.batch_size)
            stop = multihost.agreed_signal(came, step)
            if step % schedule.steps_between_evaluations == 0 or step == total:
                if model.decouple and model.erasure:
                    labels = [clips.labels[row] for row in rows]
                    state = with_fitted_erasure(state, embed, labels, index)
                found = evaluate(evaluated_variables(state))
                log.write(step, "validation", found)
                progress.advance(0, uar=found["uar"])
                checkpoints.save(manager, step, state, about | {"validation": found}, found["uar"])
            elif stop:
                checkpoints.save(manager, step, state, about, None)
            if stop and step < total:
                checkpoints.finish(manager)
                raise Interrupted(stop, step)
    checkpoints.finish(manager)
    manager.close()


def rows_of(clips: ClipSource, keys: tuple[str, ...]) -> list[int]:
    """Positions of the clips named by `keys`, in the order of the stored clips."""
    wanted = set(keys)
    return [row for row, labels in enumerate(clips.labels) if labels.key in wanted]


def drawn_rows(labels: Sequence[Labels], rows: Sequence[int]) -> list[int]:
    """`rows`, each as often as it takes for emotion and subject to be independent."""
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
    """Collect SIGINT and SIGTERM instead of dying of them."""
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
