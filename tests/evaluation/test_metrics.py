"""Metrics against scikit-learn, intervals against closed forms."""

from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_1samp
from sklearn import metrics as sklearn_metrics

from jax_avemo.evaluation import metrics
from jax_avemo.evaluation.metrics import (
    METRICS,
    by_person,
    confusion_matrix,
    estimate,
    expected_calibration_error,
    macro_f1,
    paired_difference,
    unweighted_average_recall,
    weighted_average_recall,
)
from jax_avemo.evaluation.results import Coverage, PairedDifference

CLASSES = 8


def answers(seed: int, clips: int = 400, right: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.choice(CLASSES, clips, p=np.arange(1, 9) / 36)
    guesses = generator.integers(0, CLASSES, clips)
    return labels, np.where(generator.random(clips) < right, labels, guesses)


def people(clips: int = 400, subjects: int = 24) -> np.ndarray:
    return np.array([f"s{clip % subjects}" for clip in range(clips)])


class TestAgainstScikitLearn:
    @pytest.mark.parametrize("seed", range(3))
    def test_every_metric(self, seed):
        labels, predictions = answers(seed)
        confusion = confusion_matrix(labels, predictions, CLASSES)
        np.testing.assert_array_equal(
            confusion, sklearn_metrics.confusion_matrix(labels, predictions)
        )
        assert unweighted_average_recall(confusion) == pytest.approx(
            sklearn_metrics.balanced_accuracy_score(labels, predictions)
        )
        assert weighted_average_recall(confusion) == pytest.approx(
            sklearn_metrics.accuracy_score(labels, predictions)
        )
        assert macro_f1(confusion) == pytest.approx(
            sklearn_metrics.f1_score(labels, predictions, average="macro")
        )

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.tuples(st.integers(-1, 4), st.integers(0, 4)), min_size=1, max_size=30))
    def test_every_metric_of_whatever_answers(self, pairs):
        """Classes may be missing, all answers wrong, some labels unknown (-1)."""
        labels, predictions = np.array(pairs).T
        known = labels >= 0
        confusion = confusion_matrix(labels, predictions, 5)
        if not known.any():
            assert all(np.isnan(metric(confusion)) for metric in METRICS.values())
            return
        y, p = labels[known], predictions[known]
        np.testing.assert_array_equal(
            confusion, sklearn_metrics.confusion_matrix(y, p, labels=range(5))
        )
        recalls = sklearn_metrics.recall_score(y, p, average=None, labels=np.unique(y))
        assert unweighted_average_recall(confusion) == pytest.approx(recalls.mean())
        assert weighted_average_recall(confusion) == pytest.approx(
            sklearn_metrics.accuracy_score(y, p)
        )
        f1 = sklearn_metrics.f1_score(y, p, average="macro", zero_division=0.0)
        assert macro_f1(confusion) == pytest.approx(f1)

    def test_classes_that_do_not_occur_count_nowhere(self):
        labels, predictions = np.array([0, 0, 2, 2]), np.array([0, 3, 2, 2])
        confusion = confusion_matrix(labels, predictions, CLASSES)
        assert unweighted_average_recall(confusion) == pytest.approx(0.75)
        assert macro_f1(confusion) == pytest.approx(
            sklearn_metrics.f1_score(labels, predictions, average="macro")
        )


class TestConfusionMatrix:
    def test_unknown_labels_are_left_out(self):
        confusion = confusion_matrix(np.array([0, -1, 1]), np.array([0, 1, 0]), 2)
        np.testing.assert_array_equal(confusion, [[1, 0], [1, 0]])

    @pytest.mark.parametrize(("label", "prediction"), [(2, 0), (0, 2), (0, -1)])
    def test_classes_out_of_range_are_refused(self, label, prediction):
        with pytest.raises(ValueError, match="outside"):
            confusion_matrix(np.array([label]), np.array([prediction]), 2)

    def test_lengths_must_agree(self):
        with pytest.raises((ValueError, TypeError), match="labels but|Type-check"):
            confusion_matrix(np.array([0, 1]), np.array([0]), 2)

    @pytest.mark.parametrize("name", sorted(METRICS))
    def test_metrics_take_stacks_and_nothing_is_nan(self, name):
        filled = confusion_matrix(*answers(0), CLASSES)
        values = METRICS[name](np.stack([filled, np.zeros_like(filled)]))
        assert values[0] == METRICS[name](filled)
        assert np.isnan(values[1])


class TestCalibrationError:
    def test_equals_a_sum_over_bins(self):
        generator = np.random.default_rng(0)
        probabilities = generator.dirichlet(np.ones(4), 500)
        labels = generator.integers(0, 4, 500)
        confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
        expected = 0.0
        for number in range(10):
            inside = (confidence > number / 10) & (confidence <= (number + 1) / 10)
            if inside.any():
                gap = abs(right[inside].mean() - confidence[inside].mean())
                expected += inside.mean() * gap
        assert expected_calibration_error(probabilities, labels, bins=10) == pytest.approx(expected)

    def test_sure_and_right_is_zero_and_sure_and_wrong_is_one(self):
        certain = np.eye(3)
        assert expected_calibration_error(certain, np.arange(3)) == 0.0
        assert expected_calibration_error(certain, np.array([1, 2, 0])) == 1.0

    def test_unknown_labels_are_left_out(self):
        assert expected_calibration_error(np.eye(2), np.array([0, -1])) == 0.0
        assert np.isnan(expected_calibration_error(np.eye(2), np.array([-1, -1])))


class TestEstimate:
    def test_of_equally_many_clips_a_class_it_is_the_t_interval_of_the_subjects_own_uar(self):
        generator = np.random.default_rng(1)
        labels = np.tile(np.repeat(np.arange(4), 5), 12)
        subjects = np.repeat(np.arange(12), 20)
        predictions = np.where(generator.random(240) < 0.6, labels, 0)
        own = [
            unweighted_average_recall(
                confusion_matrix(labels[subjects == s], predictions[subjects == s], 4)
            )
            for s in range(12)
        ]
        found = estimate(labels, predictions, subjects, unweighted_average_recall, classes=4)
        reference = ttest_1samp(own, 0).confidence_interval(0.95)
        assert astuple(found) == pytest.approx((np.mean(own), *reference))

    @pytest.mark.parametrize("metric", METRICS.values())
    def test_pseudo_values_leave_one_subject_out(self, metric):
        labels, predictions = answers(2)
        value, found = by_person(labels, predictions, people(), metric, classes=CLASSES)
        assert value == pytest.approx(metric(confusion_matrix(labels, predictions, CLASSES)))
        kept = people() != "s3"
        without = metric(confusion_matrix(labels[kept], predictions[kept], CLASSES))
        number = sorted(set(people())).index("s3")
        assert found[number] == pytest.approx(24 * value - 23 * without)

    def test_a_network_given_twice_is_that_network(self):
        labels, predictions = answers(4)
        once, twice = (
            estimate(labels, given, people(), macro_f1, classes=CLASSES)
            for given in (predictions, np.stack([predictions, predictions]))
        )
        assert astuple(twice) == pytest.approx(astuple(once))

    def test_networks_are_averaged(self):
        labels, good = answers(5, right=0.9)
        bad = answers(6, right=0.2)[1]
        both = estimate(labels, np.stack([good, bad]), people(), macro_f1, classes=CLASSES)
        each = [macro_f1(confusion_matrix(labels, given, CLASSES)) for given in (good, bad)]
        assert both.value == pytest.approx(np.mean(each))

    def test_ignores_subjects_without_labels_and_the_order_of_clips(self):
        labels, predictions = answers(7)
        order = np.random.default_rng(0).permutation(401)
        more = [np.append(labels, -1), np.append(predictions, 0), np.append(people(), "nobody")]
        uar = unweighted_average_recall
        plain = estimate(labels, predictions, people(), uar, classes=CLASSES)
        other = estimate(*(array[order] for array in more), uar, classes=CLASSES)
        assert astuple(other) == pytest.approx(astuple(plain))

    def test_no_share_is_above_one(self):
        labels = np.zeros(60, int)
        predictions = (np.arange(60) == 0).astype(int)
        found = estimate(labels, predictions, np.arange(60) // 10, macro_f1, classes=2)
        assert found.high == 1.0

    def test_one_subject_has_no_interval(self):
        labels, predictions = answers(3)
        found = estimate(labels, predictions, np.zeros(len(labels)), macro_f1, classes=CLASSES)
        assert (found.low, found.high) == (None, None)
        assert found.value == pytest.approx(
            macro_f1(confusion_matrix(labels, predictions, CLASSES))
        )

    def test_without_labels_is_refused(self):
        none = np.array([-1, -1])
        with pytest.raises(ValueError, match="no clip has a label"):
            estimate(none, none + 1, none, macro_f1, classes=2)


class TestPairedDifference:
    def compare(self, a, b, labels, subjects, classes=CLASSES):
        return paired_difference(labels, a, b, subjects, unweighted_average_recall, classes=classes)

    def test_of_a_network_with_itself_is_nothing(self):
        labels, predictions = answers(0)
        assert self.compare(predictions, predictions, labels, people()) == PairedDifference(
            0.0, 0.0, 0.0, 1.0
        )

    def test_exchanging_a_and_b_changes_the_sign(self):
        labels, a = answers(1, right=0.8)
        b = answers(2, right=0.3)[1]
        forth = self.compare(a, b, labels, people())
        back = self.compare(b, a, labels, people())
        assert forth.difference == pytest.approx(-back.difference)
        assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))
        assert forth.p_value == back.p_value

    def test_better_in_each_of_five_subjects_has_the_smallest_p_of_five(self):
        labels = np.zeros(10, int)
        a, b = labels, np.tile([0, 1], 5)
        found = self.compare(a, b, labels, np.repeat(np.arange(5), 2), classes=2)
        assert found.difference == pytest.approx(0.5)
        assert found.p_value == 2**-4

    def test_p_is_uniform_where_there_is_no_difference(self):
        values = []
        for seed in range(60):
            labels, _ = answers(seed)
            b = np.where(np.random.default_rng(1000 + seed).random(400) < 0.6, labels, 0)
            a = np.where(np.random.default_rng(2000 + seed).random(400) < 0.6, labels, 0)
            values.append(self.compare(a, b, labels, people()).p_value)
        assert 0.35 < np.mean(values) < 0.65
        assert np.mean(np.array(values) < 0.05) < 0.15

    def test_as_many_networks_are_needed_on_both_sides(self):
        labels, a = answers(0)
        with pytest.raises(ValueError, match="predictions of"):
            self.compare(a, np.stack([a, a]), labels, people())


class TestReliability:
    def test_bins_hold_their_clips_and_give_the_error_back(self):
        rng = np.random.default_rng(0)
        probabilities = rng.dirichlet(np.ones(4), size=300)
        labels = rng.integers(-1, 4, 300)
        diagram = metrics.reliability(probabilities, labels, bins=15)
        known = (labels >= 0).sum()
        assert sum(row.clips for row in diagram) == known
        error = sum(row.clips * abs(row.accuracy - row.confidence) for row in diagram)
        assert error / known == pytest.approx(
            metrics.expected_calibration_error(probabilities, labels)
        )

    def test_nothing_known_gives_nothing(self):
        assert metrics.reliability(np.full((3, 2), 0.5), np.full(3, -1)) == ()


class TestSelectiveAccuracy:
    def test_the_most_confident_are_predicted_first(self):
        sure = np.linspace(0.99, 0.6, 10)
        probabilities = np.stack([sure, 1 - sure], axis=1)
        labels = np.array([0] * 5 + [1] * 5)  # the surer half is right
        found = metrics.selective_accuracy(probabilities, labels)
        assert [row.clips for row in found] == [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]
        assert found[0].accuracy == 0.5
        assert found[5].accuracy == found[9].accuracy == 1.0

    def test_at_least_one_clip_is_predicted(self):
        found = metrics.selective_accuracy(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 0]))
        assert found[-1] == Coverage(coverage=0.1, clips=1, accuracy=1.0)


@pytest.mark.parametrize(
    ("values", "wanted"), [([0.5], 0.5), ([1, 0, 0.5, 0.75], 0.0), ([0, 0.2, 1, 1, 1], 0.1)]
)
def test_the_worst_quartile_is_rounded_up(values, wanted):
    assert metrics.worst_quartile(values) == pytest.approx(wanted)
