"""Statistics over people against scipy, closed forms and simulated studies."""

import itertools
from dataclasses import astuple

import numpy as np
import pytest
from scipy import stats

from jax_avemo.evaluation import statistics
from jax_avemo.evaluation.results import PairedDifference
from jax_avemo.evaluation.statistics import holm, paired_difference, sign_flip_p, t_interval


class TestTInterval:
    def test_is_scipys(self):
        values = np.random.default_rng(0).normal(0.6, 0.1, 9)
        reference = stats.ttest_1samp(values, 0).confidence_interval(0.9)
        assert t_interval(values.mean(), values, level=0.9) == pytest.approx(tuple(reference))

    def test_one_person_has_none(self):
        assert t_interval(0.5, np.array([0.5])) is None

    @pytest.mark.slow
    @pytest.mark.parametrize("people", [6, 12, 24])
    def test_covers_the_truth_as_often_as_it_says(self, people):
        """Studies of people of unequal skill, 60 clips each, as RAVDESS has: 2.5 % on each side."""
        generator = np.random.default_rng(people)
        studies, clips, mean = 6000, 60, 0.6
        skill = generator.beta(8 * mean, 8 * (1 - mean), (studies, people))  # deviation 0.16
        shares = generator.binomial(clips, skill) / clips
        covered = [
            low <= mean <= high
            for low, high in (t_interval(values.mean(), values) for values in shares)
        ]
        assert 0.92 < np.mean(covered) < 0.98
        drawn = generator.integers(0, people, (400, people))
        percentile = [
            np.quantile(values[drawn].mean(axis=1), [0.025, 0.975]) for values in shares[:1000]
        ]
        bootstrap = np.mean([low <= mean <= high for low, high in percentile])
        print(f"{people} people: t {np.mean(covered):.3f}, percentile bootstrap {bootstrap:.3f}")
        assert bootstrap < np.mean(covered)


class TestSignFlips:
    @pytest.mark.parametrize("people", [1, 2, 6, 24, 40])
    def test_equal_signs_have_the_smallest_p(self, people):
        assert sign_flip_p(np.linspace(0.1, 0.2, people)) == pytest.approx(2.0 ** (1 - people))

    def test_equals_scipys_exact_permutation_test(self):
        differences = np.random.default_rng(3).normal(0.3, 1.0, 9)
        reference = stats.permutation_test(
            (differences,), np.sum, permutation_type="samples", n_resamples=np.inf
        )
        assert sign_flip_p(differences) == pytest.approx(reference.pvalue)

    def test_ties_are_counted_as_enumeration_counts_them(self):
        differences = np.array([0.1, 0.1, -0.1, 0.2, 0.0, -0.3, 0.3])
        sums = [abs(np.dot(signs, differences)) for signs in itertools.product((-1, 1), repeat=7)]
        expected = np.mean(np.array(sums) >= abs(differences.sum()) - 1e-12)
        assert sign_flip_p(differences) == expected
        assert sign_flip_p(10.0 * differences) == expected

    def test_no_difference_is_certain(self):
        assert sign_flip_p(np.zeros(24)) == 1.0
        assert sign_flip_p(np.array([0.25, -0.25])) == 1.0

    def test_many_people_are_sampled_and_never_give_zero(self):
        values = np.random.default_rng(0).normal(0.25, 1.0, 60)
        assert len(values) > statistics.MOST_EXACT
        sampled = sign_flip_p(values)
        limit = 2 * stats.norm.sf(values.sum() / np.sqrt(np.square(values).sum()))
        assert sampled == pytest.approx(limit, abs=0.01)
        assert sign_flip_p(np.ones(60)) == pytest.approx(1 / (statistics.RANDOM_FLIPS + 1))

    def test_a_paired_difference_has_both(self):
        values = np.array([0.1, 0.3, 0.2])
        low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        found = paired_difference(0.2, values)
        assert astuple(found) == pytest.approx((0.2, low, high, 0.25))
        assert paired_difference(0.2, np.array([0.2])) == PairedDifference(0.2, None, None, 1.0)


class TestHolm:
    def test_the_example_of_the_textbook(self):
        """Four hypotheses: 0.005 x 4, 0.01 x 3, then 0.03 x 2, which 0.04 x 1 may not undercut."""
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))

    def test_is_at_most_one_and_no_row_stays_empty(self):
        assert holm([0.6, 0.9]) == (1.0, 1.0)
        assert holm([0.03]) == (0.03,)
        assert holm([]) == ()

    def test_false_positives_of_a_table_stay_at_five_percent(self):
        generator = np.random.default_rng(0)
        tables = generator.uniform(size=(4000, 8))
        wrong = np.mean([min(holm(row.tolist())) < 0.05 for row in tables])
        assert wrong == pytest.approx(1 - (1 - 0.05 / 8) ** 8, abs=0.015)
