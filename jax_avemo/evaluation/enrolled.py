"""Evaluation of a run whose embeddings are centred on other, unlabelled clips of the person."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

from jax_avemo.evaluation import leakage, metrics
from jax_avemo.evaluation.enrolment import (
    CLIPS,
    DRAWS,
    make_centred_heads,
    mean_of_other_clips,
)
from jax_avemo.evaluation.leakage_summary import FLOOR
from jax_avemo.evaluation.results import Enrolled
from jax_avemo.evaluation.statistics import paired_difference, share_estimate
from jax_avemo.evaluation.trained_network import Trained
from jax_avemo.schema import Labels

UAR = metrics.unweighted_average_recall


def measure_enrolment(
    trained: Trained,
    labels: Sequence[Labels],
    emotions: Int[np.ndarray, " N"],
    outputs: Mapping[str, np.ndarray],
) -> tuple[Enrolled, ...]:
    """UAR and identity leakage of test clips at every number of enrolment clips.

    UAR is averaged over DRAWS draws of the enrolment clips; attackers see the first draw. Empty
    where the network cannot be centred, or a test subject has a single take.

    Args:
      labels: of the test clips.
      emotions: their numbers.
      outputs: of the network, of the same clips.
    """
    takes, subjects = leakage.takes_of(labels), leakage.subjects_of(labels)
    takes_by_subject = [len(set(takes[subjects == subject])) for subject in np.unique(subjects)]
    if not trained.config.model.person_centred or min(takes_by_subject) < 2:
        return ()
    heads = make_centred_heads(trained.model)
    classes = len(trained.index.emotions)
    _, without = metrics.by_person(
        emotions, outputs["probabilities"].argmax(1), subjects, UAR, classes=classes
    )
    found = []
    for clips in CLIPS:
        rng = np.random.default_rng([trained.config.seed, clips])
        drawn = []
        for _ in range(DRAWS):
            means = mean_of_other_clips(outputs["z"], subjects, takes, clips, rng)
            drawn.append(heads(trained.variables, outputs["z"], means))
        predicted = np.stack([probabilities.argmax(1) for probabilities, _ in drawn])
        value, people = metrics.by_person(emotions, predicted, subjects, UAR, classes=classes)
        estimate = share_estimate(value, people)
        probabilities, z_e = drawn[0]
        found.append(
            Enrolled(
                clips=clips,
                uar=value,
                uar_interval=estimate.bounds,
                uar_by_subject=dict(
                    zip(np.unique(subjects).tolist(), people.tolist(), strict=True)
                ),
                minus_none=paired_difference(float(np.mean(people - without)), people - without),
                leakage=leakage.attack_halves(
                    leakage.People(
                        labels, {"z_e": z_e, FLOOR: leakage.log_probabilities(probabilities)}
                    ),
                    seed=trained.config.seed,
                ),
            )
        )
    return tuple(found)
