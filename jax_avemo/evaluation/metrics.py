"""Metrics of predictions, their bootstrap intervals over subjects, and paired comparisons.

Metrics are functions of confusion matrices [..., K, K] (rows = true class), so that thousands of
resamples are one matrix product and one call.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int, Shaped

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


def bootstrap_interval(
    labels: Int[np.ndarray, " N"],
    predictions: Int[np.ndarray, " N"] | Int[np.ndarray, "R N"],
    subjects: Shaped[np.ndarray, " N"],
    metric: Metric,
    *,
    classes: int,
    seed: int,
    samples: int = 2000,
    level: float = 0.95,
) -> Estimate:
    """A metric with its percentile bootstrap interval over subjects.

    Clips of one person are alike, so whole subjects are drawn with replacement (Efron and
    Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13; Field and Welsh 2007 for
    clusters). R predictions of each clip (seeds or networks) are averaged inside a resample: the
    mean of the metric over R, so R does not make the interval narrower than its subjects allow.
    A single subject has no interval.

    Raises:
        ValueError: shapes differ, or no clip has a label.
    """
    matrices = _subject_matrices(labels, predictions, subjects, classes)
    drawn = _draws(matrices.shape[1], samples, seed)
    low, high = _percentiles(_mean_metric(matrices, drawn, metric), level)
    everyone = np.ones((1, matrices.shape[1]))
    value = float(_mean_metric(matrices, everyone, metric)[0])
    # One subject drawn again and again says nothing about others.
    return Estimate.of(value, None if matrices.shape[1] == 1 else (low, high))


def paired_difference(
    labels: Int[np.ndarray, " N"],
    predictions_a: Int[np.ndarray, " N"] | Int[np.ndarray, "R N"],
    predictions_b: Int[np.ndarray, " N"] | Int[np.ndarray, "R N"],
    subjects: Shaped[np.ndarray, " N"],
    metric: Metric,
    *,
    classes: int,
    seed: int,
    samples: int = 2000,
    level: float = 0.95,
) -> PairedDifference:
    """Metric of a minus metric of b on the same clips: interval by bootstrap, p by sign flips.

    The interval draws subjects with replacement, the same for a and b. The p value exchanges a and
    b inside a random half of the subjects and counts how often |difference| is at least the one
    seen (Good, Permutation Tests, 2000; Phipson and Smyth 2010 for the + 1 when sampled); where all
    2^subjects exchanges are at most `samples`, they are all done and p is exact.

    Raises:
        ValueError: shapes differ (a and b need as many predictions a clip), or no clip has a label.
    """
    if predictions_a.shape != predictions_b.shape:
        raise ValueError(f"predictions of {predictions_a.shape} and {predictions_b.shape}")
    a = _subject_matrices(labels, predictions_a, subjects, classes)
    b = _subject_matrices(labels, predictions_b, subjects, classes)
    people = a.shape[1]

    def difference(of_a: np.ndarray, of_b: np.ndarray) -> np.ndarray:
        """Weights [S, 2 people] on the matrices of a, then of b."""
        both = np.concatenate([a, b], axis=1)
        return _mean_metric(both, of_a, metric) - _mean_metric(both, of_b, metric)

    everyone, nobody = np.ones((1, people)), np.zeros((1, people))
    seen = float(difference(np.hstack([everyone, nobody]), np.hstack([nobody, everyone]))[0])

    drawn = _draws(people, samples, seed)
    low, high = _percentiles(_mean_metric(a, drawn, metric) - _mean_metric(b, drawn, metric), level)

    exact = 2**people <= samples
    if exact:
        exchanged = (np.arange(2**people)[:, None] >> np.arange(people)[None, :]) & 1
    else:
        exchanged = np.random.default_rng([seed, 1]).integers(0, 2, (samples, people))
    kept = 1.0 - exchanged
    flipped = difference(np.hstack([kept, exchanged]), np.hstack([exchanged, kept]))
    # Equal up to rounding counts as at least as far: an exchange of nobody must count.
    extreme = int(np.sum(np.abs(flipped) >= abs(seen) - 1e-12))
    p_value = extreme / len(flipped) if exact else (extreme + 1) / (len(flipped) + 1)
    if people == 1:
        return PairedDifference(seen, None, None, p_value)
    return PairedDifference(seen, low, high, p_value)


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


def _mean_metric(
    matrices: Float[np.ndarray, "R S K K"], weights: Float[np.ndarray, "samples S"], metric: Metric
) -> Float[np.ndarray, " samples"]:
    """The metric of every weighting of the subjects, averaged over the R predictions."""
    values = [metric(np.tensordot(weights, matrix, axes=(1, 0))) for matrix in matrices]
    return np.mean(values, axis=0)


def _draws(people: int, samples: int, seed: int) -> Float[np.ndarray, "samples S"]:
    """How often each subject is drawn, in `samples` draws of as many as there are."""
    generator = np.random.default_rng([seed, 0])
    return generator.multinomial(people, np.full(people, 1.0 / people), size=samples).astype(float)


def _percentiles(values: np.ndarray, level: float) -> tuple[float, float]:
    outside = (1.0 - level) / 2.0
    low, high = np.quantile(values, [outside, 1.0 - outside])
    return float(low), float(high)
