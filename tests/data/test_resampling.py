"""How often clips are drawn: independence of emotion and subject, against its definition."""

from collections import Counter

import numpy as np
import pytest

from jax_avemo.data.resampling import draws, independence_weights
from jax_avemo.synthetic.plan import plan_corpus


def labels_of(confound: float, actors: int = 8) -> tuple[list[str], list[str]]:
    takes = plan_corpus(actors, 2, 0, confound)
    return [str(take.emotion) for take in takes], [str(take.actor) for take in takes]


def joint(emotions, subjects, weights) -> np.ndarray:
    """[emotions, subjects]: share of the draws."""
    table = np.zeros((len(set(emotions)), len(set(subjects))))
    e_index, s_index = sorted(set(emotions)), sorted(set(subjects))
    for emotion, subject, weight in zip(emotions, subjects, weights, strict=True):
        table[e_index.index(emotion), s_index.index(subject)] += weight
    return table / table.sum()


def mutual_information(table: np.ndarray) -> float:
    """Nats; 0 = independent."""
    product = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True)
    return float(np.sum(np.where(table > 0, table * np.log(np.maximum(table, 1e-30) / product), 0)))


class TestWeights:
    def test_without_a_prior_nothing_depends_on_the_subject(self):
        emotions, subjects = labels_of(0.9)
        before = mutual_information(joint(emotions, subjects, np.ones(len(emotions))))
        weights = independence_weights(emotions, subjects, prior=0.0)
        assert before > 0.3
        assert mutual_information(joint(emotions, subjects, weights)) == pytest.approx(0, abs=1e-9)

    def test_emotions_and_subjects_are_as_frequent_as_before(self):
        rng = np.random.default_rng(0)  # no pair is missing: its share could go nowhere
        cells = [(e, s) for e in "abc" for s in "xyz" for _ in range(rng.integers(1, 9))]
        emotions, subjects = [e for e, _ in cells], [s for _, s in cells]
        plain = joint(emotions, subjects, np.ones(len(cells)))
        drawn = joint(emotions, subjects, independence_weights(emotions, subjects, prior=0.0))
        np.testing.assert_allclose(drawn.sum(axis=0), plain.sum(axis=0))
        np.testing.assert_allclose(drawn.sum(axis=1), plain.sum(axis=1))

    def test_a_prior_takes_most_of_the_dependence_and_bounds_the_weights(self):
        emotions, subjects = labels_of(0.9)
        weights = independence_weights(emotions, subjects)
        before = mutual_information(joint(emotions, subjects, np.ones(len(emotions))))
        assert mutual_information(joint(emotions, subjects, weights)) < 0.3 * before
        assert weights.max() < independence_weights(emotions, subjects, prior=0.0).max()
        assert weights.mean() == pytest.approx(1)

    def test_a_balanced_corpus_is_left_alone(self):
        np.testing.assert_allclose(independence_weights(*labels_of(0.0)), 1)

    def test_by_hand(self):
        # n = 4; P(a) = 1/2, P(x) = 3/4: 1.5 clips expected where 2 are, and so on.
        weights = independence_weights(list("aabb"), list("xxxy"), prior=1.0)
        expected = np.array([2.5 / 3, 2.5 / 3, 2.5 / 2, 1.5 / 2])
        np.testing.assert_allclose(weights, expected / expected.mean())

    def test_what_is_unknown_counts_once(self):
        weights = independence_weights(["a", "", "b", "a"], ["x", "x", "", "y"], prior=1.0)
        expected = np.array([2 / 2, 1, 1, 2 / 2])
        np.testing.assert_allclose(weights, expected)
        assert len(independence_weights([], [])) == 0


class TestDraws:
    def test_equal_weights_are_the_clips_themselves(self):
        np.testing.assert_array_equal(draws(np.ones(5)), np.arange(5))
        assert len(draws(np.ones(0))) == 0

    @pytest.mark.parametrize("seed", range(3))
    def test_every_clip_comes_as_often_as_its_weight_says_to_within_one_draw(self, seed):
        weights = np.random.default_rng(seed).gamma(1.0, size=40)
        weights /= weights.mean()
        times = Counter(draws(weights, rounds=8).tolist())
        found = np.array([times[position] for position in range(40)])
        assert np.abs(found - 8 * weights).max() <= 1
        assert found.sum() == 8 * 40
