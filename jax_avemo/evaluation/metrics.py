"""Metrics of predictions, with intervals over subjects, and paired comparisons.

Metrics are functions of confusion matrices [..., K, K] (rows = true class).
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int, Shaped

from jax_avemo.evaluation import statistics
from jax_avemo.evaluation.results import Coverage, Estimate, PairedDifference, ReliabilityBin

Confusion = Shaped[np.ndarray, "*batch K K"]
Metric = Callable[[Confusion], Float[np.ndarray, "*batch"]]


def confusion_matrix(
    labels: Int[np.ndarray, " N"], predictions: Int[np.ndarray, " N"], classes: int
) -> Int[np.ndarray, "K K"]:
    """Clips of true class (row) predicted as class (column); clips with a label below 0 left out.

    Raises:
        ValueError: lengths differ, or a class is outside [0, classes).
    """
    if labels.shape != predictions.shape:
        raise ValueError(f"{labels.shape} labels but {predictions.shape} predictions")
    known = labels >= 0
    true, predicted = labels[known], predictions[known]
    if true.size and (true.max() >= classes or predicted.max() >= classes or predicted.min() < 0):
        raise ValueError(f"a label or prediction is outside [0, {classes})")
    counts = np.bincount(true * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes)


def unweighted_average_recall(confusion: Confusion) -> Float[np.ndarray, "*batch"]:
    """UAR, balanced accuracy: the mean over the classes present of right / all of the class.

    Schuller et al., The INTERSPEECH 2009 Emotion Challenge. NaN where there is no clip.
    """
    right = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    return _mean_ratio(right, confusion.sum(axis=-1))


def weighted_average_recall(confusion: Confusion) -> Float[np.ndarray, "*batch"]:
    """WAR, accuracy: right / all. NaN where there is no clip."""
    right = np.trace(confusion, axis1=-2, axis2=-1).astype(np.float64)
    total = confusion.sum(axis=(-2, -1)).astype(np.float64)
    return np.divide(right, total, out=np.full_like(right, np.nan), where=total > 0)


def macro_f1(confusion: Confusion) -> Float[np.ndarray, "*batch"]:
    """Mean of F1 = 2 tp / (2 tp + fp + fn) over the classes that occur or are predicted."""
    right = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    return _mean_ratio(2.0 * right, confusion.sum(axis=-1) + confusion.sum(axis=-2))


METRICS: dict[str, Metric] = {
    "uar": unweighted_average_recall,
    "war": weighted_average_recall,
    "macro_f1": macro_f1,
}


def expected_calibration_error(
    probabilities: Float[np.ndarray, "N K"], labels: Int[np.ndarray, " N"], bins: int = 15
) -> float:
    """How far confidence is from accuracy, in [0, 1]; clips with a label below 0 left out.

        ECE = sum_m |B_m| / N * |accuracy(B_m) - confidence(B_m)|

    over `bins` equal-width bins ((m-1)/M, m/M] of the largest probability. Guo et al., On
    Calibration of Modern Neural Networks, ICML 2017, equation 3. NaN where there is no clip.
    """
    confidence, right = _confidence(probabilities, labels)
    if right.size == 0:
        return float("nan")
    gaps = np.bincount(_bins(confidence, bins), weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / right.size)


def reliability(
    probabilities: Float[np.ndarray, "N K"], labels: Int[np.ndarray, " N"], bins: int = 10
) -> tuple[ReliabilityBin, ...]:
    """The reliability diagram: every bin that has clips.

    Bins as in `expected_calibration_error` (Guo et al. 2017, section 2).
    """
    confidence, right = _confidence(probabilities, labels)
    in_bin = _bins(confidence, bins)
    return tuple(
        ReliabilityBin(
            clips=int((in_bin == number).sum()),
            confidence=float(confidence[in_bin == number].mean()),
            accuracy=float(right[in_bin == number].mean()),
        )
        for number in np.unique(in_bin)
    )


def selective_accuracy(
    probabilities: Float[np.ndarray, "N K"],
    labels: Int[np.ndarray, " N"],
    coverages: Sequence[float] = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1),
) -> tuple[Coverage, ...]:
    """Accuracy where only the most confident clips are predicted (El-Yaniv and Wiener 2010).

    At least one clip is predicted; of equally confident ones the first. Clips with a label below 0
    are left out; empty where no clip has a label.
    """
    confidence, right = _confidence(probabilities, labels)
    if right.size == 0:
        return ()
    most_confident_first = right[np.argsort(-confidence, kind="stable")]
    predicted = [max(1, round(coverage * right.size)) for coverage in coverages]
    return tuple(
        Coverage(coverage, count, float(most_confident_first[:count].mean()))
        for coverage, count in zip(coverages, predicted, strict=True)
    )


def recall_and_precision(
    confusion: Sequence[Sequence[float]],
) -> list[tuple[float | None, float | None]]:
    """Recall and precision of each class; None where no clip is of it, or predicted as it."""
    columns = [sum(column) for column in zip(*confusion, strict=True)]
    return [
        (
            row[index] / sum(row) if sum(row) else None,
            row[index] / columns[index] if columns[index] else None,
        )
        for index, row in enumerate(confusion)
    ]


def worst_quartile(values: Sequence[float]) -> float:
    """Mean of the lowest quarter (rounded up) of the values, such as the subjects' UAR."""
    ordered = np.sort(np.asarray(values, np.float64))
    return float(ordered[: -(-len(ordered) // 4)].mean())


def _confidence(
    probabilities: np.ndarray, labels: np.ndarray
) -> tuple[Float[np.ndarray, " M"], Float[np.ndarray, " M"]]:
    """The largest probability of every labelled clip, and 1 where its class is the label."""
    known = labels >= 0
    probabilities, labels = probabilities[known], labels[known]
    right = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    return probabilities.max(axis=1).astype(np.float64), right


def _bins(confidence: np.ndarray, bins: int) -> Int[np.ndarray, " M"]:
    return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)


def estimate(
    labels: Int[np.ndarray, " N"],
    predictions: Int[np.ndarray, " N"] | Int[np.ndarray, "R N"],
    subjects: Shaped[np.ndarray, " N"],
    metric: Metric,
    *,
    classes: int,
) -> Estimate:
    """A metric with its t interval over subjects (`statistics.t_interval`).

    R predictions of each clip (seeds or networks) are averaged inside a subject, so R does not
    make the interval narrower than its subjects allow. A single subject has no interval.

    Raises:
        ValueError: shapes differ, or no clip has a label.
    """
    value, of_people = by_person(labels, predictions, subjects, metric, classes=classes)
    return statistics.share_estimate(value, of_people)


def paired_difference(
    labels: Int[np.ndarray, " N"],
    predictions_a: Int[np.ndarray, " N"] | Int[np.ndarray, "R N"],
    predictions_b: Int[np.ndarray, " N"] | Int[np.ndarray, "R N"],
    subjects: Shaped[np.ndarray, " N"],
    metric: Metric,
    *,
    classes: int,
) -> PairedDifference:
    """Metric of a minus metric of b on the same clips: t interval and sign-flip p over subjects.

    Raises:
        ValueError: shapes differ (a and b need as many predictions a clip), or no clip has a label.
    """
    if predictions_a.shape != predictions_b.shape:
        raise ValueError(f"predictions of {predictions_a.shape} and {predictions_b.shape}")
    a, people_a = by_person(labels, predictions_a, subjects, metric, classes=classes)
    b, people_b = by_person(labels, predictions_b, subjects, metric, classes=classes)
    return statistics.paired_difference(a - b, people_a - people_b)


def by_person(
    labels: Int[np.ndarray, " N"],
    predictions: Int[np.ndarray, " N"] | Int[np.ndarray, "R N"],
    subjects: Shaped[np.ndarray, " N"],
    metric: Metric,
    *,
    classes: int,
) -> tuple[float, Float[np.ndarray, " P"]]:
    """The metric, and the jackknife pseudo-value of every subject that has a label, sorted.

        pseudo_s = P metric(everybody) - (P - 1) metric(everybody but s)

    Tukey 1958; Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 11.5. Where
    everybody has as many clips of each class, the pseudo-value of UAR is the UAR of s alone. Of R
    predictions the mean.

    Raises:
        ValueError: shapes differ, or no clip has a label.
    """
    matrices = _subject_matrices(labels, predictions, subjects, classes)
    people = matrices.shape[1]
    everybody = matrices.sum(axis=1)  # [R, K, K]
    value = float(np.mean(metric(everybody)))
    if people == 1:
        return value, np.array([value])
    without = np.mean(metric(everybody[:, None] - matrices), axis=0)
    return value, people * value - (people - 1) * without


def _mean_ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Mean over the last axis of numerator / denominator where the latter is not 0, else NaN."""
    present = denominator > 0
    ratios = np.divide(numerator, denominator, out=np.zeros_like(numerator), where=present)
    count = present.sum(axis=-1).astype(np.float64)
    total = ratios.sum(axis=-1)
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def _subject_matrices(
    labels: np.ndarray, predictions: np.ndarray, subjects: np.ndarray, classes: int
) -> Float[np.ndarray, "R S K K"]:
    """One confusion matrix for each of the R predictions and each subject that has a label."""
    predictions = np.atleast_2d(predictions)
    if predictions.shape[1:] != labels.shape or subjects.shape != labels.shape:
        raise ValueError(
            f"labels {labels.shape}, subjects {subjects.shape}, predictions {predictions.shape}"
        )
    known = labels >= 0
    if not known.any():
        raise ValueError("no clip has a label")
    people, person = np.unique(subjects[known], return_inverse=True)
    # The person as the first digit of the class index: one count for all of them.
    matrices = np.zeros((len(predictions), len(people), classes, classes))
    for matrix, predicted in zip(matrices, predictions[:, known], strict=True):
        confusion_matrix(labels[known], predicted, classes)  # checks the classes
        np.add.at(matrix, (person, labels[known], predicted), 1.0)
    return matrices
