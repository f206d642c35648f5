"""Equal error rates against closed forms, and who an attacker of verification may know."""

import numpy as np
import pytest

from jax_avemo.evaluation import person_verification, plda
from jax_avemo.evaluation.person_verification import (
    cosines,
    equal_error_rate,
    learnt_scores,
    verify,
)


class TestEqualErrorRate:
    def test_separate_scores_are_zero_and_exchanged_ones_are_one(self):
        scores, same = np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True])
        assert equal_error_rate(scores, same) == 0.0
        assert equal_error_rate(-scores, same) == 1.0

    def test_equal_scores_tell_nothing(self):
        assert equal_error_rate(np.zeros(10), np.arange(10) < 3) == pytest.approx(0.5)

    def test_one_error_of_four_on_each_side_is_a_quarter(self):
        scores = np.array([0.1, 0.2, 0.3, 0.7, 0.6, 0.8, 0.9, 1.0])
        same = np.array([False] * 4 + [True] * 4)
        assert equal_error_rate(scores, same) == pytest.approx(0.25)

    def test_two_normals_equal_the_closed_form(self):
        """Means d apart, deviation 1: EER = Phi(-d / 2)."""
        generator = np.random.default_rng(0)
        scores = np.append(generator.normal(2.0, 1.0, 40_000), generator.normal(0, 1.0, 60_000))
        found = equal_error_rate(scores, np.arange(100_000) < 40_000)
        assert found == pytest.approx(0.158655, abs=0.004)

    def test_ignores_a_rising_change_of_the_scores(self):
        generator = np.random.default_rng(1)
        scores, same = generator.standard_normal(500), generator.random(500) < 0.3
        assert equal_error_rate(np.exp(scores), same) == equal_error_rate(scores, same)

    def test_needs_both_kinds_of_pairs(self):
        with pytest.raises(ValueError, match="need both"):
            equal_error_rate(np.zeros(3), np.ones(3, bool))


class TestVerification:
    def grid(self):
        """6 people x 3 emotions x 2 statements x 2 takes."""
        axes = np.meshgrid(np.arange(6), np.arange(3), np.arange(2), np.arange(2), indexing="ij")
        return [axis.ravel() for axis in axes[:3]]

    def test_counts_pairs_that_differ_in_emotion_and_statement(self):
        people, emotions, statements = self.grid()
        x = np.random.default_rng(0).standard_normal((len(people), 8))
        found = verify(cosines(x), people, emotions, statements)
        # of one person: 3 emotion pairs x 2 orders of the statements x 2 x 2 takes
        assert found.genuine_pairs == 6 * 3 * 2 * 4
        assert found.impostor_pairs == 15 * 2 * 3 * 2 * 4
        assert found.equal_error_rate == pytest.approx(0.5, abs=0.12)

    def test_what_is_felt_or_said_does_not_help(self):
        people, emotions, statements = self.grid()
        generator = np.random.default_rng(1)
        content = generator.standard_normal((3, 2, 8))[emotions, statements]
        noise = 0.1 * generator.standard_normal((len(people), 8))
        found = verify(cosines(content + noise), people, emotions, statements)
        assert found.equal_error_rate == pytest.approx(0.5, abs=0.1)

    def test_people_in_the_embedding_are_found(self):
        people, emotions, statements = self.grid()
        generator = np.random.default_rng(2)
        x = generator.standard_normal((6, 8))[people]
        x = x + 0.1 * generator.standard_normal(x.shape)
        found = verify(cosines(x), people, emotions, statements)
        assert found.equal_error_rate < 0.05
        assert found.equal_error_rate_same_sex is None

    def test_same_sex_impostors_are_harder_where_the_embedding_knows_the_sex_only(self):
        people, emotions, statements = self.grid()
        sexes = np.where(people % 2, "male", "female")
        x = np.where(people % 2, 1.0, -1.0)[:, None] * np.ones((1, 4))
        x = x + 0.3 * np.random.default_rng(3).standard_normal(x.shape)
        found = verify(cosines(x), people, emotions, statements, sexes)
        assert found.equal_error_rate < 0.4
        assert found.equal_error_rate_same_sex == pytest.approx(0.5, abs=0.1)

    def test_without_statements_pairs_differ_in_emotion(self):
        people, emotions, _ = self.grid()
        x = np.random.default_rng(4).standard_normal((len(people), 8))
        assert verify(cosines(x), people, emotions, None).genuine_pairs == 6 * 3 * 16

    def test_a_single_person_has_no_rate(self):
        people, emotions, statements = self.grid()
        x = np.random.default_rng(5).standard_normal((len(people), 8))
        found = verify(cosines(x), people * 0, emotions, statements, np.full(len(people), "male"))
        assert found.equal_error_rate is None
        assert found.equal_error_rate_same_sex is None
        assert found.impostor_pairs == 0


class TestLearntScores:
    def corpus(self, people=8, seed=6):
        """Identity in 2 axes under three times as strong a nuisance in 4 more; 24 clips each."""
        generator = np.random.default_rng(seed)
        person = np.repeat(np.arange(people), 24)
        x = 0.3 * generator.standard_normal((len(person), 10))
        x[:, :2] += 1.5 * generator.standard_normal((people, 2))[person]
        x[:, 2:6] += 3.0 * generator.standard_normal((len(person), 4))
        turned = np.linalg.qr(generator.standard_normal((10, 10)))[0]
        return x @ turned, person, np.arange(len(person)) % 3, np.arange(len(person)) // 3 % 2

    def test_other_people_teach_what_the_cosine_does_not_find(self):
        x, person, emotions, statements = self.corpus(people=24)
        rates = {
            name: verify(scores, person, emotions, statements).equal_error_rate
            for name, scores in learnt_scores(x, person).items()
        }
        plain = verify(cosines(x), person, emotions, statements).equal_error_rate
        assert plain > 0.35
        assert max(rates.values()) < 0.25

    def test_nobody_is_scored_by_an_attacker_who_knows_them(self, monkeypatch):
        x, person, *_ = self.corpus(6)
        known = []
        fit = plda.fit

        def spy(z, people):
            known.append(set(people.tolist()))
            return fit(z, people)

        monkeypatch.setattr(person_verification.plda, "fit", spy)
        scores = learnt_scores(x, person)
        assert len(known) == 6 * 5 // 2
        assert all(len(others) == 4 for others in known)
        assert {frozenset(set(range(6)) - others) for others in known} == {
            frozenset((a, b)) for a in range(6) for b in range(a)
        }
        for of_pairs in scores.values():
            assert np.isfinite(of_pairs).all()
            np.testing.assert_allclose(of_pairs, of_pairs.T, atol=1e-9)

    def test_what_is_scored_does_not_depend_on_the_pairs_own_identity(self):
        """Two people exchange names in half of their clips: the scores of their clips stay."""
        x, person, *_ = self.corpus()
        swapped = person.copy()
        swapped[12:36] = 1 - swapped[12:36]
        before, after = learnt_scores(x, person), learnt_scores(x, swapped)
        same_pairs = np.ix_(np.arange(12), np.arange(36, 48))  # of 0 and 1, before and after
        np.testing.assert_allclose(after["plda"][same_pairs], before["plda"][same_pairs])

    @pytest.mark.parametrize("people", [1, 2, 4, 5])
    def test_too_few_people_to_learn_on_give_no_figure(self, people):
        x, person, *_ = self.corpus(people)
        assert learnt_scores(x, person) is None
        assert learnt_scores(*self.corpus(6)[:2]) is not None

    def test_a_collapsed_embedding_tells_nothing(self):
        _, person, emotions, statements = self.corpus()
        scores = learnt_scores(np.full((len(person), 6), 0.3), person)
        for of_pairs in scores.values():
            found = verify(of_pairs, person, emotions, statements)
            assert found.equal_error_rate == pytest.approx(0.5)
