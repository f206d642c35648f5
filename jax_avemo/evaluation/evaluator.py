"""Evaluation of a run: predictions, metrics, calibration, leakage and robustness."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int
from ml_collections import ConfigDict

from jax_avemo import config as settings
from jax_avemo.data.clip_store import ClipSource, read_clips
from jax_avemo.data.pipeline import LabelIndex, check_stored, evaluation_batches
from jax_avemo.data.splits import Split
from jax_avemo.evaluation import calibration, leakage, metrics, robustness
from jax_avemo.evaluation.enrolled import measure_enrolment
from jax_avemo.evaluation.network import make_network
from jax_avemo.evaluation.predictions import (
    EMBEDDINGS_FILE,
    predictions_of,
    write_embeddings,
    write_predictions,
)
from jax_avemo.evaluation.provenance import provenance
from jax_avemo.evaluation.raw_features import raw_features
from jax_avemo.evaluation.results import (
    RESULTS_FILE,
    ROBUSTNESS_FILE,
    Calibration,
    Estimate,
    Leakage,
    Metrics,
    MetricsByPart,
    Results,
    RobustnessResults,
    TestCalibration,
    read_results,
    write_results,
)
from jax_avemo.evaluation.trained_network import Trained, load_run
from jax_avemo.models.avemo import AVEmo
from jax_avemo.runtime import devices, multihost
from jax_avemo.runtime.compilation import PROGRAMS_KEPT
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.progress import Progress
from jax_avemo.runtime.records import from_json, to_json
from jax_avemo.runtime.remote import fetch
from jax_avemo.schema import UNKNOWN, Batch
from jax_avemo.training import build, checkpoints, train_loop
from jax_avemo.training.train_state import Embed


@runtime_checkable
class Predict(Protocol):
    """(variables, rows, label of the bar or "") -> named arrays, one line a row."""

    def __call__(
        self,
        variables: Any,
        rows: Sequence[int],
        label: str = "",
        *,
        change: Callable[[Batch], Batch] | None = None,
    ) -> dict[str, np.ndarray]:
        """`change` is done to every batch before the network sees it."""


def make_predict(
    model: AVEmo, mesh: Mesh, config: ConfigDict, clips: ClipSource, index: LabelIndex
) -> Predict:
    """The function that runs the network over stored clips, `evaluate.batch_size` at a time."""
    inputs = build.build_inputs(config, training=False)
    batch_size = config.evaluate.batch_size
    devices.check_batch_size("evaluate.batch_size", batch_size, mesh)
    step = _evaluation_step(model, mesh)

    def predict(
        variables: Any,
        rows: Sequence[int],
        label: str = "",
        *,
        change: Callable[[Batch], Batch] | None = None,
    ) -> dict[str, np.ndarray]:
        batches: Iterable[Batch] = evaluation_batches(
            clips,
            rows,
            inputs,
            index,
            batch_size=batch_size,
            process_index=multihost.index(),
            process_count=multihost.count(),
        )
        batches = batches if change is None else map(change, batches)
        found: list[dict[str, np.ndarray]] = []
        if label:
            with Progress(len(rows), label, unit="clips", shown=multihost.is_first()) as progress:
                for batch in batches:
                    found.append(_run(step, variables, batch, mesh))
                    progress.advance(min(batch_size, len(rows) - progress.done))
        else:
            found = [_run(step, variables, batch, mesh) for batch in batches]
        # Padding rows stand at the end of the last batch.
        return {name: np.concatenate([f[name] for f in found])[: len(rows)] for name in found[0]}

    return predict


@functools.lru_cache(maxsize=PROGRAMS_KEPT)
def _evaluation_step(model: AVEmo, mesh: Mesh) -> Callable[..., dict[str, jax.Array]]:
    network = devices.shared_by_rows(make_network(model), mesh)
    return jax.jit(network, out_shardings=devices.replicated(mesh))


def _run(step: Any, variables: Any, batch: Any, mesh: Mesh) -> dict[str, np.ndarray]:
    outputs = step(variables, devices.place_batch(batch, mesh))
    return {name: np.asarray(value) for name, value in outputs.items()}


def make_validation(
    config: ConfigDict, clips: ClipSource, split: Split
) -> Callable[[AVEmo, Mesh, LabelIndex], tuple[train_loop.Evaluate, Embed]]:
    """What the training loop calls to evaluate the network on the validation subjects, and to embed
    the clips it trains on."""
    selecting = split.test if config.evaluate.selection_split == "test" else split.validation
    rows = train_loop.rows_of(clips, selecting)
    train_rows = train_loop.rows_of(clips, split.train)

    def make(model: AVEmo, mesh: Mesh, index: LabelIndex) -> tuple[train_loop.Evaluate, Embed]:
        predict = make_predict(model, mesh, config, clips, index)
        labels = labels_of(clips, rows, index)

        def evaluate(variables: Any) -> dict[str, float]:
            probabilities = predict(variables, rows, "")["probabilities"]
            confusion = metrics.confusion_matrix(
                labels, probabilities.argmax(1), len(index.emotions)
            )
            found = {name: float(f(confusion)) for name, f in metrics.METRICS.items()}
            true = np.clip(probabilities[np.arange(len(labels)), labels], 1e-12, 1.0)
            return found | {"loss": float(-np.log(true).mean())}

        return evaluate, lambda variables: predict(variables, train_rows)

    return make


def labels_of(clips: ClipSource, rows: Sequence[int], index: LabelIndex) -> Int[np.ndarray, " N"]:
    """The emotions' numbers; every clip that is evaluated must have one.

    Raises:
      UserError: a clip's emotion is not one of the network's.
    """
    labels = np.array([index.emotion(clips.labels[row].emotion) for row in rows])
    if (unknown := np.flatnonzero(labels == UNKNOWN)).size:
        first = clips.labels[rows[unknown[0]]]
        raise UserError(
            f"{unknown.size} clips have an emotion the network does not know, such as "
            f"'{first.emotion}' of {first.key}; it knows {', '.join(index.emotions)}"
        )
    return labels


def evaluate_run(run: Path, *, part: str = "test", data_dir: Path | None = None) -> Results:
    """Evaluate the best checkpoint of `run` on one part of its split, and write the results.

    Args:
      run: directory with `checkpoints/`; nothing else of it is read.
      part: "test" (subjects never seen), "validation", or "probe" (held-out clips of the training
        subjects). Calibration and leakage are measured with "test".
      data_dir: prepared clips, when they moved.

    Returns:
      What is written: `results.json` (test) or `results-PART.json`. Beside it, `predictions.jsonl`
      has a line for each clip, and (test) `embeddings.npz` has z, z_e and z_i of the probe and
      test clips.
    """
    trained, clips, rows, predict = open_run(run, part=part, data_dir=data_dir)
    outputs = predict(trained.variables, rows, f"evaluating {part}")
    labels = labels_of(clips, rows, trained.index)
    found = metrics_of(outputs["probabilities"], labels, clips, rows, trained)
    at_selection = trained.about.get("validation")
    results = Results(
        **provenance(trained, clips),
        metrics=MetricsByPart(**{part: found}, validation_at_selection=at_selection),
        calibration=calibrate(trained, clips, predict, outputs, labels) if part == "test" else None,
        leakage=measure_leakage(trained, clips, predict, rows, outputs) if part == "test" else None,
        enrolment=measure_enrolment(trained, [clips.labels[row] for row in rows], labels, outputs)
        if part == "test"
        else (),
    )
    suffix = "" if part == "test" else f"-{part}"
    if multihost.is_first():
        predictions = predictions_of(clips, rows, outputs["probabilities"], trained.index.emotions)
        write_predictions(run / f"predictions{suffix}.jsonl", predictions)
        write_results(run / f"results{suffix}.json", results)
    return results


def measure_leakage(
    trained: Trained,
    clips: ClipSource,
    predict: Predict,
    test_rows: Sequence[int],
    test_outputs: Mapping[str, np.ndarray],
) -> Leakage:
    """The leakage report of a run; writes `embeddings.npz`, on which it is measured.

    No row of the training or validation part is read.
    """
    probe_rows = train_loop.rows_of(clips, trained.split.probe)
    probe_outputs = predict(trained.variables, probe_rows, "held-out clips")
    if multihost.is_first():
        write_embeddings(
            trained.run / EMBEDDINGS_FILE,
            clips,
            [("probe", probe_rows), ("test", test_rows)],
            [probe_outputs, test_outputs],
        )
    untrained_variables = leakage.initial_variables(trained)

    def people(rows: Sequence[int], outputs: Mapping[str, np.ndarray]) -> leakage.People:
        return leakage.People(
            [clips.labels[row] for row in rows],
            leakage.representations_of(
                outputs,
                predict(untrained_variables, rows, "the untrained network"),
                raw_features_of(trained, clips, rows),
            ),
        )

    return leakage.measure(
        people(test_rows, test_outputs),
        people(probe_rows, probe_outputs),
        seed=trained.config.seed,
    )


def raw_features_of(
    trained: Trained, clips: ClipSource, rows: Sequence[int]
) -> Float[np.ndarray, "N D"]:
    """`raw_features` of stored clips, of the modalities that the network reads."""
    inputs = build.build_inputs(trained.config, training=False)
    size = trained.config.evaluate.batch_size
    batches = evaluation_batches(clips, rows, inputs, trained.index, batch_size=size)
    return raw_features(batches, tuple(trained.config.model.modalities))


def open_run(
    run: Path, *, part: str = "test", data_dir: Path | None = None
) -> tuple[Trained, ClipSource, list[int], Predict]:
    """The best network of `run`, the stored clips, the rows of `part`, and how to run it.

    Raises:
      UserError: no checkpoint, or clips of that part are not stored any more.
    """
    trained = load_run(run)
    config = trained.config
    if data_dir is not None:
        config.data.data_dir = str(data_dir)
    fetch(config.data.data_dir)
    clips = read_clips(settings.data_dir(config))
    check_stored(clips.frame_size, build.build_inputs(config, training=False))
    keys = clips_of_part(trained.split, part)
    rows = train_loop.rows_of(clips, keys)
    if len(rows) != len(keys):
        raise UserError(
            f"{len(keys) - len(rows)} of the {len(keys)} {part} clips of {run} are not in "
            f"{settings.data_dir(config)}; prepare the same corpus again or give --data-dir"
        )
    predict = make_predict(trained.model, devices.data_mesh(), config, clips, trained.index)
    return trained, clips, rows, predict


def evaluate_robustness(run: Path, *, data_dir: Path | None = None) -> RobustnessResults:
    """Evaluate the run on its test clips made worse in every way of `robustness.conditions`.

    Returns what is written: `results-robustness.json`.
    """
    trained, clips, rows, predict = open_run(run, data_dir=data_dir)
    config = trained.config
    predicted = {
        name: predict(trained.variables, rows, name, change=change)["probabilities"].argmax(1)
        for name, change in {
            "clean": None,
            **robustness.conditions(tuple(config.model.modalities)),
        }.items()
    }
    clean = predicted.pop("clean")
    conditions = robustness.compare_conditions(
        labels_of(clips, rows, trained.index),
        predicted,
        clean,
        np.array([clips.labels[row].subject for row in rows]),
        classes=len(trained.index.emotions),
    )
    results = RobustnessResults(**provenance(trained, clips), robustness=conditions)
    if multihost.is_first():
        write_results(run / ROBUSTNESS_FILE, results)
    return results


def clips_of_part(split: Split, part: str) -> tuple[str, ...]:
    """The clips of one part of a split."""
    parts = {"test": split.test, "validation": split.validation, "probe": split.probe}
    if part not in parts:
        raise UserError(f"no split '{part}'; there are {', '.join(parts)}")
    return parts[part]


def metrics_of(
    probabilities: Float[np.ndarray, "N K"],
    labels: Int[np.ndarray, " N"],
    clips: ClipSource,
    rows: Sequence[int],
    trained: Trained,
) -> Metrics:
    """UAR, WAR and macro-F1 with 95 % intervals over subjects; confusion; by subject and sex."""
    predicted = probabilities.argmax(1)
    classes = len(trained.index.emotions)
    subjects = np.array([clips.labels[row].subject for row in rows])
    sexes = np.array([clips.labels[row].sex for row in rows])

    def estimate(metric: metrics.Metric) -> Estimate:
        return metrics.estimate(labels, predicted, subjects, metric, classes=classes)

    def uar_where(mask: np.ndarray) -> float:
        confusion = metrics.confusion_matrix(labels[mask], predicted[mask], classes)
        return float(metrics.unweighted_average_recall(confusion))

    uar, war = (
        estimate(metrics.unweighted_average_recall),
        estimate(metrics.weighted_average_recall),
    )
    macro_f1 = estimate(metrics.macro_f1)
    by_subject = {str(name): uar_where(subjects == name) for name in sorted(set(subjects))}
    confusion = metrics.confusion_matrix(labels, predicted, classes)
    return Metrics(
        clips=len(rows),
        chance=1 / classes,
        uar=uar.value,
        uar_interval=uar.bounds,
        war=war.value,
        war_interval=war.bounds,
        macro_f1=macro_f1.value,
        macro_f1_interval=macro_f1.bounds,
        ece=metrics.expected_calibration_error(probabilities, labels),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        uar_by_subject=by_subject,
        uar_worst_quartile=metrics.worst_quartile(list(by_subject.values())),
        uar_by_sex={str(sex): uar_where(sexes == sex) for sex in sorted(set(sexes) - {""})},
    )


def calibrate(
    trained: Trained,
    clips: ClipSource,
    predict: Predict,
    test_outputs: dict[str, np.ndarray],
    test_labels: Int[np.ndarray, " N"],
) -> Calibration:
    """Temperatures fitted on validation clips and stored with the run; ECE on test clips too."""
    rows = train_loop.rows_of(clips, trained.split.validation)
    labels = labels_of(clips, rows, trained.index)
    modalities = tuple(trained.config.model.modalities)
    fits = {}
    for name in calibration.MODALITIES if len(modalities) > 1 else modalities:
        change = calibration.only(name)
        found = predict(trained.variables, rows, f"calibrating {name}", change=change)
        fits[name] = calibration.fit_temperature(found["probabilities"], labels)
    written = multihost.from_first(
        lambda: to_json(calibration.write_calibration(trained.run, trained.step, fits))
    )
    before = test_outputs["probabilities"]
    after = calibration.apply_temperature(before, next(iter(fits.values())).temperature)
    test = TestCalibration(
        ece_before=metrics.expected_calibration_error(before, test_labels),
        ece_after=metrics.expected_calibration_error(after, test_labels),
        reliability_before=metrics.reliability(before, test_labels),
        reliability_after=metrics.reliability(after, test_labels),
        selective_accuracy=metrics.selective_accuracy(after, test_labels),
    )
    return dataclasses.replace(from_json(Calibration, written), test=test)


def load_finished(run: Path) -> Results | None:
    """The test results of `run` if they read and are of its best checkpoint; else None."""
    try:
        results = read_results(run / RESULTS_FILE)
    except UserError:
        return None  # they are made again
    manager = checkpoints.open_checkpoints(run, read_only=True)
    best = checkpoints.best_step(manager, run)
    manager.close()
    return results if results.step == best else None
