"""Enrolment within a film."""

import jax.numpy as jnp
import numpy as np
import pytest
from support.media_files import tone
from support.random_run import write_run

from jax_avemo.evaluation.trained_network import load_run
from jax_avemo.inference.earlier_windows import FEWEST, MOST, EarlierWindows, spread
from jax_avemo.inference.predict import load

SECONDS = 3.0
"""Of a window at size `tiny`."""


def z(number: float) -> np.ndarray:
    return np.array([number, -number], np.float32)


def test_a_mean_of_windows_that_ended_before():
    earlier = EarlierWindows()
    for start in range(FEWEST):
        assert earlier.mean_before(1, start) == (None, 0)
        earlier.add(1, start, start + 1.0, z(start), emotion=start)
    mean, count = earlier.mean_before(1, FEWEST)
    assert count == FEWEST
    np.testing.assert_allclose(mean, z((FEWEST - 1) / 2))
    assert earlier.mean_before(1, FEWEST - 0.5) == (None, 0)  # the last has not ended yet
    assert earlier.mean_before(2, FEWEST) == (None, 0)  # somebody else


def test_windows_that_overlap_are_not_kept_beside_each_other():
    earlier = EarlierWindows()
    for number, start in enumerate(np.arange(0, 30, 0.5)):
        earlier.add(None, start, start + SECONDS, z(start), number % 8)
    mean, count = earlier.mean_before(None, 30.0)
    assert count == 10  # from 0, 3, ... 27 s
    np.testing.assert_allclose(mean, z(13.5))
    mean, count = earlier.mean_before(None, 29.9)
    assert count == 9
    np.testing.assert_allclose(mean, z(12.0))


def test_the_latest_of_many():
    earlier = EarlierWindows()
    for start in range(50):
        earlier.add(1, start, start + 1.0, z(start), start % 8)
    mean, count = earlier.mean_before(1, 50)
    assert count == MOST
    np.testing.assert_allclose(mean, z(np.mean(range(50 - MOST, 50))))


@pytest.mark.parametrize(
    ("emotions", "expected"),
    [([0, 0, 0, 0], 1), ([0, 1, 2, 3], 4), ([0, 0, 1, 1], 2), ([0, 0, 0, 1], 4 / 3**0.75)],
)
def test_spread_is_the_number_of_emotions_where_all_are_as_many(emotions, expected):
    assert spread(np.array(emotions)) == pytest.approx(expected)


def test_windows_of_one_or_two_emotions_are_not_taken_for_a_person():
    earlier = EarlierWindows()
    for start in range(12):
        earlier.add(1, start, start + 1.0, z(start), emotion=start % 2)
        earlier.add(2, start, start + 1.0, z(start), emotion=start % 3)
    assert earlier.mean_before(1, 12) == (None, 0)
    assert earlier.mean_before(2, 12)[1] == 12


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "centred", {"model.person_centred": True})


def test_later_windows_of_a_film_are_centred_on_earlier_ones(run, monkeypatch):
    # A network with random weights says the same of all windows.
    monkeypatch.setattr("jax_avemo.inference.earlier_windows.LEAST_SPREAD", 1.0)
    model = load(run)
    # Every window another pitch.
    sound = np.concatenate([tone(SECONDS, 200 + 80 * k, rate=16_000) for k in range(6)])
    found = []
    plain_run = model._run
    monkeypatch.setattr(model, "_run", lambda rows: found.append(plain_run(rows)) or found[-1])
    predicted = model.predict_arrays(sound=sound, hop_seconds=SECONDS)
    plain = model.predict_arrays(sound=sound, hop_seconds=SECONDS, enrolment=False)
    assert [window.enrolled for window in predicted.windows] == [0, 0, 0, 0, 4, 5]
    assert not any(window.enrolled for window in plain.windows)
    assert "2 of 6 windows" in next(note for note in predicted.notes if "enrolment" in note)
    for window, alone in zip(predicted.windows[:4], plain.windows[:4], strict=True):
        np.testing.assert_array_equal(window.probabilities, alone.probabilities)

    trained = load_run(run)
    every_z = np.concatenate([outputs["z"] for outputs in found])[:6]
    mean_z = jnp.asarray(every_z[:5].mean(0, keepdims=True))
    centred = trained.model.apply(
        trained.variables, jnp.asarray(every_z[5:6]), mean_z, method="centre"
    )
    nobody = jnp.full(1, -1)
    heads = trained.model.apply(
        trained.variables, centred, train=False, emotion=nobody, subject=nobody, method="separate"
    )
    logits = np.asarray(heads.emotion_logits, np.float64)[0]
    expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    np.testing.assert_allclose(predicted.windows[5].probabilities, expected, atol=1e-5)
    assert np.abs(expected - plain.windows[5].probabilities).max() > 1e-3


def test_a_network_that_was_not_trained_for_it_reads_every_window_by_itself(tmp_path):
    model = load(write_run(tmp_path / "plain"))
    sound = tone(6 * SECONDS, rate=16_000)
    predicted = model.predict_arrays(sound=sound, hop_seconds=SECONDS, enrolment=True)
    assert not any(window.enrolled for window in predicted.windows)
