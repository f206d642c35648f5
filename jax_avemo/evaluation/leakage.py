"""Identity leakage of a run: attackers that owe it nothing.

The system (weights, statistics, erasure, heads, temperature, selected step) is fitted on training
and validation clips. Attackers learn on other clips alone: on half of each test subject's, and on
the held-out clips of the training subjects.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from sklearn.model_selection import StratifiedGroupKFold

from jax_avemo.evaluation import person_verification
from jax_avemo.evaluation.attackers import ATTACKERS, cross_attack, mean_recall
from jax_avemo.evaluation.leakage_summary import FLOOR
from jax_avemo.evaluation.predictions import EMBEDDINGS
from jax_avemo.evaluation.results import (
    Attackers,
    AttackResult,
    Leakage,
    PeopleAttacked,
    VerificationResult,
)
from jax_avemo.evaluation.statistics import share_estimate
from jax_avemo.evaluation.trained_network import Trained
from jax_avemo.runtime import multihost
from jax_avemo.runtime.devices import data_mesh
from jax_avemo.runtime.progress import Progress
from jax_avemo.schema import Labels
from jax_avemo.training.train_state import evaluated_variables, example_batch
from jax_avemo.training.train_step import training_programs

RAW = "raw features"
UNTRAINED = ("untrained z", "untrained z_e")
EMOTION_READ_FROM = ("z", "z_i", "untrained z")
"""Of unseen people."""
OF_KNOWN = ("z", "z_e", "z_i", FLOOR)
"""Attacked on known people; the other representations are references for unseen ones."""
FEWEST_TAKES = 4
"""Of a person, to be attacked: at least two on each side of a half."""
KNOWN_FOLDS = 3
MOST_ATTACKED = 2000
"""Clips that are attacked, and of which every pair is verified: both grow faster than the clips."""
FEWEST_OF_A_PERSON = 20
"""Clips that a person keeps when not all are attacked, if it has them."""
_SMALLEST_PROBABILITY = 1e-12


class People(NamedTuple):
    """Clips of some people, and what was computed of them."""

    labels: Sequence[Labels]
    representations: Mapping[str, Float[np.ndarray, "N D"]]


def measure(unseen: People, known: People, *, seed: int) -> Leakage:
    """Every attack on a run.

    Args:
      unseen: the clips of the test subjects.
      known: the held-out clips of the training subjects (a split's `probe`).

    Of more than MOST_ATTACKED clips of either some are drawn, and the report says how many.
    """
    known = People(
        known.labels,
        {name: known.representations[name] for name in OF_KNOWN if name in known.representations},
    )
    parts, reasons = {}, []
    for name, people in (("unseen", unseen), ("known", known)):
        drawn = drawn_clips(subjects_of(people.labels), seed)
        parts[name] = rows_of(people, drawn)
        if len(drawn) < len(people.labels):
            reasons.append(
                f"{name} subjects: {len(drawn)} of {len(people.labels)} clips were drawn "
                f"(seed {seed})"
            )
    whole = sum(_attacks(people.representations) for people in parts.values())
    with Progress(whole, "attacking", unit="attacks", shown=multihost.is_first()) as progress:
        attacked = {
            name: attack(parts[name], seed=seed, after_each=progress.advance)
            for name, attack in (("unseen", attack_halves), ("known", attack_folds))
        }
    reasons += [
        f"{name} subjects: fewer than two have {FEWEST_TAKES} takes that the system did not see"
        for name, found in attacked.items()
        if found is None
    ]
    verified = verify_people(parts["unseen"])
    if not any("plda" in attackers for attackers in verified.values()):
        count = len({label.subject for label in parts["unseen"].labels})
        reasons.append(
            f"verification by LDA and PLDA: of {count} unseen subjects too few are left to learn "
            f"on ({person_verification.FEWEST_TO_LEARN_ON} beside the two who are verified)"
        )
    return Leakage(
        unseen=attacked["unseen"],
        known=attacked["known"],
        verification=verified,
        not_measured=tuple(reasons),
    )


def attack_halves(
    people: People, *, seed: int, after_each: Callable[[], object] = lambda: None
) -> PeopleAttacked | None:
    """Learnt on half of each one's clips, attacked on the other, and exchanged.

    None: fewer than two people have FEWEST_TAKES takes.
    """
    chosen = with_enough_takes(people)
    if len(set(subjects_of(chosen.labels))) < 2:
        return None
    return attack_people(chosen, halves(chosen.labels), seed=seed, after_each=after_each)


def attack_folds(
    people: People, *, seed: int, after_each: Callable[[], object] = lambda: None
) -> PeopleAttacked | None:
    """Cross-fitted over KNOWN_FOLDS folds of each one's clips; None as in `attack_halves`."""
    chosen = with_enough_takes(people)
    if len(set(subjects_of(chosen.labels))) < 2:
        return None
    return attack_people(chosen, person_folds(chosen.labels), seed=seed, after_each=after_each)


def attack_people(
    people: People,
    folds: Int[np.ndarray, " N"],
    *,
    seed: int,
    attackers: Sequence[str] = tuple(ATTACKERS),
    after_each: Callable[[], object] = lambda: None,
) -> PeopleAttacked:
    """Identity read from every representation, and emotion from EMOTION_READ_FROM beside an
    untrained network.

    Each clip is attacked by attackers that learnt on the clips of the other `folds`.
    """
    subjects, emotions = subjects_of(people.labels), emotions_of(people.labels)
    takes = takes_of(people.labels)

    def read(y: Shaped[np.ndarray, " N"], names: Sequence[str]) -> dict[str, Attackers]:
        found = {}
        for name in names:
            x = np.asarray(people.representations[name], np.float64)
            guesses = cross_attack(x, y, folds, groups=takes, seed=seed, attackers=attackers)
            found[name] = {
                attacker: _result(guess.labels == y, guess.shuffled == y, y, subjects)
                for attacker, guess in guesses.items()
            }
            after_each()
        return found

    return PeopleAttacked(
        people=len(set(subjects)),
        clips=len(subjects),
        identity_chance=1 / len(set(subjects)),
        emotion_chance=1 / len(set(emotions)),
        identity=read(subjects, tuple(people.representations)),
        emotion=read(emotions, _mirrored(people.representations)),
    )


def _mirrored(representations: Mapping[str, Any]) -> list[str]:
    # Without the untrained network there is nothing to hold emotion in z_i against.
    found = [name for name in EMOTION_READ_FROM if name in representations]
    return found if "untrained z" in found else []


def _attacks(representations: Mapping[str, Any]) -> int:
    return len(representations) + len(_mirrored(representations))


def _result(
    right: Bool[np.ndarray, " N"],
    right_of_shuffled: Bool[np.ndarray, " N"],
    y: Shaped[np.ndarray, " N"],
    subjects: Shaped[np.ndarray, " N"],
) -> AttackResult:
    by_subject = mean_recall(right, y, subjects)
    values = np.array(list(by_subject.values()))
    estimate = share_estimate(float(values.mean()), values)
    shuffled = mean_recall(right_of_shuffled, y, subjects)
    return AttackResult(
        balanced_accuracy=estimate.value,
        interval=estimate.bounds,
        shuffled=float(np.mean(list(shuffled.values()))),
        by_subject=by_subject,
    )


def drawn_clips(subjects: Shaped[np.ndarray, " N"], seed: int) -> Int[np.ndarray, " M"]:
    """The clips that are attacked, ascending: all, or about MOST_ATTACKED drawn by person.

    Of more clips than that each person keeps at least FEWEST_OF_A_PERSON of its own, drawn at
    random; if the people are too many for it, people are drawn too.
    """
    if len(subjects) <= MOST_ATTACKED:
        return np.arange(len(subjects))
    rng = np.random.default_rng(seed)
    people = rng.permutation(np.unique(subjects))
    of_each = max(FEWEST_OF_A_PERSON, MOST_ATTACKED // len(people))
    order = rng.permutation(len(subjects))
    drawn: list[np.ndarray] = []
    for person in people[: MOST_ATTACKED // of_each]:
        drawn.append(order[subjects[order] == person][:of_each])
    return np.sort(np.concatenate(drawn))


def rows_of(people: People, rows: Int[np.ndarray, " M"]) -> People:
    """Some of the clips."""
    return People(
        [people.labels[row] for row in rows],
        {name: values[rows] for name, values in people.representations.items()},
    )


def verify_people(people: People) -> dict[str, dict[str, VerificationResult]]:
    """Are two clips of one person? By representation and attacker.

    By the cosine of centred embeddings, which learns nothing, and by LDA and PLDA that learnt on
    other people of the same clips (absent where those are too few).
    """
    subjects = subjects_of(people.labels)
    statements = np.array([label.statement for label in people.labels])
    pair_labels = (
        subjects,
        emotions_of(people.labels),
        statements if len(set(statements)) > 1 else None,
        np.array([label.sex for label in people.labels]),
    )
    found = {}
    for name, values in people.representations.items():
        x = np.asarray(values, np.float64)
        scores = {"cosine": person_verification.cosines(x - x.mean(axis=0))}
        scores |= person_verification.learnt_scores(x, subjects) or {}
        found[name] = {
            attacker: person_verification.verify(of_pairs, *pair_labels)
            for attacker, of_pairs in scores.items()
        }
    return found


def representations_of(
    outputs: Mapping[str, np.ndarray],
    untrained: Mapping[str, np.ndarray],
    raw: Float[np.ndarray, "N D"],
) -> dict[str, np.ndarray]:
    """What is attacked of some clips: the network's outputs, an untrained one's, raw features."""
    found = {name: outputs[name] for name in EMBEDDINGS if name in outputs}
    found[FLOOR] = log_probabilities(outputs["probabilities"])
    found |= {name: untrained[name.removeprefix("untrained ")] for name in UNTRAINED}
    return found | {RAW: raw}


def log_probabilities(probabilities: Float[np.ndarray, "N K"]) -> Float[np.ndarray, "N K"]:
    """Their logarithm, in which the least likely emotions tell as well."""
    return np.log(np.maximum(probabilities, _SMALLEST_PROBABILITY))


def with_enough_takes(people: People) -> People:
    """Only the subjects of whom there are FEWEST_TAKES takes."""
    takes: dict[str, set[str]] = {}
    for label, take in zip(people.labels, takes_of(people.labels), strict=True):
        takes.setdefault(label.subject, set()).add(take)
    enough = [len(takes[label.subject]) >= FEWEST_TAKES for label in people.labels]
    return rows_of(people, np.flatnonzero(enough))


def halves(labels: Sequence[Labels]) -> Int[np.ndarray, " N"]:
    """0 for about half of every subject's clips of every emotion, 1 for the others; takes whole.

    Takes are dealt in turn, emotion after emotion, so that both halves have every emotion and,
    over the emotions, every statement.
    """
    takes: dict[str, dict[str, set[tuple[str, str]]]] = {}
    for label in labels:
        of_subject = takes.setdefault(label.subject, {})
        of_subject.setdefault(label.emotion, set()).add((label.statement, _take(label)))
    half: dict[tuple[str, str, str, str], int] = {}
    for subject, emotions in takes.items():
        for shift, emotion in enumerate(sorted(emotions)):
            for position, (statement, take) in enumerate(sorted(emotions[emotion])):
                half[subject, emotion, statement, take] = (position + shift) % 2
    return np.array([half[x.subject, x.emotion, x.statement, _take(x)] for x in labels], int)


def person_folds(labels: Sequence[Labels]) -> Int[np.ndarray, " N"]:
    """Three folds that each have clips of every subject; takes whole."""
    subjects, takes = subjects_of(labels), takes_of(labels)
    splitter = StratifiedGroupKFold(KNOWN_FOLDS, shuffle=True, random_state=0)
    folds = np.zeros(len(subjects), int)
    for number, (_, chosen) in enumerate(splitter.split(subjects, subjects, takes)):
        folds[chosen] = number
    return folds


def subjects_of(labels: Sequence[Labels]) -> Shaped[np.ndarray, " N"]:
    """Who acts in every clip."""
    return np.array([label.subject for label in labels])


def emotions_of(labels: Sequence[Labels]) -> Shaped[np.ndarray, " N"]:
    """What is acted in every clip."""
    return np.array([label.emotion for label in labels])


def takes_of(labels: Sequence[Labels]) -> Shaped[np.ndarray, " N"]:
    """Equal for clips that must not be parted, such as the two intensities of a take."""
    return np.array([f"{x.subject}|{x.emotion}|{x.statement}|{_take(x)}" for x in labels])


def _take(label: Labels) -> str:
    # Where a corpus knows neither, every clip is a take of its own.
    return label.take if label.statement or label.take else label.key


def initial_variables(trained: Trained) -> Any:
    """The network's variables before its first step, as the run's seed gives them.

    The program that makes them is the one that training began with, so that it is compiled once.
    """
    make_state, _ = training_programs(
        trained.config, trained.model, trained.about["total_steps"], data_mesh()
    )
    key = jax.random.key(trained.config.seed)
    return evaluated_variables(make_state(key, example_batch(trained.config)))
