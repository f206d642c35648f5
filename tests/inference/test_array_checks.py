"""A wrong array is one line that says what to give instead."""

import numpy as np
import pytest

from jax_avemo.inference.array_checks import check_frames, check_picture, check_sound
from jax_avemo.runtime.errors import UserError

FRAMES = np.zeros((2, 8, 6, 3), np.uint8)


@pytest.mark.parametrize(
    ("frames", "times", "says"),
    [
        ([1, 2], [0, 1], "frames are a list"),
        (FRAMES[0], [0], "needed is [F, H, W, 3]"),
        (FRAMES.transpose(0, 3, 1, 2), [0, 1], "channels come last: frames.transpose(0, 2, 3, 1)"),
        (FRAMES.astype(np.float32), [0, 1], "frames are float32; needed is uint8"),
        (FRAMES[:, :0], [0, 1], "pictures without size"),
        (FRAMES, None, "as many times"),
        (FRAMES, [0.0], "as many times"),
        (FRAMES, np.zeros((2, 1)), "needed are seconds [F]"),
        (FRAMES, [0.0, float("nan")], "not all finite"),
        (FRAMES, [-1.0, 0.0], "at least 0 s"),
        (FRAMES, [1.0, 1.0], "do not ascend"),
    ],
)
def test_frames(frames, times, says):
    with pytest.raises(UserError) as error:
        check_frames(frames, times)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("sound", "says"),
    [
        ([0.0], "sound is a list"),
        (np.zeros((10, 2)), "mono: take the mean of the channels"),
        (np.zeros(10, np.int32), "sound is int32"),
        (np.full(10, np.nan), "NaN"),
        (np.full(10, 3000.0), "sound reaches 3000; floats are in [-1, 1]"),
    ],
)
def test_sound(sound, says):
    with pytest.raises(UserError) as error:
        check_sound(sound)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_right_passes():
    check_frames(FRAMES, np.array([0, 1]))
    check_picture(FRAMES[0])
    check_sound(np.zeros(0, np.float32))
    check_sound(np.array([1.2, -1.1]))
    check_sound(np.array([32767], np.int16))
    with pytest.raises(UserError, match="uint8"):
        check_picture(FRAMES[0, 0])
