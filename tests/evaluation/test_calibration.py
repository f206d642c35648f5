"""A temperature found again, and what it may not change."""

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from jax_avemo.evaluation.calibration import (
    apply_temperature,
    fit_temperature,
    read_temperatures,
    write_calibration,
)


def drawn(temperature: float, clips: int = 20_000, classes: int = 5, seed: int = 0):
    """Labels drawn from softmax(logits), and a network that says softmax(logits * T)."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(clips, classes))
    truth = softmax(logits, axis=1)
    labels = (rng.random((clips, 1)) > truth.cumsum(axis=1)).sum(axis=1)
    return softmax(logits * temperature, axis=1), labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_of_an_over_or_underconfident_network_is_found_again(temperature):
    probabilities, labels = drawn(temperature)
    fit = fit_temperature(probabilities, labels)
    assert fit.temperature == pytest.approx(temperature, rel=0.05)
    assert fit.ece_after < 0.015
    assert fit.nll_after <= fit.nll_before + 1e-9
    if temperature != 1.0:
        assert fit.ece_before > 0.05


def test_probabilities_scaled_are_logits_divided():
    logits = np.random.default_rng(1).normal(size=(7, 4)) * 3
    scaled = apply_temperature(softmax(logits, axis=1), 2.5)
    np.testing.assert_allclose(np.log(scaled), log_softmax(logits / 2.5, axis=1), atol=1e-9)


def test_the_order_of_classes_stays_and_rows_sum_to_one():
    probabilities, _ = drawn(2.0, clips=50)
    for temperature in (0.1, 1.0, 9.0):
        scaled = apply_temperature(probabilities, temperature)
        assert (scaled.argmax(1) == probabilities.argmax(1)).all()
        np.testing.assert_allclose(scaled.sum(1), 1, atol=1e-12)


def test_certain_and_right_or_wrong_stays_finite():
    certain = np.eye(3)[[0, 1, 2, 0]]
    assert np.isfinite(fit_temperature(certain, np.array([0, 1, 2, 0])).temperature)
    assert np.isfinite(fit_temperature(certain, np.array([1, 2, 0, 1])).nll_after)


def test_unlabelled_clips_count_nowhere():
    probabilities, labels = drawn(2.0, clips=500)
    labels[::3] = -1
    kept = labels >= 0
    assert fit_temperature(probabilities, labels) == fit_temperature(
        probabilities[kept], labels[kept]
    )
    with pytest.raises(ValueError, match="labelled"):
        fit_temperature(probabilities, np.full(500, -1))


def test_temperatures_are_of_one_step(tmp_path):
    fit = fit_temperature(*drawn(2.0, clips=300))
    write_calibration(tmp_path, 40, {"video": fit})
    assert read_temperatures(tmp_path, 40) == {"video": fit.temperature}
    assert read_temperatures(tmp_path, 41) is None
    assert read_temperatures(tmp_path / "none", 40) is None
