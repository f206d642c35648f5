"""Predictions pooled over the folds of a cross-validation, and paired comparisons of experiments.

A *cell* is one network: (fold, seed). Its predictions are of subjects that it never saw. Pooled
over the folds every subject stands once, with one prediction a seed; seeds are averaged inside
every subject, so that more seeds steady a figure but do not shrink its interval below what its
subjects allow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from jax_avemo.evaluation import metrics
from jax_avemo.evaluation.predictions import ClipPrediction
from jax_avemo.evaluation.results import Estimate, PairedDifference, Scores

CellKey = tuple[int, int]
"""(fold, seed)."""


@dataclass(frozen=True)
class Fairness:
    """How the UAR differs between people."""

    uar_by_subject: dict[str, float]
    standard_deviation: float
    worst_quartile: float
    uar_by_sex: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class PooledMetrics(Scores):
    """Metrics of one experiment over all folds; seeds averaged."""

    clips: int
    subjects: int
    seeds: tuple[int, ...]
    uar_by_seed: dict[str, float]
    confusion: tuple[tuple[float, ...], ...]
    ece: float
    fairness: Fairness


@dataclass(frozen=True)
class MetricDifferences:
    """Metrics of one experiment minus another's, paired by subject."""

    uar: PairedDifference
    war: PairedDifference
    macro_f1: PairedDifference
    seeds: tuple[int, ...]
    """That both have."""


class Pooled(NamedTuple):
    """Clips of all folds in the order of their keys; R seeds, N clips, K emotions."""

    emotions: tuple[str, ...]
    seeds: tuple[int, ...]
    keys: tuple[str, ...]
    labels: Int[np.ndarray, " N"]
    subjects: Shaped[np.ndarray, " N"]
    sexes: Shaped[np.ndarray, " N"]
    predicted: Int[np.ndarray, "R N"]
    probabilities: Float[np.ndarray, "R N K"]


def pool(cells: Mapping[CellKey, Sequence[ClipPrediction]], emotions: Sequence[str]) -> Pooled:
    """The predictions of all cells; a seed that lacks a fold others have is left out.

    Raises:
      ValueError: no seed has every fold, a clip is in two folds, or the seeds' clips differ.
    """
    folds = sorted({fold for fold, _ in cells})
    seeds = [
        seed
        for seed in sorted({seed for _, seed in cells})
        if all((fold, seed) in cells for fold in folds)
    ]
    if not seeds:
        raise ValueError("no seed has finished every fold")
    number = {name: index for index, name in enumerate(emotions)}
    predicted, probabilities = [], []
    first: list[ClipPrediction] = []
    for seed in seeds:
        lines = sorted(
            (line for fold in folds for line in cells[fold, seed]), key=lambda line: line.key
        )
        keys = [line.key for line in lines]
        if len(set(keys)) != len(keys):
            raise ValueError("a clip is tested in two folds")
        first = first or lines
        if keys != [line.key for line in first]:
            raise ValueError(f"seed {seed} tested other clips than seed {seeds[0]}")
        predicted.append([number[line.predicted] for line in lines])
        probabilities.append([line.probabilities for line in lines])
    return Pooled(
        emotions=tuple(emotions),
        seeds=tuple(seeds),
        keys=tuple(line.key for line in first),
        labels=np.array([number[line.emotion] for line in first]),
        subjects=np.array([line.subject for line in first]),
        sexes=np.array([line.sex for line in first]),
        predicted=np.array(predicted),
        probabilities=np.array(probabilities, float),
    )


def summarise(pooled: Pooled) -> PooledMetrics:
    """UAR, WAR and macro-F1 with intervals over subjects, and what lies behind the means."""
    classes = len(pooled.emotions)

    def estimate(metric: metrics.Metric) -> Estimate:
        return metrics.estimate(
            pooled.labels, pooled.predicted, pooled.subjects, metric, classes=classes
        )

    uar, war = (
        estimate(metrics.unweighted_average_recall),
        estimate(metrics.weighted_average_recall),
    )
    macro_f1 = estimate(metrics.macro_f1)
    matrices = [
        metrics.confusion_matrix(pooled.labels, predicted, classes)
        for predicted in pooled.predicted
    ]
    errors = [metrics.expected_calibration_error(p, pooled.labels) for p in pooled.probabilities]
    return PooledMetrics(
        clips=len(pooled.keys),
        subjects=len(set(pooled.subjects)),
        seeds=pooled.seeds,
        chance=1 / classes,
        uar=uar.value,
        uar_interval=uar.bounds,
        war=war.value,
        war_interval=war.bounds,
        macro_f1=macro_f1.value,
        macro_f1_interval=macro_f1.bounds,
        uar_by_seed={
            str(number): _uar(pooled.labels, predicted, classes)
            for number, predicted in zip(pooled.seeds, pooled.predicted, strict=True)
        },
        confusion=tuple(tuple(row) for row in np.mean(matrices, axis=0).tolist()),
        ece=float(np.mean(errors)),
        fairness=spread(pooled),
    )


def spread(pooled: Pooled) -> Fairness:
    """UAR of every subject and sex, its deviation over subjects and its worst quartile.

    Seeds are averaged. The worst quartile is the mean of the quarter (rounded up) of the subjects
    with the lowest UAR.
    """

    def uar(mask: Bool[np.ndarray, " N"]) -> float:
        classes = len(pooled.emotions)
        labels = pooled.labels[mask]
        return float(np.mean([_uar(labels, row[mask], classes) for row in pooled.predicted]))

    people = sorted(set(pooled.subjects.tolist()))
    by_subject = {person: uar(pooled.subjects == person) for person in people}
    values = np.array(list(by_subject.values()))
    return Fairness(
        uar_by_subject=by_subject,
        standard_deviation=float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        worst_quartile=metrics.worst_quartile(list(by_subject.values())),
        uar_by_sex={
            sex: uar(pooled.sexes == sex) for sex in sorted(set(pooled.sexes.tolist()) - {""})
        },
    )


def compare(a: Pooled, b: Pooled) -> MetricDifferences:
    """Every metric of a minus b on the same clips: t interval and sign-flip p over subjects.

    The seeds that both have are averaged inside.

    Raises:
      ValueError: they tested different clips, or share no seed.
    """
    if a.keys != b.keys or (a.labels != b.labels).any():
        raise ValueError("the two experiments tested different clips")
    seeds = [number for number in a.seeds if number in b.seeds]
    if not seeds:
        raise ValueError("the two experiments share no seed")
    of_a, of_b = (
        pooled.predicted[[pooled.seeds.index(number) for number in seeds]] for pooled in (a, b)
    )

    def difference(metric: metrics.Metric) -> PairedDifference:
        return metrics.paired_difference(
            a.labels, of_a, of_b, a.subjects, metric, classes=len(a.emotions)
        )

    return MetricDifferences(
        uar=difference(metrics.unweighted_average_recall),
        war=difference(metrics.weighted_average_recall),
        macro_f1=difference(metrics.macro_f1),
        seeds=tuple(seeds),
    )


def _uar(labels: np.ndarray, predicted: np.ndarray, classes: int) -> float:
    confusion = metrics.confusion_matrix(labels, predicted, classes)
    return float(metrics.unweighted_average_recall(confusion))
