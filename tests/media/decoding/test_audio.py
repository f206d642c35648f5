from fractions import Fraction

import av
import numpy as np

from jax_avemo.media.decoding.audio import AudioTrack


def block(values: np.ndarray, rate: int = 16_000, layout: str = "mono"):
    channels = {"mono": 1, "stereo": 2}[layout]
    data = np.repeat(values.astype(np.int16)[:, None], channels, 1).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(data, format="s16", layout=layout)
    frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
    return frame


def test_samples_lie_at_their_time():
    track = AudioTrack(None)
    track.add(block(np.full(160, 7)), 0.1)
    audio = track.finish()
    assert audio.size == 1760
    assert np.all(audio[:1600] == 0)
    assert np.all(audio[1600:] == 7)
    assert track.end == 0.11


def test_only_the_wanted_part_is_kept():
    track = AudioTrack(0.05)
    for index in range(10):
        track.add(block(np.arange(160) + 160 * index), -0.02 + index * 0.01)
    np.testing.assert_array_equal(track.finish(), 320 + np.arange(800))
    assert abs(track.end - 0.08) < 1e-9


def test_jitter_of_time_stamps_makes_no_gap():
    track = AudioTrack(None)
    for index in range(10):
        track.add(block(np.full(160, 5)), index * 0.01 + (0.004 if index % 2 else 0))
    audio = track.finish()
    assert audio.size == 1600
    assert np.all(audio == 5)


def test_frames_without_time_follow_the_last():
    track = AudioTrack(None)
    track.add(block(np.full(160, 1)), 0.0)
    track.add(block(np.full(160, 2)), None)
    np.testing.assert_array_equal(track.finish(), np.repeat([1, 2], 160))


def test_a_change_of_channels_and_rate_within_the_file():
    track = AudioTrack(None)
    track.add(block(np.full(1600, 100)), 0.0)
    track.add(block(np.full(4800, 100), rate=48_000, layout="stereo"), 0.1)
    audio = track.finish()
    assert abs(audio.size - 3200) < 20
    assert np.all(np.abs(audio[1700:3000].astype(int) - 100) <= 1)


def test_nothing_gives_nothing():
    assert AudioTrack(1.0).finish().size == 0
