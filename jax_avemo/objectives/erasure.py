"""The linear map that takes the subject out of an embedding, in closed form."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Shaped

SHRINKAGE = 0.05
"""How far the covariance that says what is a small change is drawn to a multiple of I."""


def erasing_projection(
    z: Float[np.ndarray, "N D"],
    subjects: Shaped[np.ndarray, " N"],
    emotions: Shaped[np.ndarray, " N"],
    shrinkage: float = SHRINKAGE,
) -> tuple[Float[np.ndarray, " D"], Float[np.ndarray, "D D"]]:
    """m and P such that z - P (z - m) tells nothing linear of the subject beyond the emotion.

        X, S = z and onehot(subject), less their means over the rows of each emotion
        C = (1 - s) X^T X / N + s tr(X^T X / N) I / D
        U = left singular vectors of C^-1/2 X^T S whose singular values are not 0
        P = C^1/2 U U^T C^-1/2,    m = mean of z

    Then (I - P) X^T S = 0, so that a linear probe that knows the emotion explains no variance of
    the subject in these rows; with s = 0 no other map that does so changes z less, in the sense of
    C: least-squares concept erasure (LEACE; Belrose et al., NeurIPS 2023, arXiv 2306.03819), with
    the means of each emotion in the place of one mean. Where emotion and subject depend on each
    other, one mean would have emotion erased with the subject.

    With S subjects S - 1 directions go. At most half of the D are taken, those that tell most.

    Args:
      z: embeddings.
      subjects, emotions: of every row, known.
      shrinkage: s; keeps C from being singular where there are few rows.
    """
    width = z.shape[1]
    z = z.astype(np.float64)
    subject = _one_hot(subjects)
    residual = _within(z, emotions)
    cross = residual.T @ _within(subject, emotions)
    covariance = residual.T @ residual / len(z)
    scale = np.trace(covariance) / width
    mean = z.mean(axis=0)
    if scale == 0.0:
        return mean, np.zeros((width, width))
    values, axes = np.linalg.eigh((1 - shrinkage) * covariance + shrinkage * scale * np.eye(width))
    root = np.sqrt(np.maximum(values, 1e-12 * values.max()))
    directions, told, _ = np.linalg.svd((axes / root) @ axes.T @ cross, full_matrices=False)
    many = min(int(np.sum(told > 1e-9 * max(told[0], 1e-300))), width // 2)
    erased = directions[:, :many]
    return mean, (axes * root) @ axes.T @ erased @ erased.T @ (axes / root) @ axes.T


def _within(x: np.ndarray, groups: Sequence[object] | np.ndarray) -> np.ndarray:
    members = _one_hot(groups)
    return x - members @ ((members.T @ x) / members.sum(axis=0)[:, None])


def _one_hot(labels: Sequence[object] | np.ndarray) -> np.ndarray:
    _, numbers = np.unique(np.asarray(labels), return_inverse=True)
    return np.eye(numbers.max() + 1)[numbers]
