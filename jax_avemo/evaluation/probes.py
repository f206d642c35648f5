"""Probes of identity and emotion on frozen embeddings, and speaker verification."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy.linalg import eigh
from sklearn.covariance import ledoit_wolf
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from jax_avemo.evaluation.results import ProbeResult, VerificationResult

_INNER_FOLDS = 3
_SHUFFLES = 5
_BOOTSTRAP_SAMPLES = 2000


def _logistic(regularisation: float, seed: int) -> Any:
    return LogisticRegression(C=regularisation, max_iter=300, tol=1e-3, random_state=seed)


def _mlp(regularisation: float, seed: int) -> Any:
    return MLPClassifier(
        (64,), alpha=regularisation, max_iter=150, tol=1e-3, n_iter_no_change=5, random_state=seed
    )


@dataclass(frozen=True)
class _Kind:
    build: Callable[[float, int], Any]
    regularisations: tuple[float, ...]
    """Strongest first: of equals the simplest is taken."""


PROBES: dict[str, _Kind] = {
    "linear": _Kind(_logistic, (1e-4, 1e-3, 1e-2, 1e-1, 1.0)),
    "mlp": _Kind(_mlp, (10.0, 1.0, 0.1)),
}


def probe(
    train_x: Float[np.ndarray, "N D"],
    train_y: Shaped[np.ndarray, " N"],
    test_x: Float[np.ndarray, "M D"],
    test_y: Shaped[np.ndarray, " M"],
    *,
    seed: int,
    groups: Shaped[np.ndarray, " N"] | None = None,
    kind: str = "linear",
) -> ProbeResult:
    """Train a classifier of `y` on frozen embeddings and test it on clips held out from it.

    "linear": multinomial logistic regression, L2 (Alain and Bengio, arXiv 1610.01644). "mlp": one
    hidden layer of 64. Embeddings are standardised by the training part; the regularisation is
    chosen by 3 inner folds of the training part alone (clips of one `groups` value stay together:
    give the take, so that its two intensities do not meet). Where the rarest class has fewer
    than 2 groups no inner folds exist, and the middle value is used.

    A test class that training lacks counts as missed. Chance is 1 / classes; the floor shows what
    the probe makes of shuffled training labels.

    Raises:
        ValueError: lengths differ, fewer than two training classes, or no test clip.
    """
    _check_clips(train_x, train_y, test_x, test_y)
    classes, encoded = np.unique(train_y, return_inverse=True)
    chosen = PROBES[kind]
    generator = np.random.default_rng(seed)
    # Matrices so small are multiplied faster by one thread: a logistic probe by 2 of them took
    # ten times as long beside a training, an MLP 1.7 times.
    with threadpool_limits(1, "blas"):
        train_z, test_z = _rotate(*_standardise(train_x, test_x))
        regularisation = _choose_regularisation(train_z, encoded, groups, chosen, seed)

        def hits(labels: np.ndarray) -> np.ndarray:
            predicted = _fit(chosen.build(regularisation, seed), train_z, labels).predict(test_z)
            return classes[predicted] == test_y

        value, low, high = _balanced_accuracy(hits(encoded), test_y, generator)
        floors = [
            _balanced_accuracy(hits(generator.permutation(encoded)), test_y, None)[0]
            for _ in range(_SHUFFLES)
        ]
    return ProbeResult(
        balanced_accuracy=value,
        low=low,
        high=high,
        chance=1.0 / len(classes),
        shuffled_floor=float(np.mean(floors)),
        classes=len(classes),
        train_clips=len(train_y),
        test_clips=len(test_y),
        regularisation=regularisation,
    )


def _check_clips(
    train_x: np.ndarray, train_y: np.ndarray, test_x: np.ndarray, test_y: np.ndarray
) -> None:
    if len(train_x) != len(train_y) or len(test_x) != len(test_y):
        raise ValueError(
            f"train {len(train_x)} embeddings, {len(train_y)} labels; "
            f"test {len(test_x)} embeddings, {len(test_y)} labels"
        )
    if (classes := len(np.unique(train_y))) < 2 or len(test_y) == 0:
        raise ValueError(
            f"a probe needs two training classes and a test clip, has {classes} classes "
            f"and {len(test_y)} test clips"
        )


def leakage(
    embeddings: Mapping[str, Float[np.ndarray, "N D"]],
    targets: Mapping[str, Shaped[np.ndarray, " N"]],
    train: Bool[np.ndarray, " N"],
    test: Bool[np.ndarray, " N"],
    *,
    seed: int,
    groups: Shaped[np.ndarray, " N"] | None = None,
    kinds: Sequence[str] = ("linear",),
    after_each: Callable[[], object] = lambda: None,
) -> dict[str, dict[str, dict[str, ProbeResult]]]:
    """Every probe of every target on every embedding: result[embedding][target][kind].

    Clips are those of one network (never pool over networks). `targets` such as
    {"identity": subjects, "emotion": emotions}; the masks say which clips train and test the
    probes, for training subjects a split's `train` and `probe`. Where the clips do not suffice
    (fewer than two training classes, no test clip) a target's dict is empty. `after_each` is called
    as often as there are embeddings, targets and kinds.
    """
    found: dict[str, dict[str, dict[str, ProbeResult]]] = {}
    for name, x in embeddings.items():
        found[name] = {target: {} for target in targets}
        for target, y in targets.items():
            possible = test.any() and len(np.unique(y[train])) > 1
            for kind in kinds:
                if possible:
                    found[name][target][kind] = probe(
                        x[train],
                        y[train],
                        x[test],
                        y[test],
                        seed=seed,
                        groups=None if groups is None else groups[train],
                        kind=kind,
                    )
                after_each()
    return found


def equal_error_rate(scores: Float[np.ndarray, " P"], same: Bool[np.ndarray, " P"]) -> float:
    """Where false acceptances (different, score >= t) equal false rejections (same, score < t).

    Both rates are read at every distinct score and joined by straight lines; the crossing is the
    equal error rate (ISO/IEC 19795-1). Higher score = more alike.

    Raises:
        ValueError: one of the two kinds of pairs is missing.
    """
    genuine, impostor = np.sort(scores[same]), np.sort(scores[~same])
    if len(genuine) == 0 or len(impostor) == 0:
        raise ValueError(f"{len(genuine)} genuine and {len(impostor)} impostor pairs: need both")
    thresholds = np.append(np.unique(scores), np.inf)
    rejected = np.searchsorted(genuine, thresholds, side="left") / len(genuine)
    accepted = 1.0 - np.searchsorted(impostor, thresholds, side="left") / len(impostor)
    # gap falls from 1 (everything accepted) to -1 (everything rejected).
    gap = accepted - rejected
    after = int(np.argmax(gap <= 0.0))
    before = after - 1
    way = gap[before] / (gap[before] - gap[after])
    return float(rejected[before] + way * (rejected[after] - rejected[before]))


def verification_eer(
    embeddings: Float[np.ndarray, "N D"],
    subjects: Shaped[np.ndarray, " N"],
    emotions: Shaped[np.ndarray, " N"],
    statements: Shaped[np.ndarray, " N"] | None,
    sexes: Shaped[np.ndarray, " N"] | None = None,
) -> VerificationResult:
    """Can two clips be told to be of one person, by the cosine of their embeddings?

    Subtract the training clips' mean first, or a common offset makes every cosine near 1. Pairs as
    in `verify`.
    """
    length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit = embeddings / np.maximum(length, 1e-12)
    return verify(np.asarray(unit @ unit.T, np.float64), subjects, emotions, statements, sexes)


def verify(
    scores: Float[np.ndarray, "N N"],
    subjects: Shaped[np.ndarray, " N"],
    emotions: Shaped[np.ndarray, " N"],
    statements: Shaped[np.ndarray, " N"] | None,
    sexes: Shaped[np.ndarray, " N"] | None = None,
) -> VerificationResult:
    """Can two clips be told to be of one person, by a score of every pair (higher = one person)?

    All pairs that differ in emotion *and* in statement (None: the corpus has none, pairs differ in
    emotion only), so that neither what is felt nor what is said helps.
    """
    first, second = np.triu_indices(len(scores), k=1)
    admitted = emotions[first] != emotions[second]
    if statements is not None:
        admitted &= statements[first] != statements[second]
    first, second = first[admitted], second[admitted]
    of_pairs = scores[first, second]
    same = subjects[first] == subjects[second]
    alike = np.zeros(len(same), bool)
    if sexes is not None:
        alike = (sexes[first] == sexes[second]) & (sexes[first] != "")
    return VerificationResult(
        equal_error_rate=_error_rate_if_any(of_pairs, same),
        equal_error_rate_same_sex=_error_rate_if_any(of_pairs[alike], same[alike]),
        genuine_pairs=int(same.sum()),
        impostor_pairs=int((~same).sum()),
    )


def plda_scores(
    train_x: Float[np.ndarray, "N D"],
    train_subjects: Shaped[np.ndarray, " N"],
    x: Float[np.ndarray, "M D"],
) -> Float[np.ndarray, "M M"]:
    """Log p(pair | one person) / p(pair | two people), by an attacker who knows other people.

        clip = person + rest,   person ~ N(mean, B),   rest ~ N(0, W)

    Probabilistic linear discriminant analysis (Ioffe, ECCV 2006). In the axes where W = 1 and
    B = psi (a discriminant analysis of the training subjects), a pair a, b scores

        sum_k log((psi + 1) / sqrt(2 psi + 1))
              + (a^2 + b^2) / (2 (psi + 1)) - ((psi + 1)(a^2 + b^2) - 2 psi a b) / (2 (2 psi + 1))

    W is the pooled covariance within subjects, shrunk (Ledoit and Wolf 2004) because there are
    fewer clips than it needs; psi is the variance of the subjects' means less what their finite
    number of clips gives them, at least 0. Give the result to `verify`.

    Raises:
        ValueError: fewer than two training subjects, or none with two clips.
    """
    train_z, z = _rotate(*_standardise(train_x, x))
    people, person, clips = np.unique(train_subjects, return_inverse=True, return_counts=True)
    if len(people) < 2 or np.max(clips) < 2:
        raise ValueError(
            f"an attacker needs two training subjects and two clips of one, has {len(people)} "
            f"subjects with up to {np.max(clips, initial=0)}"
        )
    means = np.stack([train_z[person == number].mean(axis=0) for number in range(len(people))])
    within = ledoit_wolf(train_z - means[person], assume_centered=True)[0]
    within *= len(train_z) / (len(train_z) - len(people))  # a mean each was taken out
    if not within.any():
        return np.zeros((len(z), len(z)))  # a collapsed embedding says nothing of any pair
    between = np.atleast_2d(np.cov(means, rowvar=False))
    variances, axes = eigh(between, within)
    psi = np.maximum(variances - np.mean(1.0 / clips), 0.0)
    y = (z - means.mean(axis=0)) @ axes
    squares = np.square(y) @ (0.5 / (psi + 1.0) - 0.5 * (psi + 1.0) / (2.0 * psi + 1.0))
    products = (y * (psi / (2.0 * psi + 1.0))) @ y.T
    constant = np.sum(np.log((psi + 1.0) / np.sqrt(2.0 * psi + 1.0)))
    return constant + squares[:, None] + squares[None, :] + products


def _error_rate_if_any(scores: np.ndarray, same: np.ndarray) -> float | None:
    return equal_error_rate(scores, same) if same.any() and not same.all() else None


def _standardise(train_x: np.ndarray, test_x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = train_x.mean(axis=0, dtype=np.float64)
    deviation = train_x.std(axis=0, dtype=np.float64)
    # A constant feature says nothing; dividing rounding noise by its own size would make it speak.
    scale = np.where(deviation > 1e-6 * max(float(np.max(deviation)), 1e-12), deviation, np.inf)
    return (train_x - mean) / scale, (test_x - mean) / scale


def _rotate(train_z: np.ndarray, test_z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn into the axes the training clips span; drop the rest.

    Exact for the linear probe (with an L2 penalty the weights lie in that span), and it makes 2048
    features of 165 clips as cheap as 165.
    """
    if train_z.shape[1] <= train_z.shape[0]:
        return train_z, test_z
    _, _, axes = np.linalg.svd(train_z, full_matrices=False)
    return train_z @ axes.T, test_z @ axes.T


def _choose_regularisation(
    z: np.ndarray, labels: np.ndarray, groups: np.ndarray | None, kind: _Kind, seed: int
) -> float:
    groups = np.arange(len(labels)) if groups is None else groups
    smallest = min(len(np.unique(groups[labels == label])) for label in np.unique(labels))
    folds = min(_INNER_FOLDS, smallest)
    if folds < 2:
        return kind.regularisations[len(kind.regularisations) // 2]
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    parts = list(splitter.split(z, labels, groups))
    scores = []
    for regularisation in kind.regularisations:
        right = np.zeros(len(labels), bool)
        for inner_train, inner_test in parts:
            model = _fit(kind.build(regularisation, seed), z[inner_train], labels[inner_train])
            right[inner_test] = model.predict(z[inner_test]) == labels[inner_test]
        scores.append(_balanced_accuracy(right, labels, None)[0])
    return kind.regularisations[int(np.argmax(scores))]


def _fit(model: Any, z: np.ndarray, labels: np.ndarray) -> Any:
    with warnings.catch_warnings():
        # Stopping early is a form of regularisation here, and the inner folds evaluate the result.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(z, labels)


def _balanced_accuracy(
    right: np.ndarray, labels: np.ndarray, generator: np.random.Generator | None
) -> tuple[float, float, float]:
    """Mean recall over the classes present; with a generator, its 95 % interval over clips."""
    _, encoded = np.unique(labels, return_inverse=True)
    members = np.eye(int(np.max(encoded)) + 1)[encoded]

    def value(weights: np.ndarray) -> np.ndarray:
        count = weights @ members
        recall = (weights @ (members * right[:, None])) / np.maximum(count, 1.0)
        return recall.sum(axis=1) / (count > 0).sum(axis=1)

    plain = float(value(np.ones((1, len(labels))))[0])
    if generator is None:
        return plain, plain, plain
    share = np.full(len(labels), 1.0 / len(labels))
    drawn = generator.multinomial(len(labels), share, size=_BOOTSTRAP_SAMPLES).astype(float)
    low, high = np.quantile(value(drawn), [0.025, 0.975])
    return plain, float(low), float(high)
