"""Probes find what is there, do not find what is not, and choose on the training part alone."""

import time

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.metrics import balanced_accuracy_score

from jax_avemo.evaluation.probes import (
    PROBES,
    equal_error_rate,
    leakage,
    plda_scores,
    probe,
    verification_eer,
    verify,
)


def clips(
    signal: float, *, seed: int = 0, classes: int = 4, each: int = 12, width: int = 16
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings whose class means are `signal` standard deviations from 0."""
    generator = np.random.default_rng(seed)
    means = np.random.default_rng(99).standard_normal((classes, width))
    labels = np.tile(np.arange(classes), each)
    x = signal * means[labels] + generator.standard_normal((len(labels), width))
    return x.astype(np.float32), labels


class TestProbe:
    @pytest.mark.parametrize("kind", sorted(PROBES))
    def test_finds_separate_classes(self, kind):
        found = probe(*clips(3.0), *clips(3.0, seed=1), seed=0, kind=kind)
        assert found.balanced_accuracy > 0.95
        assert found.low <= found.balanced_accuracy <= found.high
        assert (found.chance, found.classes) == (0.25, 4)
        assert (found.train_clips, found.test_clips) == (48, 48)
        assert found.shuffled_floor < 0.5

    def test_finds_nothing_in_noise(self):
        found = probe(*clips(0.0, each=40), *clips(0.0, seed=1, each=40), seed=0)
        assert found.low < 0.25 < found.high
        assert found.balanced_accuracy == pytest.approx(0.25, abs=0.12)

    def test_ignores_the_scale_and_offset_of_features(self):
        train, test = clips(0.7), clips(0.7, seed=1)
        scale, offset = np.logspace(-3, 3, 16), np.linspace(-50, 50, 16)
        plain = probe(*train, *test, seed=0)
        moved = probe(
            train[0] * scale + offset, train[1], test[0] * scale + offset, test[1], seed=0
        )
        assert moved.balanced_accuracy == pytest.approx(plain.balanced_accuracy, abs=0.03)

    def test_a_constant_feature_is_silent(self):
        train, test = clips(1.0), clips(1.0, seed=1)
        plain = probe(*train, *test, seed=0)
        constant = [
            np.hstack([x, np.full((len(x), 1), value)])
            for x, value in ((train[0], 0.1), (test[0], 7.0))
        ]
        found = probe(constant[0], train[1], constant[1], test[1], seed=0)
        assert found.balanced_accuracy == pytest.approx(plain.balanced_accuracy, abs=0.03)

    def test_more_features_than_clips_give_the_same_as_turned_ones(self):
        """The rotation into the span of the training clips is exact for an L2 penalty."""
        train, test = clips(1.0, width=16, each=10), clips(1.0, width=16, each=10, seed=1)
        wide = [np.hstack([x] * 5) for x in (train[0], test[0])]  # 80 features of 40 clips
        found = probe(wide[0], train[1], wide[1], test[1], seed=0)
        assert found.balanced_accuracy > 0.9

    def test_the_regularisation_never_sees_the_test_clips(self):
        train, test = clips(0.5), clips(0.5, seed=1)
        chosen = [
            probe(*train, test[0], labels, seed=0).regularisation
            for labels in (test[1], test[1][::-1])
        ]
        assert chosen[0] == chosen[1]

    def test_clips_of_one_take_do_not_meet_in_inner_folds(self):
        """Twins: were they parted, memory (little regularisation) would look like skill."""
        x, labels = clips(0.3)
        twins = np.repeat(x, 2, axis=0), np.repeat(labels, 2)
        take = np.repeat(np.arange(len(x)), 2)
        test = clips(0.3, seed=1)
        parted = probe(*twins, *test, seed=0)
        together = probe(*twins, *test, seed=0, groups=take)
        assert together.regularisation < 0.1 * parted.regularisation

    def test_a_test_class_unknown_to_training_is_missed(self):
        x, labels = clips(4.0)
        known = labels < 3
        found = probe(x[known], labels[known], *clips(4.0, seed=1), seed=0)
        assert found.balanced_accuracy == pytest.approx(0.75, abs=0.02)

    def test_one_clip_a_class_still_trains(self):
        x, labels = clips(4.0, each=1)
        assert probe(x, labels, *clips(4.0, seed=1), seed=0).balanced_accuracy > 0.5

    def test_text_labels_and_the_same_seed_give_the_same(self):
        x, labels = clips(0.5)
        names = np.array(["anna", "ben", "cleo", "dan"])
        test_x, test_y = clips(0.5, seed=1)
        numbers = probe(x, labels, test_x, test_y, seed=0)
        assert probe(x, names[labels], test_x, names[test_y], seed=0) == numbers

    def test_unbalanced_test_clips_are_balanced(self):
        x, labels = clips(0.6, each=30)
        test_x, test_y = clips(0.6, seed=1, each=30)
        kept = (test_y == 0) | (np.arange(len(test_y)) % 7 == 0)
        found = probe(x, labels, test_x[kept], test_y[kept], seed=0)
        from sklearn.linear_model import LogisticRegression

        mean, deviation = x.mean(0), x.std(0)
        model = LogisticRegression(C=found.regularisation, max_iter=300, tol=1e-3)
        model.fit((x - mean) / deviation, labels)
        expected = balanced_accuracy_score(
            test_y[kept], model.predict((test_x[kept] - mean) / deviation)
        )
        assert found.balanced_accuracy == pytest.approx(expected, abs=0.03)

    @pytest.mark.parametrize("kind", sorted(PROBES))
    def test_a_collapsed_embedding_is_at_chance(self, kind):
        x, labels = np.full((48, 6), 0.3, np.float32), np.arange(48) % 4
        found = probe(x, labels, x, labels, seed=0, kind=kind)
        assert found.balanced_accuracy == 0.25

    def test_one_class_or_no_test_clip_is_refused(self):
        x, labels = clips(1.0)
        with pytest.raises(ValueError, match="two training classes"):
            probe(x, labels * 0, x, labels, seed=0)
        with pytest.raises(ValueError, match="test clip"):
            probe(x, labels, x[:0], labels[:0], seed=0)


class TestLeakage:
    def test_three_embeddings_of_twelve_people_are_quick_and_told_apart(self):
        """165 + 30 clips, 128 wide: z has both, z_e emotion only, z_i identity only."""
        generator = np.random.default_rng(0)
        people, emotions = np.arange(195) % 12, (np.arange(195) // 12) % 6
        of_person, of_emotion = generator.standard_normal((2, 12, 128))
        noise = generator.standard_normal((3, 195, 128))
        embeddings = {
            "fused": of_person[people] + of_emotion[emotions] + noise[0],
            "emotion": of_emotion[emotions] + noise[1],
            "identity": of_person[people] + noise[2],
        }
        test = np.arange(195) >= 165
        started = time.process_time()
        found = leakage(embeddings, {"identity": people, "emotion": emotions}, ~test, test, seed=0)
        assert time.process_time() - started < 10.0
        accuracy = {
            (name, target): kinds["linear"].balanced_accuracy
            for name, targets in found.items()
            for target, kinds in targets.items()
        }
        assert min(accuracy["fused", "identity"], accuracy["fused", "emotion"]) > 0.9
        assert accuracy["emotion", "emotion"] > 0.9 > 0.3 > accuracy["emotion", "identity"]
        assert accuracy["identity", "identity"] > 0.9 > 0.5 > accuracy["identity", "emotion"]

    def test_nothing_to_test_on_or_one_class_leaves_the_probe_out(self):
        x, labels = clips(1.0)
        train = np.arange(len(x)) < 40
        none, one = np.zeros_like(train), {"identity": labels * 0, "emotion": labels}
        assert leakage({"z": x}, {"emotion": labels}, train, none, seed=0) == {"z": {"emotion": {}}}
        found = leakage({"z": x}, one, train, ~train, seed=0)
        assert found["z"]["identity"] == {}
        assert set(found["z"]["emotion"]) == {"linear"}


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
        found = verification_eer(x, people, emotions, statements)
        # of one person: 3 emotion pairs x 2 orders of the statements x 2 x 2 takes
        assert found.genuine_pairs == 6 * 3 * 2 * 4
        assert found.impostor_pairs == 15 * 2 * 3 * 2 * 4
        assert found.equal_error_rate == pytest.approx(0.5, abs=0.12)

    def test_what_is_felt_or_said_does_not_help(self):
        people, emotions, statements = self.grid()
        generator = np.random.default_rng(1)
        content = generator.standard_normal((3, 2, 8))[emotions, statements]
        noise = 0.1 * generator.standard_normal((len(people), 8))
        found = verification_eer(content + noise, people, emotions, statements)
        assert found.equal_error_rate == pytest.approx(0.5, abs=0.1)

    def test_people_in_the_embedding_are_found(self):
        people, emotions, statements = self.grid()
        generator = np.random.default_rng(2)
        x = generator.standard_normal((6, 8))[people]
        x = x + 0.1 * generator.standard_normal(x.shape)
        found = verification_eer(x, people, emotions, statements)
        assert found.equal_error_rate < 0.05
        assert found.equal_error_rate_same_sex is None

    def test_same_sex_impostors_are_harder_where_the_embedding_knows_the_sex_only(self):
        people, emotions, statements = self.grid()
        sexes = np.where(people % 2, "male", "female")
        x = np.where(people % 2, 1.0, -1.0)[:, None] * np.ones((1, 4))
        x = x + 0.3 * np.random.default_rng(3).standard_normal(x.shape)
        found = verification_eer(x, people, emotions, statements, sexes)
        assert found.equal_error_rate < 0.4
        assert found.equal_error_rate_same_sex == pytest.approx(0.5, abs=0.1)

    def test_without_statements_pairs_differ_in_emotion(self):
        people, emotions, _ = self.grid()
        x = np.random.default_rng(4).standard_normal((len(people), 8))
        assert verification_eer(x, people, emotions, None).genuine_pairs == 6 * 3 * 16

    def test_a_single_person_has_no_rate(self):
        people, emotions, statements = self.grid()
        x = np.random.default_rng(5).standard_normal((len(people), 8))
        found = verification_eer(x, people * 0, emotions, statements, np.full(len(people), "male"))
        assert found.equal_error_rate is None
        assert found.equal_error_rate_same_sex is None
        assert found.impostor_pairs == 0


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
        plain = verification_eer(x[new], *labels).equal_error_rate
        scores = plda_scores(x[~new], people[~new], x[new])
        attacked = verify(scores, *labels).equal_error_rate
        assert plain > 0.38
        assert attacked < at_most

    def test_scores_are_the_log_likelihood_ratio_of_the_gaussian_model(self):
        """One axis, many clips: B and W are those the clips were drawn with."""
        generator = np.random.default_rng(7)
        people = np.repeat(np.arange(2000), 20)
        x = 2.0 * generator.standard_normal(2000)[people] + generator.standard_normal(40_000)
        pair = np.array([[1.5], [2.5]])
        scores = plda_scores(x[:, None], people, pair)
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
        scores = plda_scores(x[known], people[known], x[~known])
        emotions = (np.arange(240) // 12) % 2
        found = verify(scores, people[~known], emotions[~known], None)
        assert found.equal_error_rate == pytest.approx(0.5, abs=0.1)

    def test_a_collapsed_embedding_tells_nothing(self):
        x, people = np.full((48, 6), 0.3), np.arange(48) % 4
        scores = plda_scores(x, people, x)
        found = verify(scores, people, np.arange(48) // 4 % 2, None)
        assert found.equal_error_rate == pytest.approx(0.5)

    def test_too_few_people_or_clips_are_refused(self):
        x = np.random.default_rng(9).standard_normal((6, 3))
        with pytest.raises(ValueError, match="two training subjects"):
            plda_scores(x, np.zeros(6, int), x)
        with pytest.raises(ValueError, match="two clips"):
            plda_scores(x, np.arange(6), x)
