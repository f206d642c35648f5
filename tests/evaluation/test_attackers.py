"""Attackers find what is there, do not find what is not, and choose on what they learn on alone."""

import numpy as np
import pytest
from scipy.stats import binom

from jax_avemo.evaluation import attackers
from jax_avemo.evaluation.attackers import ATTACKERS, attack, cross_attack, mean_recall

NONLINEAR = {"mlp", "knn"}


def clips(
    signal: float, *, seed: int = 0, classes: int = 4, each: int = 16, width: int = 16
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings whose class means are `signal` standard deviations from 0."""
    generator = np.random.default_rng(seed)
    means = np.random.default_rng(99).standard_normal((classes, width))
    labels = np.tile(np.arange(classes), each)
    return signal * means[labels] + generator.standard_normal((len(labels), width)), labels


def exclusive_or(each: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two people, each with two opposite clusters: equal means, and nothing linear tells them.

    In 2 of 4 axes; whose clip it is, is the sign of a product.
    """
    generator = np.random.default_rng(seed)
    corner = generator.choice([-1.0, 1.0], size=(2 * each, 2))
    x = np.hstack([3.0 * corner, np.zeros((2 * each, 2))])
    return x + 0.5 * generator.standard_normal(x.shape), (corner.prod(axis=1) > 0).astype(int)


def accuracy(found, y) -> dict[str, float]:
    return {name: float(np.mean(guess.labels == y)) for name, guess in found.items()}


def halves(count: int) -> np.ndarray:
    return np.arange(count) // (count // 2)


class TestAttack:
    def test_people_as_gaussians_are_found_by_all(self):
        x, y = clips(3.0)
        found = accuracy(cross_attack(x, y, halves(64), groups=np.arange(64), seed=0), y)
        assert set(found) == {"linear", "mlp", "knn", "cosine", "plda"}
        assert min(found.values()) > 0.95

    @pytest.mark.parametrize("classes", [4, 12])
    def test_where_nobody_differs_all_are_at_chance_within_binomial_error(self, classes):
        x, y = clips(0.0, classes=classes, each=128 // classes)
        found = cross_attack(x, y, halves(len(y)), groups=np.arange(len(y)), seed=0)
        low, high = binom.interval(0.999, len(y), 1 / classes)
        for name, guess in found.items():
            for labels in guess:
                assert low <= np.sum(labels == y) <= high, name

    def test_an_exclusive_or_is_read_by_the_nonlinear_attackers_alone(self):
        x, y = exclusive_or()
        found = accuracy(cross_attack(x, y, halves(80), groups=np.arange(80), seed=0), y)
        assert all(found[name] > 0.9 for name in NONLINEAR)
        assert all(found[name] < 0.7 for name in found.keys() - NONLINEAR)

    def test_without_the_persons_means_the_linear_attacker_is_at_chance_and_the_mlp_is_not(self):
        """Subtracting a person's mean hides the mean; the spread still tells who it is."""
        generator = np.random.default_rng(0)
        people = np.tile(np.arange(4), 40)
        spread = np.array([[0.2, 3.0], [3.0, 0.2], [0.2, 0.2], [3.0, 3.0]])
        x = 5.0 * generator.standard_normal((4, 2))[people]
        x = x + spread[people] * generator.standard_normal((160, 2))
        half = halves(160)
        for side in (0, 1):  # each clip less the mean of the person's clips of its half
            for person in range(4):
                here = (half == side) & (people == person)
                x[here] -= x[here].mean(axis=0)
        found = accuracy(cross_attack(x, people, half, groups=np.arange(160), seed=0), people)
        assert found["linear"] < 0.4
        assert found["cosine"] < 0.4
        assert found["mlp"] > 0.5

    def test_shuffled_labels_teach_nothing(self):
        x, y = clips(0.7, each=40)
        found = cross_attack(x, y, halves(160), groups=np.arange(160), seed=0)
        assert min(accuracy(found, y).values()) > 0.6
        assert all(np.mean(guess.shuffled == y) < 0.45 for guess in found.values())

    def test_each_clip_is_guessed_by_those_who_learnt_on_the_other_folds(self, monkeypatch):
        x, y = clips(1.0)
        x[:, 0] = np.arange(64)  # tells which clip it is
        folds = np.arange(64) % 3
        learnt = []
        monkeypatch.setattr(
            attackers,
            "attack",
            lambda learn_x, learn_y, x, **_: learnt.append((learn_x[:, 0], x[:, 0])) or {},
        )
        cross_attack(x, y, folds, groups=np.arange(64), seed=0)
        for fold, (known, attacked) in enumerate(learnt):
            assert set(attacked) == set(np.flatnonzero(folds == fold))
            assert not set(known) & set(attacked)
            assert len(known) + len(attacked) == 64

    def test_ignores_the_scale_and_offset_of_features(self):
        (x, y), (test, test_y) = clips(0.7), clips(0.7, seed=1)
        scale, offset = np.logspace(-3, 3, 16), np.linspace(-50, 50, 16)
        groups = np.arange(64)
        plain = attack(x, y, test, groups=groups, seed=0)
        moved = attack(x * scale + offset, y, test * scale + offset, groups=groups, seed=0)
        # Rounding takes the MLP's L-BFGS another way.
        assert accuracy(moved, test_y) == pytest.approx(accuracy(plain, test_y), abs=0.1)

    def test_a_constant_feature_is_silent(self):
        (x, y), (test, test_y) = clips(1.5), clips(1.5, seed=1)
        constant = [np.hstack([a, np.full((64, 1), b)]) for a, b in ((x, 0.1), (test, 7.0))]
        found = attack(constant[0], y, constant[1], groups=np.arange(64), seed=0)
        assert min(accuracy(found, test_y).values()) > 0.8

    def test_more_features_than_clips(self):
        (x, y), (test, test_y) = clips(1.5), clips(1.5, seed=1)
        wide, wide_test = np.hstack([x] * 20), np.hstack([test] * 20)  # 320 of 64 clips
        found = attack(wide, y, wide_test, groups=np.arange(64), seed=0)
        assert min(accuracy(found, test_y).values()) > 0.8

    def test_clips_of_one_take_do_not_meet_in_inner_folds(self):
        """Twins: were they parted, memory (little regularisation) would look like skill."""
        x, y = clips(0.3)
        twins, labels = np.repeat(x, 2, axis=0), np.repeat(y, 2)
        take = np.repeat(np.arange(len(x)), 2)
        together = attackers._inner_folds(labels, take, 0)
        for fitted, chosen_by in together:
            assert not set(take[fitted]) & set(take[chosen_by])
        parted = attackers._inner_folds(labels, np.arange(len(labels)), 0)
        linear = ATTACKERS["linear"]
        of_parted, of_together = (
            attackers._choose(linear, twins, labels, parts, 0) for parts in (parted, together)
        )
        assert of_together < of_parted

    def test_text_labels_and_the_same_seed_give_the_same(self):
        x, y = clips(0.5)
        names = np.array(["anna", "ben", "cleo", "dan"])
        test = clips(0.5, seed=1)[0]
        numbers = attack(x, y, test, groups=np.arange(64), seed=0)
        text = attack(x, names[y], test, groups=np.arange(64), seed=0)
        for name, guess in numbers.items():
            assert (names[guess.labels] == text[name].labels).all()

    def test_a_collapsed_embedding_is_at_chance(self):
        x, y = np.full((48, 6), 0.3), np.arange(48) % 4
        found = accuracy(cross_attack(x, y, halves(48), groups=np.arange(48), seed=0), y)
        assert set(found.values()) == {0.25}

    def test_few_clips_still_teach(self):
        x, y = clips(4.0, each=2)
        test, test_y = clips(4.0, seed=1)
        found = accuracy(attack(x, y, test, groups=np.arange(8), seed=0), test_y)
        assert min(found.values()) > 0.8

    def test_one_class_or_unequal_lengths_are_refused(self):
        x, y = clips(1.0)
        with pytest.raises(ValueError, match="two classes"):
            attack(x, y * 0, x, groups=y, seed=0)
        with pytest.raises((ValueError, TypeError), match="labels|Type-check"):
            attack(x, y[:3], x, groups=y, seed=0)


def test_recall_is_averaged_over_the_classes_of_a_person():
    subjects = np.array(["a"] * 4 + ["b"] * 2)
    emotions = np.array([0, 0, 0, 1, 0, 0])
    right = np.array([True, True, False, False, True, True])
    assert mean_recall(right, emotions, subjects) == {"a": pytest.approx(1 / 3), "b": 1.0}
    assert mean_recall(right, subjects, subjects) == {"a": 0.5, "b": 1.0}
