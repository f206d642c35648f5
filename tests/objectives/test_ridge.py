"""What a ridge regression reads from an embedding: against scikit-learn's, closed forms, masks."""

import jax
import numpy as np
import pytest
from numpy_reference import assert_slopes
from sklearn.linear_model import Ridge

from jax_avemo.objectives import losses

CLASSES, GROUPS, RIDGE = 3, 4, 0.1


def measure(z, labels, given, valid):
    return losses.ridge_predictability(
        z, labels, given, valid, classes=CLASSES, given_classes=GROUPS, ridge=RIDGE
    )


read = jax.jit(measure)
read_slope = jax.jit(jax.value_and_grad(measure))


@pytest.fixture
def world():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, 40).astype(np.int32)
    given = rng.integers(0, GROUPS, 40).astype(np.int32)
    z = rng.normal(size=(40, 6)) + rng.normal(size=(CLASSES, 6))[labels]
    return (z + 2 * rng.normal(size=(GROUPS, 6))[given]).astype(np.float32), labels, given


def within(values, groups):
    values = np.array(values, np.float64)
    for group in set(groups):
        values[groups == group] -= values[groups == group].mean(axis=0)
    return values


@pytest.mark.parametrize("conditional", [True, False])
def test_is_what_a_ridge_regression_explains(world, conditional):
    z, labels, given = world
    groups = given if conditional else np.zeros_like(given)
    x, y = within(z, groups), within(np.eye(CLASSES)[labels], groups)
    penalty = RIDGE * np.trace(x.T @ x) / x.shape[1]
    fitted = Ridge(alpha=penalty, fit_intercept=False).fit(x, y).predict(x)
    got = read(z, labels, given if conditional else None, np.ones(40, bool))
    assert got == pytest.approx((fitted * y).sum() / (y**2).sum(), rel=1e-4)
    assert 0.05 < got < 0.95


def test_a_label_that_is_the_embedding_is_read_up_to_the_penalty():
    labels = np.tile(np.arange(2, dtype=np.int32), 10)
    z = np.where(labels == 0, -1.0, 1.0)[:, None]
    assert read(z, labels, None, np.ones(20, bool)) == pytest.approx(1 / (1 + RIDGE), rel=1e-5)


def test_only_what_goes_beyond_the_given_counts(world):
    _, _, given = world
    labels = (given % CLASSES).astype(np.int32)
    z = np.eye(GROUPS)[given] @ np.random.default_rng(1).normal(size=(GROUPS, 6))
    assert read(z, labels, None, np.ones(40, bool)) > 0.5
    assert read(z, labels, given, np.ones(40, bool)) == pytest.approx(0.0, abs=1e-5)


def test_shrinking_is_no_way_out(world):
    z, labels, given = world
    valid = np.ones(40, bool)
    assert read(1e-2 * z, labels, given, valid) == pytest.approx(
        float(read(z, labels, given, valid)), rel=1e-4
    )


def test_rows_that_do_not_count_change_nothing(world):
    z, labels, given = world
    expected, slope = read_slope(z[:37], labels[:37], given[:37], np.ones(37, bool))
    z, labels, given = (values.copy() for values in world)
    z[37:] = np.inf
    labels[37], given[38] = -1, -1
    value, got = read_slope(z, labels, given, np.arange(40) != 39)
    assert value == pytest.approx(float(expected), rel=1e-5)
    np.testing.assert_allclose(got[:37], slope, rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(got[37:], 0.0)


@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_rows_are_zero_with_a_finite_gradient(world, rows):
    value, slope = read_slope(*world, np.arange(40) < rows)
    assert value == pytest.approx(0.0, abs=1e-6)
    assert np.isfinite(slope).all()


def test_a_collapsed_embedding_has_a_finite_gradient(world):
    value, slope = read_slope(np.ones_like(world[0]), *world[1:], np.ones(40, bool))
    assert value == pytest.approx(0.0, abs=1e-6)
    assert np.isfinite(slope).all()


def test_gradient_is_the_finite_difference(world):
    z, labels, given = world

    def explained(z):
        x, y = within(z, given), within(np.eye(CLASSES)[labels], given)
        penalty = RIDGE * np.trace(x.T @ x) / x.shape[1]
        solved = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)
        return ((x @ solved) * y).sum() / (y**2).sum()

    assert_slopes(explained, (read_slope(z, labels, given, np.ones(40, bool))[1],), z)


def test_descent_makes_the_label_unreadable(world):
    z, labels, given = world
    valid = np.ones(40, bool)
    before = read(z, labels, given, valid)
    for _ in range(100):
        z = z - 20.0 * read_slope(z, labels, given, valid)[1]
    assert read(z, labels, given, valid) < 0.2 * before
