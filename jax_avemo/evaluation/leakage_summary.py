"""Summary of a leakage report: the strongest attacker, the floor, the lowest error rate."""

from collections.abc import Mapping

import numpy as np

from jax_avemo.evaluation.results import (
    Attackers,
    AttackResult,
    PairedDifference,
    PeopleAttacked,
    VerificationResult,
)
from jax_avemo.evaluation.statistics import paired_difference

FLOOR = "probabilities"
"""The representation that no emotion embedding can tell less than: the emotion itself."""


def strongest(attackers: Attackers) -> tuple[str, AttackResult]:
    """The attacker with the largest balanced accuracy, chosen on the attacked clips themselves.

    The maximum of five is above what each would reach on new clips: the defender's worst case. The
    floor is chosen in the same way.
    """
    name = max(attackers, key=lambda name: attackers[name].balanced_accuracy)
    return name, attackers[name]


def above_floor(attacked: PeopleAttacked, representation: str = "z_e") -> PairedDifference | None:
    """Strongest attacker on a representation minus the strongest on the emotion probabilities.

    What an emotion embedding gives away beyond its purpose, paired by person. None where either
    was not attacked.
    """
    if not {representation, FLOOR} <= attacked.identity.keys():
        return None
    ours, floor = (
        strongest(attacked.identity[name])[1].by_subject for name in (representation, FLOOR)
    )
    differences = np.array([ours[subject] - floor[subject] for subject in ours])
    return paired_difference(float(differences.mean()), differences)


def lowest_eer(
    verified: Mapping[str, VerificationResult], *, same_sex: bool = False
) -> tuple[str, float] | None:
    """The attacker with the lowest equal error rate, and the rate; None: nothing was measured."""
    rates = {
        name: rate
        for name, found in verified.items()
        if (rate := found.equal_error_rate_same_sex if same_sex else found.equal_error_rate)
        is not None
    }
    if not rates:
        return None
    name = min(rates, key=lambda attacker: rates[attacker])
    return name, rates[name]
