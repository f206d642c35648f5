import numpy as np
import pytest

from jax_avemo.evaluation import robustness
from jax_avemo.evaluation.results import Condition
from jax_avemo.evaluation.tables import robustness_table


def batch():
    rng = np.random.default_rng(0)
    return {
        "video": rng.integers(0, 256, (2, 3, 32, 32, 3), dtype=np.uint8),
        "video_mask": np.ones((2, 3), bool),
        "video_time": np.tile(np.array([0.1, 0.2, 0.3], np.float32), (2, 1)),
        "audio": np.concatenate([np.sin(np.arange(8000) / 5)[None], np.zeros((1, 8000))]).astype(
            np.float32
        ),
        "audio_length": np.array([6000, 8000], np.int32),
    }


@pytest.mark.parametrize("level", [20.0, 10.0, 0.0])
def test_noise_has_the_level_it_is_called(level):
    before = batch()
    after = robustness.add_noise(level)(before)
    noise = (after["audio"] - before["audio"])[0, :6000]
    signal = before["audio"][0, :6000]
    found = 10 * np.log10(np.mean(signal**2) / np.mean(noise**2))
    assert found == pytest.approx(level, abs=0.3)
    np.testing.assert_array_equal(after["audio"][0, 6000:], before["audio"][0, 6000:])
    np.testing.assert_array_equal(after["audio"][1], 0)  # silence stays silence


def test_noise_is_the_same_whenever_it_is_made_anew():
    one, two = (robustness.add_noise(10.0)(batch())["audio"] for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_blur_takes_detail_and_leaves_the_mean():
    before, after = batch()["video"], robustness.blur(1 / 16)(batch())["video"]
    assert after.dtype == np.uint8
    assert after.std() < 0.3 * before.std()
    assert after.mean() == pytest.approx(before.mean(), abs=2)


def test_a_black_face_is_still_a_face_and_a_late_one_is_late():
    black = robustness.black_face(batch())
    assert not black["video"].any()
    assert black["video_mask"].all()
    late = robustness.delay_video(0.5)(batch())
    np.testing.assert_allclose(late["video_time"][0], [0.6, 0.7, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(late["audio"], batch()["audio"])


@pytest.mark.parametrize("name", robustness.GRID)
def test_no_condition_touches_the_batch_it_was_given(name):
    given, kept = batch(), batch()
    robustness.GRID[name](given)
    for key in kept:
        np.testing.assert_array_equal(given[key], kept[key])


def test_a_network_is_asked_only_what_it_can_notice():
    assert robustness.conditions(("video", "audio")) == robustness.GRID
    assert set(robustness.conditions(("audio",))) == {"noise 20 dB", "noise 10 dB", "noise 0 dB"}
    assert set(robustness.conditions(("video",))) == {"blur 1/32", "blur 1/16", "black face"}


def test_conditions_are_compared_with_the_clean_clips_in_pairs():
    labels = np.tile([0, 1], 20)
    subjects = np.repeat(np.arange(10), 4)
    found = robustness.compare_conditions(
        labels,
        {"dark": 1 - labels, "same": labels},
        labels,
        subjects,
        classes=2,
    )
    assert found["clean"] == Condition(1.0, (1.0, 1.0))
    assert found["dark"].minus_clean.difference == -1.0
    assert found["same"].minus_clean.p_value == 1.0
    assert "0.0 (0.0 to 0.0)  -100.0 (-100.0 to -100.0)" in robustness_table(found)
