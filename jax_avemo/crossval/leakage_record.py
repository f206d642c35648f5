"""Identity leakage of an experiment over all its networks: people are the unit."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jax_avemo.evaluation.compare import CellKey
from jax_avemo.evaluation.leakage_summary import FLOOR
from jax_avemo.evaluation.results import (
    Attackers,
    Bounds,
    Enrolled,
    Estimate,
    Leakage,
    PairedDifference,
    PeopleAttacked,
)
from jax_avemo.evaluation.statistics import paired_difference, share_estimate, t_interval


@dataclass(frozen=True)
class Attack:
    """What is read from which representation, of whose clips."""

    people: str
    """"unseen" (test subjects) or "known" (held-out clips of the training subjects)."""
    representation: str
    """As in `PeopleAttacked.identity`."""
    target: str
    """"identity" or "emotion"."""

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.people}: {self.target} from {self.representation}"


IDENTITY_IN_Z_E = Attack("unseen", "z_e", "identity")
IDENTITY_FLOOR = Attack("unseen", FLOOR, "identity")


@dataclass(frozen=True)
class AttackSummary:
    """One attack by the strongest attacker, which is one for all networks."""

    attack: Attack
    strongest: str
    value: float
    """Balanced accuracy: mean over people, networks averaged inside."""
    interval: Bounds | None
    """95 % t interval over people; None where the people's own figures were not kept."""
    shuffled: float | None
    chance: float
    """Mean over the networks."""
    by_attacker: dict[str, float]
    by_subject: dict[str, float]
    """By the strongest attacker; empty where only figures of networks were kept."""

    @property
    def estimate(self) -> Estimate:
        """With its interval."""
        return Estimate.of(self.value, self.interval)


@dataclass(frozen=True)
class EerSummary:
    """Equal error rate of one attacker on unseen people."""

    representation: str
    attacker: str
    """"cosine", "lda" or "plda"."""
    same_sex: bool
    value: float
    """Mean over folds, seeds averaged inside."""
    interval: Bounds | None
    """95 % t interval over folds, whose people differ."""
    by_fold: dict[str, float]

    @property
    def estimate(self) -> Estimate:
        """With its interval."""
        return Estimate.of(self.value, self.interval)


@dataclass(frozen=True, kw_only=True)
class LeakageSummary:
    """All attacks on an experiment."""

    attacks: tuple[AttackSummary, ...] = ()
    verification: tuple[EerSummary, ...] = ()
    above_floor: PairedDifference | None = None
    """Strongest attacker on z_e minus the strongest on the emotion probabilities, unseen people."""
    not_measured: tuple[str, ...] = ()

    def of(self, attack: Attack) -> AttackSummary | None:
        """One attack; None where it was not measured."""
        return next((found for found in self.attacks if found.attack == attack), None)

    def lowest_eer(self, representation: str, *, same_sex: bool = False) -> EerSummary | None:
        """The attacker with the lowest equal error rate; None where nothing was measured."""
        found = [
            one
            for one in self.verification
            if (one.representation, one.same_sex) == (representation, same_sex)
        ]
        return min(found, key=lambda one: one.value, default=None)


@dataclass(frozen=True)
class AttackDifference:
    """How much more the strongest attacker reads of one experiment than of another."""

    attack: Attack
    difference: PairedDifference


def summarise_leakage(found: Mapping[CellKey, Leakage]) -> LeakageSummary:
    """Every attack over the networks that were attacked."""
    parts: dict[str, list[PeopleAttacked]] = {"unseen": [], "known": []}
    for leakage in found.values():
        for name, attacked in (("unseen", leakage.unseen), ("known", leakage.known)):
            if attacked is not None:
                parts[name].append(attacked)
    attacks = []
    for name, networks in parts.items():
        for target in ("identity", "emotion"):
            of_target = [getattr(network, target) for network in networks]
            chance = [getattr(network, f"{target}_chance") for network in networks]
            for representation in dict.fromkeys(key for one in of_target for key in one):
                measured = [one[representation] for one in of_target if representation in one]
                attack = Attack(name, representation, target)
                attacks.append(summarise_attack(attack, measured, statistics.mean(chance)))
    summary = LeakageSummary(
        attacks=tuple(attacks),
        verification=_verification(found),
        not_measured=tuple(
            dict.fromkeys(reason for one in found.values() for reason in one.not_measured)
        ),
    )
    ours, floor = summary.of(IDENTITY_IN_Z_E), summary.of(IDENTITY_FLOOR)
    beyond = difference_of(ours, floor) if ours and floor else None
    return LeakageSummary(
        attacks=summary.attacks,
        verification=summary.verification,
        above_floor=beyond,
        not_measured=summary.not_measured,
    )


def summarise_attack(attack: Attack, networks: Sequence[Attackers], chance: float) -> AttackSummary:
    """A person's figure is the mean over the networks that person was attacked in.

    The strongest attacker is the one with the largest mean over people: one for all networks.
    """
    people = {
        name: _mean_by_key([one[name].by_subject for one in networks if name in one])
        for name in dict.fromkeys(name for one in networks for name in one)
    }
    by_attacker = {name: statistics.mean(found.values()) for name, found in people.items()}
    best = max(by_attacker, key=lambda name: by_attacker[name])
    values = np.array(list(people[best].values()))
    estimate = share_estimate(float(values.mean()), values)
    return AttackSummary(
        attack=attack,
        strongest=best,
        value=estimate.value,
        interval=estimate.bounds,
        shuffled=statistics.mean(one[best].shuffled for one in networks if best in one),
        chance=chance,
        by_attacker=by_attacker,
        by_subject=people[best],
    )


@dataclass(frozen=True, kw_only=True)
class EnrolmentSummary:
    """An experiment at one number of enrolment clips, over all its networks."""

    clips: int
    uar: float
    """Mean over people of each one's UAR, networks averaged inside."""
    uar_interval: Bounds | None
    uar_by_subject: dict[str, float]
    leakage: LeakageSummary

    @property
    def estimate(self) -> Estimate:
        """UAR with its interval."""
        return Estimate.of(self.uar, self.uar_interval)


def summarise_enrolment(
    found: Mapping[CellKey, Sequence[Enrolled]],
) -> tuple[EnrolmentSummary, ...]:
    """Every number of enrolment clips that was measured."""
    numbers = sorted({one.clips for of_cell in found.values() for one in of_cell})
    summaries = []
    for clips in numbers:
        cells = {
            cell: one for cell, of_cell in found.items() for one in of_cell if one.clips == clips
        }
        people = _mean_by_key([one.uar_by_subject for one in cells.values()])
        values = np.array(list(people.values()))
        estimate = share_estimate(float(values.mean()), values)
        summaries.append(
            EnrolmentSummary(
                clips=clips,
                uar=estimate.value,
                uar_interval=estimate.bounds,
                uar_by_subject=people,
                leakage=summarise_leakage(
                    {
                        cell: Leakage(unseen=one.leakage, known=None, verification={})
                        for cell, one in cells.items()
                    }
                ),
            )
        )
    return tuple(summaries)


def difference_of(a: AttackSummary, b: AttackSummary) -> PairedDifference | None:
    """a minus b, paired by the people of both; None where there are none."""
    shared = sorted(a.by_subject.keys() & b.by_subject.keys())
    if not shared:
        return None
    differences = np.array([a.by_subject[name] - b.by_subject[name] for name in shared])
    return paired_difference(float(differences.mean()), differences)


def compare_leakage(a: LeakageSummary, b: LeakageSummary) -> tuple[AttackDifference, ...]:
    """a minus b of every attack that was measured on both."""
    found = []
    for ours in a.attacks:
        theirs = b.of(ours.attack)
        if theirs and (difference := difference_of(ours, theirs)):
            found.append(AttackDifference(ours.attack, difference))
    return tuple(found)


def _verification(found: Mapping[CellKey, Leakage]) -> tuple[EerSummary, ...]:
    rates: dict[tuple[str, str, bool], dict[int, list[float]]] = {}
    for (fold, _), leakage in sorted(found.items()):
        for representation, attackers in leakage.verification.items():
            for attacker, verified in attackers.items():
                both = (verified.equal_error_rate, verified.equal_error_rate_same_sex)
                for same_sex, rate in zip((False, True), both, strict=True):
                    if rate is not None:
                        of_attack = rates.setdefault((representation, attacker, same_sex), {})
                        of_attack.setdefault(fold, []).append(rate)
    summaries = []
    for (representation, attacker, same_sex), folds in rates.items():
        by_fold = {str(fold): statistics.mean(values) for fold, values in folds.items()}
        values = np.array(list(by_fold.values()))
        mean = float(values.mean())
        summaries.append(
            EerSummary(representation, attacker, same_sex, mean, t_interval(mean, values), by_fold)
        )
    return tuple(summaries)


def _mean_by_key(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {
        key: statistics.mean(one[key] for one in found if key in one)
        for key in sorted({key for one in found for key in one})
    }
