"""Probabilistic linear discriminant analysis (Ioffe, ECCV 2006).

    clip = person + rest,   person ~ N(mean, B),   rest ~ N(0, W)

In the axes of a discriminant analysis W = 1 and B = psi, diagonal.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped
from scipy.linalg import eigh
from sklearn.covariance import ledoit_wolf


class Plda(NamedTuple):
    """A fitted model: y = (x - mean) axes has W = 1 and B = psi."""

    mean: Float[np.ndarray, " D"]
    axes: Float[np.ndarray, "D R"]
    psi: Float[np.ndarray, " R"]
    """At least 0; R = 0 where all clips are equal."""


def fit(x: Float[np.ndarray, "N D"], people: Shaped[np.ndarray, " N"]) -> Plda:
    """The model of some people's clips.

    W is the pooled covariance within people, shrunk (Ledoit and Wolf 2004) because there are fewer
    clips than it needs; psi is the variance of the people's means less what their finite number of
    clips gives them, at least 0.

    Raises:
        ValueError: fewer than two people, or none with two clips.
    """
    names, person, clips = np.unique(people, return_inverse=True, return_counts=True)
    if len(names) < 2 or np.max(clips) < 2:
        raise ValueError(
            f"PLDA needs two people and two clips of one, has {len(names)} "
            f"people with up to {np.max(clips, initial=0)}"
        )
    means = np.stack([x[person == number].mean(axis=0) for number in range(len(names))])
    within = ledoit_wolf(x - means[person], assume_centered=True)[0]
    within *= len(x) / (len(x) - len(names))  # a mean each was taken out
    if not within.any():
        return Plda(means.mean(axis=0), np.zeros((x.shape[1], 0)), np.zeros(0))
    between = np.atleast_2d(np.cov(means, rowvar=False))
    variances, axes = eigh(between, within)
    return Plda(means.mean(axis=0), axes, np.maximum(variances - np.mean(1.0 / clips), 0.0))


def pair_scores(model: Plda, x: Float[np.ndarray, "M D"]) -> Float[np.ndarray, "M M"]:
    """Log p(pair | one person) / p(pair | two people) of every pair of clips a, b:

    sum_k log((psi + 1) / sqrt(2 psi + 1))
          + (a^2 + b^2) / (2 (psi + 1)) - ((psi + 1)(a^2 + b^2) - 2 psi a b) / (2 (2 psi + 1))
    """
    psi = model.psi
    y = (x - model.mean) @ model.axes
    squares = np.square(y) @ (0.5 / (psi + 1.0) - 0.5 * (psi + 1.0) / (2.0 * psi + 1.0))
    products = (y * (psi / (2.0 * psi + 1.0))) @ y.T
    constant = np.sum(np.log((psi + 1.0) / np.sqrt(2.0 * psi + 1.0)))
    return constant + squares[:, None] + squares[None, :] + products


def discriminant_axes(model: Plda, x: Float[np.ndarray, "M D"]) -> Float[np.ndarray, "M K"]:
    """The clips in those axes of linear discriminant analysis in which people differ, W = 1."""
    return (x - model.mean) @ model.axes[:, model.psi > 0]


def class_scores(
    model: Plda,
    known_x: Float[np.ndarray, "N D"],
    known_people: Shaped[np.ndarray, " N"],
    x: Float[np.ndarray, "M D"],
) -> tuple[Shaped[np.ndarray, " C"], Float[np.ndarray, "M C"]]:
    """The people, sorted, and log p(clip | the n known clips of a person, with mean m):

    clip ~ N( n psi / (n psi + 1) m,   1 + psi / (n psi + 1) )      in every axis
    """
    psi = model.psi
    y = (x - model.mean) @ model.axes
    known = (known_x - model.mean) @ model.axes
    people = np.unique(known_people)
    scores = []
    for person in people:
        clips = known[known_people == person]
        weight = len(clips) * psi + 1.0
        centre = (len(clips) * psi / weight) * clips.mean(axis=0)
        variance = 1.0 + psi / weight
        scores.append(-0.5 * np.sum(np.log(variance) + np.square(y - centre) / variance, axis=1))
    return people, np.stack(scores, axis=1)
