"""The linear map that takes a label out of an embedding, and the head that reads the rest."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Shaped

SHRINKAGE = 0.05
"""How far the covariance that says what is a small change is drawn to a multiple of I."""
PERMUTATIONS = 50
"""Draws of what chance alone tells."""
_NEVER = 1e3
"""Logits by which a class that was never seen is behind."""


def erasing_projection(
    z: Float[np.ndarray, "N D"],
    erased: Shaped[np.ndarray, " N"],
    given: Shaped[np.ndarray, " N"],
    *,
    shrinkage: float = SHRINKAGE,
    permutations: int = PERMUTATIONS,
) -> tuple[Float[np.ndarray, " D"], Float[np.ndarray, "D D"]]:
    """m and P such that z - P (z - m) tells nothing linear of one label beyond another.

        X, S = z and onehot(erased), less their means over the rows of each given label
        C = (1 - s) X^T X / N + s tr(X^T X / N) I / D
        U = left singular vectors of C^-1/2 X^T S (S^T S)^-1/2 that tell more than chance
        P = C^1/2 U U^T C^-1/2,    m = mean of z

    The singular values are canonical correlations (Hotelling 1936). A direction tells more than
    chance where its own exceeds 95 % of the largest ones found with the erased labels dealt anew
    among the rows of each given label (parallel analysis: Horn, Psychometrika 1965): to erase what
    is noise costs what else lies there. At most half of the D are taken.

    With `permutations` = 0 every direction goes that tells anything. Then (I - P) X^T S = 0, so
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

    def correlations(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        members = _within(_one_hot(labels), given)
        spread, turned = np.linalg.eigh(members.T @ members)
        known = spread > 1e-9 * max(spread[-1], 1e-300)
        scaled = turned[:, known] / np.sqrt(spread[known])
        left, told, _ = np.linalg.svd(whitened.T @ members @ scaled, full_matrices=False)
        return left, told / np.sqrt(len(z))

    directions, told = correlations(erased)
    by_chance = 1e-9
    if permutations and len(told):
        rng = np.random.default_rng(0)
        largest = [correlations(_dealt_anew(erased, given, rng))[1][0] for _ in range(permutations)]
        by_chance = max(by_chance, float(np.quantile(largest, 0.95)))
    many = min(int(np.sum(told > by_chance)), width // 2)
    taken = directions[:, :many]
    return mean, (axes * root) @ axes.T @ taken @ taken.T @ (axes / root) @ axes.T


def _dealt_anew(
    labels: Shaped[np.ndarray, " N"], given: Shaped[np.ndarray, " N"], rng: np.random.Generator
) -> Shaped[np.ndarray, " N"]:
    dealt = labels.copy()
    for one in np.unique(given):
        rows = given == one
        dealt[rows] = rng.permutation(dealt[rows])
    return dealt


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
    present = np.unique(labels)
    means = np.stack([z[labels == label].mean(axis=0) for label in present])
    reading = np.linalg.solve(covariance + ridge * scale * np.eye(z.shape[1]), means.T)
    bias = -0.5 * np.sum(means.T * reading, axis=0)
    kernel = np.zeros((z.shape[1], classes))
    biases = np.full(classes, (bias - bias.mean()).min() - _NEVER)
    kernel[:, present] = reading - reading.mean(axis=1, keepdims=True)
    biases[present] = bias - bias.mean()
    return kernel, biases


def _within(x: np.ndarray, groups: Sequence[object] | np.ndarray) -> np.ndarray:
    members = _one_hot(groups)
    return x - members @ ((members.T @ x) / members.sum(axis=0)[:, None])


def _one_hot(labels: Sequence[object] | np.ndarray) -> np.ndarray:
    _, numbers = np.unique(np.asarray(labels), return_inverse=True)
    return np.eye(numbers.max() + 1)[numbers]
