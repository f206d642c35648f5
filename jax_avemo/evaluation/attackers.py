"""Attackers: classifiers that learn to read a label from embeddings, on clips of their own.

Each attacker learns on some clips and is evaluated on others. What it learns on must be clips on
which nothing of the attacked system was fitted; who calls sees to that (`leakage.py`).
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from jax_avemo.evaluation import plda

_INNER_FOLDS = 2


class _Kind(NamedTuple):
    build: Callable[[float, int], Any]
    """(setting, seed) -> a classifier with `fit` and `predict`."""
    settings: tuple[float, ...]
    """Simplest first: of equals the first is taken."""


class _Cosine:
    """The class whose mean makes the smallest angle with the clip."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> "_Cosine":
        self.classes = np.unique(y)
        self.means = _unit(np.stack([x[y == label].mean(axis=0) for label in self.classes]))
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.classes[np.argmax(x @ self.means.T, axis=1)]


class _Neighbours(KNeighborsClassifier):
    """As many neighbours as are asked for, or all clips where there are fewer."""

    n_neighbors: int

    def fit(self, x: np.ndarray, y: np.ndarray) -> "_Neighbours":
        self.n_neighbors = min(self.n_neighbors, len(x))
        return super().fit(x, y)


class _Plda:
    """The class under which probabilistic discriminant analysis finds the clip likeliest."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> "_Plda":
        self.model, self.x, self.y = plda.fit(x, y), x, y
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        classes, log_likelihood = plda.class_scores(self.model, self.x, self.y, x)
        return classes[np.argmax(log_likelihood, axis=1)]


def _mlp(penalty: float, seed: int) -> MLPClassifier:
    # Of a hundred clips L-BFGS makes in 0.05 s what Adam makes in 0.1.
    return MLPClassifier((64,), alpha=penalty, solver="lbfgs", max_iter=60, random_state=seed)


def _linear(c: float, seed: int) -> LogisticRegression:
    return LogisticRegression(C=c, max_iter=300, tol=1e-3, random_state=seed)


def _neighbours(count: float, seed: int) -> KNeighborsClassifier:
    return _Neighbours(round(count), weights="distance", algorithm="brute")


ATTACKERS: dict[str, _Kind] = {
    "linear": _Kind(_linear, (1e-4, 1e-3, 1e-2, 1e-1, 1.0)),
    "mlp": _Kind(_mlp, (1.0, 0.1)),
    "knn": _Kind(_neighbours, (5, 3, 1)),
    "cosine": _Kind(lambda setting, seed: _Cosine(), (0.0,)),
    "plda": _Kind(lambda setting, seed: _Plda(), (0.0,)),
}
"""Multinomial logistic regression (the setting is C); an MLP with a hidden layer of 64 (L2
penalty); nearest neighbours (their number); the cosine to class means; PLDA as a classifier."""


class Guesses(NamedTuple):
    """What an attacker says of clips that it did not learn on."""

    labels: Shaped[np.ndarray, " N"]
    shuffled: Shaped[np.ndarray, " N"]
    """The same after learning on labels dealt at random."""


def cross_attack(
    x: Float[np.ndarray, "N D"],
    y: Shaped[np.ndarray, " N"],
    folds: Int[np.ndarray, " N"],
    *,
    groups: Shaped[np.ndarray, " N"],
    seed: int,
    attackers: Sequence[str] = tuple(ATTACKERS),
) -> dict[str, Guesses]:
    """Every attacker's guess of every clip's label, after learning on the other folds."""
    found = {name: Guesses(np.empty_like(y), np.empty_like(y)) for name in attackers}
    for fold in np.unique(folds):
        learn, attacked = folds != fold, folds == fold
        guesses = attack(
            x[learn], y[learn], x[attacked], groups=groups[learn], seed=seed, attackers=attackers
        )
        for name, of_fold in guesses.items():
            found[name].labels[attacked] = of_fold.labels
            found[name].shuffled[attacked] = of_fold.shuffled
    return found


def attack(
    learn_x: Float[np.ndarray, "N D"],
    learn_y: Shaped[np.ndarray, " N"],
    x: Float[np.ndarray, "M D"],
    *,
    groups: Shaped[np.ndarray, " N"],
    seed: int,
    attackers: Sequence[str] = tuple(ATTACKERS),
) -> dict[str, Guesses]:
    """What every attacker who learnt on `learn_x` says of `x`.

    Embeddings are standardised by the clips that are learnt on and turned into the axes they span.
    An attacker's setting is chosen by 2 inner folds of these clips alone; clips of one `groups`
    value stay together (give the take, so that its two intensities do not meet). Where the rarest
    class has fewer than 2 groups no inner folds exist, and the middle setting is used.

    Raises:
        ValueError: lengths differ, fewer than two classes are learnt, or no class has two clips.
    """
    if len(learn_x) != len(learn_y) or len(learn_x) != len(groups):
        raise ValueError(
            f"{len(learn_x)} embeddings, {len(learn_y)} labels, {len(groups)} groups to learn on"
        )
    if len(np.unique(learn_y)) < 2:
        raise ValueError("an attacker needs two classes to learn")
    shuffled_y = np.random.default_rng(seed).permutation(learn_y)
    # Matrices so small are multiplied faster by one thread: logistic regression by 2 of them took
    # ten times as long beside a training.
    with threadpool_limits(1):
        learn_z, z = rotate(*standardise(learn_x, x))
        parts = _inner_folds(learn_y, groups, seed)
        found = {}
        for name in attackers:
            kind = ATTACKERS[name]
            setting = _choose(kind, learn_z, learn_y, parts, seed)
            found[name] = Guesses(
                _fit(kind.build(setting, seed), learn_z, learn_y).predict(z),
                _fit(kind.build(setting, seed), learn_z, shuffled_y).predict(z),
            )
    return found


def mean_recall(
    right: Bool[np.ndarray, " N"],
    y: Shaped[np.ndarray, " N"],
    subjects: Shaped[np.ndarray, " N"],
) -> dict[str, float]:
    """Of every subject the mean over its classes of the share that was guessed rightly.

    For y = subjects it is the share of the subject's clips that were told to be the subject's.
    """
    return {
        str(subject): float(
            np.mean([right[(subjects == subject) & (y == label)].mean() for label in labels])
        )
        for subject in np.unique(subjects)
        for labels in [np.unique(y[subjects == subject])]
    }


def standardise(
    learn_x: Float[np.ndarray, "N D"], x: Float[np.ndarray, "M D"]
) -> tuple[Float[np.ndarray, "N D"], Float[np.ndarray, "M D"]]:
    """Both less the mean of the first over its deviation; a constant feature becomes 0."""
    mean = learn_x.mean(axis=0, dtype=np.float64)
    deviation = learn_x.std(axis=0, dtype=np.float64)
    # A constant feature says nothing; dividing rounding noise by its own size would make it speak.
    scale = np.where(deviation > 1e-6 * max(float(np.max(deviation)), 1e-12), deviation, np.inf)
    return (learn_x - mean) / scale, (x - mean) / scale


def rotate(
    learn_z: Float[np.ndarray, "N D"], z: Float[np.ndarray, "M D"]
) -> tuple[Float[np.ndarray, "N K"], Float[np.ndarray, "M K"]]:
    """Turned into the axes that the clips learnt on span; the rest is dropped.

    No learner whose penalty or distance is Euclidean can use the rest, and 2048 features of 165
    clips become as cheap as 165.
    """
    if learn_z.shape[1] <= learn_z.shape[0]:
        return learn_z, z
    _, _, axes = np.linalg.svd(learn_z, full_matrices=False)
    return learn_z @ axes.T, z @ axes.T


Part = tuple[np.ndarray, np.ndarray]
"""Indices of the clips to fit on, and of those to choose by."""


def _inner_folds(y: np.ndarray, groups: np.ndarray, seed: int) -> list[Part]:
    smallest = min(len(np.unique(groups[y == label])) for label in np.unique(y))
    folds = min(_INNER_FOLDS, smallest)
    if folds < 2:
        return []
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    return list(splitter.split(y, y, groups))


def _choose(kind: _Kind, z: np.ndarray, y: np.ndarray, parts: Sequence[Part], seed: int) -> float:
    if len(kind.settings) == 1 or not parts:
        return kind.settings[len(kind.settings) // 2]
    scores = []
    for setting in kind.settings:
        right = np.zeros(len(y), bool)
        for fitted, chosen_by in parts:
            model = _fit(kind.build(setting, seed), z[fitted], y[fitted])
            right[chosen_by] = model.predict(z[chosen_by]) == y[chosen_by]
        scores.append(np.mean([right[y == label].mean() for label in np.unique(y)]))
    return kind.settings[int(np.argmax(scores))]


def _fit(model: Any, z: np.ndarray, y: np.ndarray) -> Any:
    with warnings.catch_warnings():
        # Stopping early is a form of regularisation here, and the inner folds evaluate it.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(z, y)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
