"""Closed forms, masks and gradients of the losses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.numpy_reference import assert_gradients

from jax_avemo.objectives import losses

# One compilation a function and shape, where eager calls compile every operation by itself.
softmax_cross_entropy = jax.jit(losses.softmax_cross_entropy, static_argnums=3)
accuracy = jax.jit(losses.accuracy)
orthogonality = jax.jit(losses.orthogonality)
hsic = jax.jit(losses.hsic)
PENALTIES = {"orthogonal": losses.orthogonality, "hsic": losses.hsic}
COUPLINGS = {name: jax.jit(function) for name, function in PENALTIES.items()}


def value_and_slope(function):
    return jax.jit(jax.value_and_grad(function))


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def all_valid(rows: int) -> np.ndarray:
    return np.ones(rows, bool)


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


class TestSoftmaxCrossEntropy:
    def test_equal_logits_cost_log_classes(self):
        loss = softmax_cross_entropy(np.zeros((4, 8)), np.arange(4), all_valid(4))
        assert loss == pytest.approx(np.log(8), rel=1e-6)

    def test_is_the_mean_over_counted_rows(self):
        logits, labels = normal(0, 5, 3), np.array([0, 2, -1, 1, 1])
        valid = np.array([True, True, True, True, False])
        log_p = np.log(softmax(logits))
        expected = -(log_p[0, 0] + log_p[1, 2] + log_p[3, 1]) / 3
        assert softmax_cross_entropy(logits, labels, valid) == pytest.approx(expected, rel=1e-5)

    def test_smoothing_mixes_the_target_with_the_uniform_one(self):
        logits, labels = normal(1, 4, 6), np.array([5, 0, 3, 3])
        target = 0.9 * np.eye(6)[labels] + 0.1 / 6
        expected = -np.mean(np.sum(target * np.log(softmax(logits)), axis=1))
        smoothed = softmax_cross_entropy(logits, labels, all_valid(4), 0.1)
        assert smoothed == pytest.approx(float(expected), rel=1e-5)

    def test_smoothed_gradient_is_the_finite_difference(self):
        logits, labels = normal(7, 5, 4), np.array([1, 0, 3, -1, 2])
        valid = np.array([True, True, True, True, False])
        target = 0.8 * np.eye(4)[labels] + 0.2 / 4

        def loss(logits):
            return -np.sum((target * np.log(softmax(logits)))[:3]) / 3

        counted = jnp.asarray(labels), jnp.asarray(valid)
        slope = jax.jit(jax.grad(lambda x: losses.softmax_cross_entropy(x, *counted, 0.2)))(logits)
        assert_gradients(loss, (slope,), logits)

    def test_gradient_is_probability_minus_target(self):
        logits, labels = normal(2, 3, 4), np.array([1, 0, 3])
        _, slope = value_and_slope(softmax_cross_entropy)(logits, labels, all_valid(3))
        expected = (softmax(logits) - np.eye(4)[labels]) / 3
        np.testing.assert_allclose(slope, expected, atol=1e-6)

    @pytest.mark.parametrize("label", [-1, 0])
    def test_nothing_to_count_is_zero_with_a_zero_gradient(self, label):
        valid = np.zeros(2, bool) if label == 0 else all_valid(2)
        value, slope = value_and_slope(softmax_cross_entropy)(
            normal(3, 2, 3), np.full(2, label), valid
        )
        assert value == 0.0
        np.testing.assert_array_equal(slope, 0.0)

    def test_infinite_padding_rows_leave_the_gradient_finite(self):
        logits = np.concatenate([normal(4, 2, 4), np.full((1, 4), np.inf, np.float32)])
        valid = np.array([True, True, False])
        value, slope = value_and_slope(softmax_cross_entropy)(logits, np.arange(3), valid)
        assert np.isfinite(value)
        assert np.isfinite(slope).all()

    def test_is_float32_from_bfloat16_logits(self):
        logits = jnp.asarray(normal(5, 2, 3), jnp.bfloat16)
        assert softmax_cross_entropy(logits, np.arange(2), all_valid(2)).dtype == jnp.float32


class TestAccuracy:
    def test_counts_valid_labelled_rows_only(self):
        logits = np.eye(3, dtype=np.float32)[[0, 1, 2, 2, 1]]
        labels = np.array([0, 1, 0, -1, 1])
        valid = np.array([True, True, True, True, False])
        assert accuracy(logits, labels, valid) == pytest.approx(2 / 3)

    def test_nothing_to_count_is_zero(self):
        assert accuracy(normal(0, 2, 3), np.array([-1, -1]), all_valid(2)) == 0.0


class TestOrthogonality:
    def test_equals_the_formula(self):
        ze, zi = np.array(normal(0, 6, 4)), np.array(normal(1, 6, 3))

        def rows(z):
            z = z - z.mean(0)
            return z / np.linalg.norm(z, axis=1, keepdims=True)

        expected = np.sum((rows(ze).T @ rows(zi)) ** 2) / 6**2
        assert orthogonality(ze, zi, all_valid(6)) == pytest.approx(expected, rel=1e-5)

    def test_one_dimension_with_itself_is_one(self):
        z = np.array([[1.0], [-1.0], [2.0], [-2.0]])
        assert orthogonality(z, z, all_valid(4)) == pytest.approx(1.0, rel=1e-5)

    def test_uncorrelated_columns_are_zero(self):
        ze = np.array([[1.0], [1.0], [-1.0], [-1.0]])
        zi = np.array([[1.0], [-1.0], [1.0], [-1.0]])
        assert orthogonality(ze, zi, all_valid(4)) == pytest.approx(0.0, abs=1e-7)


class TestHsic:
    def test_equals_the_trace_formula(self):
        ze, zi = np.array(normal(2, 7, 4)), np.array(normal(3, 7, 5))

        def kernel(z):
            distances = ((z[:, None] - z[None]) ** 2).sum(-1)
            return np.exp(-distances / distances[~np.eye(7, dtype=bool)].mean())

        h = np.eye(7) - 1 / 7
        expected = np.trace(kernel(ze) @ h @ kernel(zi) @ h) / 6**2
        assert hsic(ze, zi, all_valid(7)) == pytest.approx(expected, rel=1e-4)

    def test_sees_a_dependence_without_correlation(self):
        """A grid makes y independent of x exactly, not only on average."""
        axis = np.linspace(-1, 1, 8, dtype=np.float32)[:, None]
        x, y = np.repeat(axis, 8, axis=0), np.tile(axis, (8, 1))
        assert hsic(x, np.square(x), all_valid(64)) > 0.02
        assert hsic(x, y, all_valid(64)) == pytest.approx(0.0, abs=1e-6)

    def test_shrinking_an_embedding_is_no_way_out(self):
        ze, zi = normal(6, 8, 3), normal(7, 8, 3)
        before, after = (hsic(scale * ze, zi, all_valid(8)) for scale in (1.0, 1e-2))
        assert after == pytest.approx(float(before), rel=1e-4)


@pytest.mark.parametrize("name", sorted(COUPLINGS))
class TestEveryCoupling:
    def test_padding_changes_nothing(self, name):
        ze, zi = normal(8, 5, 4), normal(9, 5, 3)
        padded = [np.concatenate([z, np.full((3, z.shape[1]), 1e3)]) for z in (ze, zi)]
        valid = np.arange(8) < 5
        expected = COUPLINGS[name](ze, zi, all_valid(5))
        assert COUPLINGS[name](*padded, valid) == pytest.approx(float(expected), rel=1e-5)

    @pytest.mark.parametrize("rows", [0, 1])
    def test_too_few_rows_are_zero_with_a_finite_gradient(self, name, rows):
        valid = np.arange(4) < rows
        value, slope = value_and_slope(COUPLINGS[name])(normal(0, 4, 3), normal(1, 4, 3), valid)
        assert value == pytest.approx(0.0, abs=1e-7)
        assert np.isfinite(slope).all()

    def test_a_collapsed_embedding_has_a_finite_gradient(self, name):
        value, slope = value_and_slope(COUPLINGS[name])(
            np.ones((4, 3)), normal(1, 4, 3), all_valid(4)
        )
        assert value == pytest.approx(0.0, abs=1e-6)
        assert np.isfinite(slope).all()

    def test_descent_makes_dependent_embeddings_less_dependent(self, name):
        zi = normal(2, 16, 3)
        ze = zi + 0.1 * normal(3, 16, 3)
        measure = value_and_slope(COUPLINGS[name])
        first, slope = measure(ze, zi, all_valid(16))
        for _ in range(50):
            ze = ze - 0.2 * np.array(slope) / np.linalg.norm(slope)
            last, slope = measure(ze, zi, all_valid(16))
        assert last < 0.5 * first


def orthogonality_of(ze, zi):
    def rows(z):
        z = z - z.mean(0)
        return z / np.linalg.norm(z, axis=1, keepdims=True)

    return np.sum((rows(ze).T @ rows(zi)) ** 2) / len(ze) ** 2


def hsic_with(bandwidths):
    """The trace formula; the bandwidths are constants, as they are to differentiation."""

    def loss(ze, zi):
        m = len(ze)
        h = np.eye(m) - 1 / m
        kernels = [
            np.exp(-((z[:, None] - z[None]) ** 2).sum(-1) / width)
            for z, width in zip((ze, zi), bandwidths, strict=True)
        ]
        return np.trace(kernels[0] @ h @ kernels[1] @ h) / (m - 1) ** 2

    return loss


@pytest.mark.parametrize("name", sorted(COUPLINGS))
def test_couplings_have_the_gradients_of_their_formula_and_padding_has_none(name):
    ze, zi = normal(10, 6, 4), normal(11, 6, 3)
    real = (ze, zi)
    if name == "hsic":
        squares = [((z[:, None] - z[None]) ** 2).sum(-1).astype(float) for z in real]
        loss = hsic_with([d[~np.eye(6, dtype=bool)].mean() for d in squares])
    else:
        loss = orthogonality_of
    padded = [np.concatenate([z, np.full((2, z.shape[1]), 7.0, np.float32)]) for z in real]
    slopes = jax.jit(jax.grad(PENALTIES[name], argnums=(0, 1)))(*padded, np.arange(8) < 6)
    assert_gradients(loss, tuple(slope[:6] for slope in slopes), *real)
    assert not any(np.any(slope[6:]) for slope in slopes)


class TestReversalSchedule:
    def test_equals_the_paper(self):
        p = np.linspace(0, 1, 5)
        np.testing.assert_allclose(
            losses.reversal_schedule(jnp.asarray(p, jnp.float32)),
            2 / (1 + np.exp(-10 * p)) - 1,
            atol=1e-6,
        )

    def test_starts_at_zero(self):
        assert losses.reversal_schedule(0.0) == 0.0
