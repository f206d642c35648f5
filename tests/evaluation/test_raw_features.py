"""Raw features against closed forms."""

import numpy as np
import pytest

from jax_avemo.evaluation.raw_features import MEL_BANDS, raw_features
from jax_avemo.schema import AUDIO_SAMPLE_RATE


def batch(valid=(True, True)) -> dict:
    seconds = np.arange(AUDIO_SAMPLE_RATE) / AUDIO_SAMPLE_RATE
    audio = np.zeros((2, AUDIO_SAMPLE_RATE), np.float32)
    audio[0] = 0.5 * np.sin(2 * np.pi * 440 * seconds)
    audio[1, : AUDIO_SAMPLE_RATE // 2] = audio[0, : AUDIO_SAMPLE_RATE // 2]
    video = np.zeros((2, 3, 32, 32, 3), np.uint8)
    video[:, 0] = 255
    video[:, 1, :, :16] = 255
    video[:, 2] = 77  # not real
    return {
        "audio": audio,
        "audio_length": np.array([AUDIO_SAMPLE_RATE, AUDIO_SAMPLE_RATE // 2], np.int32),
        "video": video,
        "video_mask": np.array([[True, True, False], [False, False, False]]),
        "valid": np.array(valid),
    }


def test_a_steady_tone_has_one_band_and_no_deviation_and_the_padding_counts_nowhere():
    found = raw_features([batch()], ("audio",))
    assert found.shape == (2, 2 * MEL_BANDS)
    mean, deviation = found[:, :MEL_BANDS], found[:, MEL_BANDS:]
    loudest = mean.argmax(axis=1)
    assert loudest[0] == loudest[1]
    np.testing.assert_allclose(mean[0, loudest[0]], mean[1, loudest[1]], atol=0.1)
    assert deviation[0, loudest[0]] < 0.3


def test_a_face_is_the_mean_of_its_real_frames():
    found = raw_features([batch()], ("video",)).reshape(2, 16, 16)
    np.testing.assert_allclose(found[0, :, :8], 1.0)
    np.testing.assert_allclose(found[0, :, 8:], 0.5)
    assert (found[1] == 0).all()


def test_padding_rows_are_dropped_and_modalities_stand_side_by_side():
    found = raw_features([batch(), batch(valid=(True, False))], ("audio", "video"))
    assert found.shape == (3, 2 * MEL_BANDS + 256)
    assert found[0] == pytest.approx(found[2])
