"""PLDA against its closed forms."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from jax_avemo.evaluation import plda
from jax_avemo.evaluation.person_verification import cosines, verify


class TestPlda:
    def corpus(self, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """30 people x 12 clips: identity in 4 axes, three times as strong a nuisance in 4 more, all
        axes turned; who is new."""
        generator = np.random.default_rng(6)
        people = np.repeat(np.arange(30), 12)
        x = 0.3 * generator.standard_normal((360, width))
        x[:, :4] += generator.standard_normal((30, 4))[people]
        x[:, 4:8] += 3.0 * generator.standard_normal((360, 4))
        turned = np.linalg.qr(generator.standard_normal((width, width)))[0]
        return x @ turned, people, people >= 20

    @pytest.mark.parametrize(("width", "at_most"), [(12, 0.15), (400, 0.3)])
    def test_an_attacker_finds_identity_under_louder_axes_in_new_people(self, width, at_most):
        x, people, new = self.corpus(width)
        emotions, statements = np.arange(360) % 3, (np.arange(360) // 3) % 2
        labels = (people[new], emotions[new], statements[new])
        plain = verify(cosines(x[new]), *labels).equal_error_rate
        scores = plda.pair_scores(plda.fit(x[~new], people[~new]), x[new])
        attacked = verify(scores, *labels).equal_error_rate
        assert plain > 0.38
        assert attacked < at_most

    def test_scores_are_the_log_likelihood_ratio_of_the_gaussian_model(self):
        """One axis, many clips: B and W are those the clips were drawn with."""
        generator = np.random.default_rng(7)
        people = np.repeat(np.arange(2000), 20)
        x = 2.0 * generator.standard_normal(2000)[people] + generator.standard_normal(40_000)
        pair = np.array([[1.5], [2.5]])
        scores = plda.pair_scores(plda.fit(x[:, None], people), pair)
        one, two = [[5.0, 4.0], [4.0, 5.0]], [[5.0, 0.0], [0.0, 5.0]]
        expected = [
            multivariate_normal(np.zeros(2), one).logpdf(ab)
            - multivariate_normal(np.zeros(2), two).logpdf(ab)
            for ab in ([1.5, 2.5], [1.5, 1.5])
        ]
        assert scores[0, 1] == pytest.approx(expected[0], abs=0.05)
        assert scores[0, 0] == pytest.approx(expected[1], abs=0.05)
        np.testing.assert_allclose(scores, scores.T)

    def test_where_people_do_not_differ_nothing_is_found(self):
        x = np.random.default_rng(8).standard_normal((240, 6))
        people = np.arange(240) % 12
        known = people < 8
        scores = plda.pair_scores(plda.fit(x[known], people[known]), x[~known])
        emotions = (np.arange(240) // 12) % 2
        found = verify(scores, people[~known], emotions[~known], None)
        assert found.equal_error_rate == pytest.approx(0.5, abs=0.1)

    def test_a_collapsed_embedding_tells_nothing(self):
        x, people = np.zeros((48, 6)), np.arange(48) % 4  # standardised, as its callers do
        scores = plda.pair_scores(plda.fit(x, people), x)
        found = verify(scores, people, np.arange(48) // 4 % 2, None)
        assert found.equal_error_rate == pytest.approx(0.5)

    def test_of_two_people_with_many_clips_the_classifier_is_the_nearest_mean(self):
        """One axis, means at -+2: the border is at 0, and log p is that of N(+-2, 1)."""
        generator = np.random.default_rng(9)
        people = np.repeat([0, 1], 5000)
        x = (4.0 * people - 2.0 + generator.standard_normal(10_000))[:, None]
        model = plda.fit(x, people)
        clips = np.array([[-1.0], [0.5], [3.0]])
        names, scores = plda.class_scores(model, x, people, clips)
        assert names.tolist() == [0, 1]
        expected = norm.logpdf(clips, [-2.0, 2.0])
        gap = scores[:, 1] - scores[:, 0]
        np.testing.assert_allclose(gap, expected[:, 1] - expected[:, 0], atol=0.25)

    def test_too_few_people_or_clips_are_refused(self):
        x = np.random.default_rng(9).standard_normal((6, 3))
        with pytest.raises(ValueError, match="two people"):
            plda.fit(x, np.zeros(6, int))
        with pytest.raises(ValueError, match="two clips"):
            plda.fit(x, np.arange(6))
