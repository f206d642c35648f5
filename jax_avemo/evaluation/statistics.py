"""Statistics over people: t intervals, exact sign-flip tests, Holm's correction.

A person is the unit. Clips and networks of one person are averaged before anything here sees them:
more clips or more seeds steady a person's value, they do not make more people.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from jax_avemo.evaluation.results import Bounds, Estimate, PairedDifference

LEVEL = 0.95
MOST_EXACT = 40
"""So many people have 2^40 sign flips, which two sorted halves of 2^20 sums count in a second."""
RANDOM_FLIPS = 100_000
_SEED = 0


def t_interval(
    centre: float, values: Float[np.ndarray, " P"], *, level: float = LEVEL
) -> Bounds | None:
    """Interval of a mean over people: centre -+ t_{P - 1} s / sqrt(P); None for one person.

    `values` are each person's, or the pseudo-values of a metric (`metrics.by_person`), and s is
    their standard deviation. `centre` is their mean, or the metric. At 6, 12 and 24 people it
    covered the truth in 95 % of simulated studies (tests/evaluation/test_statistics.py),
    where a percentile bootstrap at 6 people covered it in 85 %.
    """
    people = len(values)
    if people < 2:
        return None
    half = stdtrit(people - 1, 0.5 + level / 2) * np.std(values, ddof=1) / np.sqrt(people)
    return float(centre - half), float(centre + half)


def share_estimate(value: float, values: Float[np.ndarray, " P"]) -> Estimate:
    """A share in [0, 1] with its t interval over people, cut where no share can be."""
    bounds = t_interval(value, values)
    return Estimate.of(value, None if bounds is None else (max(bounds[0], 0), min(bounds[1], 1)))


def paired_difference(difference: float, differences: Float[np.ndarray, " P"]) -> PairedDifference:
    """A difference with its t interval and its sign-flip p, from every person's own difference."""
    low, high = t_interval(difference, differences) or (None, None)
    return PairedDifference(difference, low, high, sign_flip_p(differences))


def sign_flip_p(differences: Float[np.ndarray, " P"]) -> float:
    """Two-sided p of "the two are exchangeable in every person".

        p = share of the signs e in {-1, 1}^P with | sum_s e_s d_s | >= | sum_s d_s |

    Fisher 1935; Good, Permutation, Parametric and Bootstrap Tests, 2005. Exact for up to
    MOST_EXACT people: the sums of both halves of the people are listed, one list is sorted, and
    each sum of the other finds by bisection how many of it are as far. Beyond, RANDOM_FLIPS random
    flips with seed 0, and (found + 1) / (tried + 1) (Phipson and Smyth 2010). The smallest p of P
    people is 2^(1 - P).
    """
    d = np.asarray(differences, np.float64)
    # Equal up to rounding is as far: the flip of nothing must count.
    reach = abs(d.sum()) - 1e-9 * np.abs(d).sum()
    if len(d) > MOST_EXACT:
        generator = np.random.default_rng(_SEED)
        sums = np.zeros(RANDOM_FLIPS)
        for value in d:
            sums += value * generator.choice([-1.0, 1.0], size=RANDOM_FLIPS)
        return float((np.sum(np.abs(sums) >= reach) + 1) / (RANDOM_FLIPS + 1))
    half = len(d) // 2
    first, second = _signed_sums(d[:half]), np.sort(_signed_sums(d[half:]))
    below = np.searchsorted(second, -reach - first, side="right")
    above = len(second) - np.searchsorted(second, reach - first, side="left")
    # Where nothing differs, reach is 0 and a sum of 0 would be counted on both sides.
    return min(1.0, float((below + above).sum() / (len(first) * len(second))))


def _signed_sums(values: Float[np.ndarray, " H"]) -> Float[np.ndarray, " S"]:
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums - value, sums + value])
    return sums


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """p values of one table, adjusted so that any false one among them has probability <= alpha.

        adjusted_(i) = max over j <= i of min(1, (m - j + 1) p_(j)),    p_(1) <= ... <= p_(m)

    Holm, A simple sequentially rejective multiple test procedure, 1979. In the given order.
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1.0)
    return tuple(adjusted.tolist())
