"""Verification: can two clips be told to be of one person?

As VoicePrivacy 2024 states it (arXiv 2404.02677): the attacker learnt on embeddings of the same
network, of other people, and the equal error rate is the privacy of those who are verified. Higher
is more private: 50 % cannot be told, 0 % always.
"""

from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float, Shaped
from threadpoolctl import threadpool_limits

from jax_avemo.evaluation import plda
from jax_avemo.evaluation.attackers import rotate, standardise
from jax_avemo.evaluation.results import VerificationResult

FEWEST_TO_LEARN_ON = 4
"""People that an attacker learns on; of fewer, the variance between people is a guess."""
_MOST_GROUPS = 6


def learnt_scores(
    x: Float[np.ndarray, "N D"], subjects: Shaped[np.ndarray, " N"]
) -> dict[str, Float[np.ndarray, "N N"]] | None:
    """Scores of every pair by LDA and by PLDA that learnt on other people of the same clips.

    People are put into up to 6 groups. For every two groups an attacker learns on all others and
    scores the pairs in and between the two, so it knows neither person of a pair; a pair inside one
    group has the mean of several attackers. LDA scores by the cosine in its axes. None where fewer
    than FEWEST_TO_LEARN_ON people would be left to learn on.
    """
    people, person = np.unique(subjects, return_inverse=True)
    groups = min(len(people), _MOST_GROUPS)
    group = (np.arange(len(people)) % max(groups, 1))[person]
    pairs = list(combinations(range(groups), 2))
    fewest = min((len(np.unique(person[(group != g) & (group != h)])) for g, h in pairs), default=0)
    if fewest < FEWEST_TO_LEARN_ON:
        return None
    total = {name: np.zeros((len(x), len(x))) for name in ("lda", "plda")}
    attackers = np.zeros((len(x), len(x)))
    with threadpool_limits(1):  # 0.1 s for 128 clips of 8 people; 2.3 with two threads
        for g, h in pairs:
            attacked = (group == g) | (group == h)
            learn_z, z = rotate(*standardise(x[~attacked], x[attacked]))
            model = plda.fit(learn_z, person[~attacked])
            where = np.ix_(attacked, attacked)
            total["lda"][where] += cosines(plda.discriminant_axes(model, z))
            total["plda"][where] += plda.pair_scores(model, z)
            attackers[where] += 1
    return {name: scores / attackers for name, scores in total.items()}


def cosines(x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N N"]:
    """The cosine of every pair; 0 where a vector is 0."""
    unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return np.asarray(unit @ unit.T, np.float64)


def verify(
    scores: Float[np.ndarray, "N N"],
    subjects: Shaped[np.ndarray, " N"],
    emotions: Shaped[np.ndarray, " N"],
    statements: Shaped[np.ndarray, " N"] | None,
    sexes: Shaped[np.ndarray, " N"] | None = None,
) -> VerificationResult:
    """Can two clips be told to be of one person, by a score of every pair (higher = one person)?

    All pairs that differ in emotion *and* in statement (None: the corpus has none, pairs differ in
    emotion only), so that neither what is felt nor what is said helps.
    """
    first, second = np.triu_indices(len(scores), k=1)
    admitted = emotions[first] != emotions[second]
    if statements is not None:
        admitted &= statements[first] != statements[second]
    first, second = first[admitted], second[admitted]
    of_pairs = scores[first, second]
    same = subjects[first] == subjects[second]
    alike = np.zeros(len(same), bool)
    if sexes is not None:
        alike = (sexes[first] == sexes[second]) & (sexes[first] != "")
    return VerificationResult(
        equal_error_rate=_error_rate_if_any(of_pairs, same),
        equal_error_rate_same_sex=_error_rate_if_any(of_pairs[alike], same[alike]),
        genuine_pairs=int(same.sum()),
        impostor_pairs=int((~same).sum()),
    )


def equal_error_rate(scores: Float[np.ndarray, " P"], same: Bool[np.ndarray, " P"]) -> float:
    """Where false acceptances (different, score >= t) equal false rejections (same, score < t).

    Both rates are read at every distinct score and joined by straight lines; the crossing is the
    equal error rate (ISO/IEC 19795-1). Higher score = more alike.

    Raises:
        ValueError: one of the two kinds of pairs is missing.
    """
    genuine, impostor = np.sort(scores[same]), np.sort(scores[~same])
    if len(genuine) == 0 or len(impostor) == 0:
        raise ValueError(f"{len(genuine)} genuine and {len(impostor)} impostor pairs: need both")
    thresholds = np.append(np.unique(scores), np.inf)
    rejected = np.searchsorted(genuine, thresholds, side="left") / len(genuine)
    accepted = 1.0 - np.searchsorted(impostor, thresholds, side="left") / len(impostor)
    # gap falls from 1 (everything accepted) to -1 (everything rejected).
    gap = accepted - rejected
    after = int(np.argmax(gap <= 0.0))
    before = after - 1
    way = gap[before] / (gap[before] - gap[after])
    return float(rejected[before] + way * (rejected[after] - rejected[before]))


def _error_rate_if_any(scores: np.ndarray, same: np.ndarray) -> float | None:
    return equal_error_rate(scores, same) if same.any() and not same.all() else None
