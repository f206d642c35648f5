"""Closed-form fit of linear concept erasure and of the emotion head that follows it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.sparse import csr_array

SHRINKAGE = 0.05
"""Weight of the multiple of I in the covariance."""
PERMUTATIONS = 50
"""Permutations of the labels in the parallel analysis."""
_ABSENT_CLASS_MARGIN = 1e3
"""Logits by which a class without clips is below all others."""


def fit_erasure(
    embeddings: Mapping[str, Float[np.ndarray, "N D"]],
    emotions: Int[np.ndarray, " N"],
    subjects: Int[np.ndarray, " N"],
    num_emotions: int,
    trained_head: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arrays of both erasure layers, and the emotion head of what is left of z_e.

    The trained head learned on z_e before erasure. The head that replaces it is the linear
    discriminant of erased z_e, scaled so that its logits have the spread of the trained head's.

    Args:
      embeddings: `z_e` and `z_i` of clips, before erasure.
      emotions, subjects: of every clip, known.
      num_emotions: classes of the head.
      trained_head: kernel and bias.

    Returns:
      {layer: {"mean", "projection"}} and {"kernel", "bias"}, as lists (JSON values).
    """
    z_e, z_i = (embeddings[name].astype(np.float64) for name in ("z_e", "z_i"))
    mean, projection = erasing_projection(z_e, subjects, emotions)
    erased = z_e - (z_e - mean) @ projection.T
    kernel, bias = discriminant_head(erased, emotions, num_emotions)
    trained_kernel, trained_bias = (
        np.asarray(trained_head[name], np.float64) for name in ("kernel", "bias")
    )
    trained_spread = _logit_spread(z_e @ trained_kernel + trained_bias, emotions)
    scale = trained_spread / _logit_spread(erased @ kernel + bias, emotions)
    mean_of_z_i, projection_of_z_i = erasing_projection(z_i, emotions, subjects)
    layers = {
        "identity_erasure": {"mean": mean.tolist(), "projection": projection.tolist()},
        "emotion_erasure": {
            "mean": mean_of_z_i.tolist(),
            "projection": projection_of_z_i.tolist(),
        },
    }
    return layers, {"kernel": (scale * kernel).tolist(), "bias": (scale * bias).tolist()}


def _logit_spread(logits: Float[np.ndarray, "N K"], labels: Int[np.ndarray, " N"]) -> float:
    """Root mean square of a clip's logits about their mean, over the classes that occur."""
    logits = logits[:, np.unique(labels)]
    centred = logits - logits.mean(axis=1, keepdims=True)
    return float(np.sqrt(np.mean(np.square(centred)))) or 1.0


def erasing_projection(
    z: Float[np.ndarray, "N D"],
    erased: Shaped[np.ndarray, " N"],
    given: Shaped[np.ndarray, " N"],
    *,
    shrinkage: float = SHRINKAGE,
    permutations: int = PERMUTATIONS,
) -> tuple[Float[np.ndarray, " D"], Float[np.ndarray, "D D"]]:
    """m and P such that z - P (z - m) has no linear information on one label beyond another.

        X, S = z and onehot(erased), less their means over the rows of each given label
        C = (1 - s) X^T X / N + s tr(X^T X / N) I / D
        U = left singular vectors of C^-1/2 X^T S (S^T S)^-1/2 above chance
        P = C^1/2 U U^T C^-1/2,    m = mean of z

    The singular values are canonical correlations (Hotelling 1936). A direction is above
    chance where its own exceeds 95 % of the largest ones found with the erased labels permuted
    among the rows of each given label (parallel analysis: Horn, Psychometrika 1965): erasing a
    direction of noise loses whatever else it carries. Where more than D / 2 directions are, the
    first D / 2 go whole, and of the others what is orthogonal (in X C^-1/2) to the differences of
    the given labels' means: many people differ in every direction, and so do emotions.

    With `permutations` = 0 every correlated direction is erased. Then (I - P) X^T S = 0, so
    that a linear probe that knows the given label explains no variance of the erased one in these
    rows, and with s = 0 no other map that does so changes z less, in the sense of C: least-squares
    concept erasure (LEACE; Belrose et al., NeurIPS 2023, arXiv 2306.03819), with the means of each
    given label in the place of one mean. Where the two labels depend on each other, one mean would
    have the given label erased with the other.

    Args:
      z: embeddings.
      erased, given: of every row, known.
      shrinkage: s; keeps C from being singular where there are few rows.
      permutations: of the erased labels; the draws are the same each time.
    """
    width = z.shape[1]
    z = z.astype(np.float64)
    residual = _within(z, given)
    covariance = residual.T @ residual / len(z)
    scale = np.trace(covariance) / width
    mean = z.mean(axis=0)
    if scale == 0.0:
        return mean, np.zeros((width, width))
    values, axes = np.linalg.eigh((1 - shrinkage) * covariance + shrinkage * scale * np.eye(width))
    root = np.sqrt(np.maximum(values, 1e-12 * values.max()))
    whitened = residual @ (axes / root) @ axes.T
    labels = np.unique(erased, return_inverse=True)[1]
    scaling = _root_of_inverse(labels, given)
    directions, canonical = _canonical_correlations(whitened, labels, scaling)
    chance = 1e-9
    if permutations and len(canonical):
        rng = np.random.default_rng(0)
        largest = [
            _canonical_correlations(whitened, _permuted_within(labels, given, rng), scaling)[1][0]
            for _ in range(permutations)
        ]
        chance = max(chance, float(np.quantile(largest, 0.95)))
    directions = directions[:, canonical > chance]
    basis = directions[:, : width // 2]
    if directions.shape[1] > width // 2:
        means = (_means(z, given) - mean) @ (axes / root) @ axes.T
        rest = _orthogonal_to(means - means @ basis @ basis.T, directions[:, width // 2 :])
        basis = np.concatenate([basis, rest], axis=1)
    return mean, (axes * root) @ axes.T @ basis @ basis.T @ (axes / root) @ axes.T


def _orthogonal_to(
    rows: Float[np.ndarray, "K D"], directions: Float[np.ndarray, "D R"]
) -> Float[np.ndarray, "D Q"]:
    """An orthonormal basis of what is left of the directions when the span of `rows` is taken."""
    axes, sizes, _ = np.linalg.svd(rows.T, full_matrices=False)
    axes = axes[:, sizes > 1e-9 * sizes[0]]
    left, sizes, _ = np.linalg.svd(directions - axes @ (axes.T @ directions), full_matrices=False)
    return left[:, sizes > 1e-6]


def _root_of_inverse(
    labels: Int[np.ndarray, " N"], given: Shaped[np.ndarray, " N"]
) -> Float[np.ndarray, "L M"]:
    """(S^T S)^-1/2 on the axes where it exists, S as in `erasing_projection`.

    S^T S = diag(n) - sum over given labels g of c_g c_g^T / n_g, with the counts c_g of the erased
    labels there: S itself, rows times people, would be large. Permutations do not change it.
    """
    counts = np.stack(
        [
            np.bincount(labels[given == value], minlength=labels.max() + 1)
            for value in np.unique(given)
        ]
    ).astype(np.float64)
    gram = np.diag(counts.sum(axis=0)) - counts.T @ (counts / counts.sum(axis=1, keepdims=True))
    values, axes = np.linalg.eigh(gram)
    nonzero = values > 1e-9 * max(values[-1], 1e-300)
    return axes[:, nonzero] / np.sqrt(values[nonzero])


def _canonical_correlations(
    whitened: Float[np.ndarray, "N D"],
    labels: Int[np.ndarray, " N"],
    scaling: Float[np.ndarray, "L M"],
) -> tuple[Float[np.ndarray, "D K"], Float[np.ndarray, " K"]]:
    """Directions of whitened embeddings and their correlations with the labels, largest first."""
    # The embeddings have no mean over the rows of a given label, so the labels may keep theirs.
    product = _sums(whitened, labels).T @ scaling
    left, canonical, _ = np.linalg.svd(product, full_matrices=False)
    return left, canonical / np.sqrt(len(whitened))


def _permuted_within(
    labels: Shaped[np.ndarray, " N"], given: Shaped[np.ndarray, " N"], rng: np.random.Generator
) -> Shaped[np.ndarray, " N"]:
    permuted = labels.copy()
    for value in np.unique(given):
        rows = given == value
        permuted[rows] = rng.permutation(permuted[rows])
    return permuted


def discriminant_head(
    z: Float[np.ndarray, "N D"],
    labels: Int[np.ndarray, " N"],
    classes: int,
    ridge: float = 1.0,
) -> tuple[Float[np.ndarray, "D K"], Float[np.ndarray, " K"]]:
    """Kernel and bias of the logits of equally frequent Gaussian classes that share a covariance.

        W = (C + r tr(C) I / D)^-1 M^T,   b_k = - M_k W_k / 2,   M = means, C = covariance within

    Linear discriminant analysis (Fisher 1936), regularised (Friedman, JASA 1989). What the classes
    have in common is left out of W and b. A class without rows is never likely.

    Args:
      labels: of every row, in 0 .. classes - 1.
      ridge: r, of C's mean eigenvalue, above 0.
    """
    z = z.astype(np.float64)
    residual = _within(z, labels)
    covariance = residual.T @ residual / len(z)
    scale = max(np.trace(covariance) / z.shape[1], 1e-12)
    present, means = np.unique(labels), _means(z, labels)
    weights = np.linalg.solve(covariance + ridge * scale * np.eye(z.shape[1]), means.T)
    bias = -0.5 * np.sum(means.T * weights, axis=0)
    kernel = np.zeros((z.shape[1], classes))
    biases = np.full(classes, (bias - bias.mean()).min() - _ABSENT_CLASS_MARGIN)
    kernel[:, present] = weights - weights.mean(axis=1, keepdims=True)
    biases[present] = bias - bias.mean()
    return kernel, biases


def _within(x: np.ndarray, groups: Shaped[np.ndarray, " N"]) -> np.ndarray:
    numbers = np.unique(groups, return_inverse=True)[1]
    return x - _means(x, groups)[numbers]


def _means(x: np.ndarray, groups: Shaped[np.ndarray, " N"]) -> np.ndarray:
    """One row for each group, in the order of `np.unique`."""
    numbers = np.unique(groups, return_inverse=True)[1]
    return _sums(x, numbers) / np.bincount(numbers)[:, None]


def _sums(x: Float[np.ndarray, "N D"], numbers: Int[np.ndarray, " N"]) -> Float[np.ndarray, "L D"]:
    """Of the rows of each number."""
    ones, rows = np.ones(len(x)), np.arange(len(x))
    return csr_array((ones, (numbers, rows))) @ x
