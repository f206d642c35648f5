"""Whose mouth moves with the audio; nobody's where two do, where none does, or by chance."""

import numpy as np
import pytest

from jax_avemo.media.faces import speaker
from jax_avemo.media.faces.crops import FaceTrack
from jax_avemo.media.faces.speaker import (
    Synchrony,
    audio_levels,
    clear_speaker,
    mouth_motion,
    speaking_face,
    synchrony,
)

RATE = 12.0
COUNT = 49


def syllables(seed: int, count: int = COUNT) -> np.ndarray:
    """Loudness from frame to frame in [0, 1]: bursts of a third of a second at random."""
    random = np.random.default_rng(seed)
    bursts = np.repeat(random.uniform(0, 1, count), 4)[:count] ** 2
    return np.convolve(np.pad(bursts, 1, "edge"), [0.25, 0.5, 0.25], "valid")


def track_of(motion: np.ndarray, *, head: float = 0.0, noise: float = 0.5) -> FaceTrack:
    """Crops of 80 px whose mouth gets lighter and darker by turns, as far as `motion` says."""
    random = np.random.default_rng(1)
    signs = np.where(np.arange(len(motion)) % 2, 1.0, -1.0)
    path = np.concatenate([[0.0], np.cumsum(signs * motion)])
    crops = []
    for index, value in enumerate(path):
        crop = 120 + 30 * np.sin(np.arange(80)[:, None] / 3 + head * index) * np.ones((80, 80))
        crop[48:68, 26:54] += 30 * value
        crop += random.normal(0, noise, crop.shape)
        crops.append(np.clip(crop, 0, 255).astype(np.uint8)[..., None].repeat(3, -1))
    times = np.arange(len(path)) / RATE
    return FaceTrack(crops, times, np.ones(len(path), bool))


def voice(levels: np.ndarray) -> np.ndarray:
    """Noise whose loudness follows `levels`, 16 kHz."""
    random = np.random.default_rng(2)
    gain = np.interp(
        np.arange(round(16_000 * len(levels) / RATE)) * RATE / 16_000,
        np.arange(len(levels)) + 0.5,
        levels,
    )
    return (8000 * gain * random.uniform(-1, 1, gain.size)).astype(np.int16)


def test_synchrony_has_a_closed_form():
    """1 where one is linear in the other, up to a lag of one frame; 0 for what never changes."""
    levels = syllables(0)
    assert synchrony(3 * levels + 1, levels, RATE).correlation == pytest.approx(1)
    assert synchrony(3 * levels + 1, levels, RATE).chance == 0
    assert synchrony(np.roll(levels, 1), levels, RATE).correlation > 0.99  # a lag of one frame
    assert synchrony(np.roll(levels, 6), levels, RATE).correlation < 0.6
    assert synchrony(np.ones(COUNT), levels, RATE) == Synchrony(0.0, 1.0)


def test_what_repeats_is_no_evidence():
    """A beat that is the same after every shift by its period."""
    beat = np.tile([1.0, 0.5, 0.0, 0.5], 12)
    assert synchrony(beat, beat, RATE).chance > 0.2
    assert clear_speaker({1: synchrony(beat, beat, RATE)}) is None


@pytest.mark.parametrize(
    ("faces", "expected"),
    [
        ({1: (0.8, 0.0), 2: (0.2, 0.5)}, 1),
        ({1: (0.1, 0.5), 2: (0.6, 0.0), 3: (-0.4, 0.9)}, 2),
        ({1: (0.8, 0.0), 2: (0.6, 0.0)}, None),  # both
        ({1: (0.4, 0.0), 2: (0.0, 0.5)}, None),  # neither
        ({1: (0.8, 0.2), 2: (0.2, 0.5)}, None),  # by chance
        ({}, None),
    ],
)
def test_only_what_is_clear_is_said(faces, expected):
    assert clear_speaker({face: Synchrony(*pair) for face, pair in faces.items()}) == expected


def test_levels_between_frames_are_in_decibels():
    audio = np.concatenate([np.full(1600, 3277, np.int16), np.zeros(1600, np.int16)])
    levels = audio_levels(audio, np.array([0.0, 0.1, 0.2, 0.3]))
    np.testing.assert_allclose(levels, [-20, -70, -70], atol=0.01)
    assert audio_levels(audio, np.array([-0.1, 0.0, 0.05]))[0] == pytest.approx(-70)


def test_motion_is_the_mouths_without_the_heads():
    motion = np.array([0.0, 1.0, 0.0, 0.5, 0.0])
    found = mouth_motion(np.stack(track_of(motion, noise=0.0).crops))
    assert found[1] == pytest.approx(2 * found[3], rel=0.1)
    assert found[0] == found[2] == found[4] == 0
    head = mouth_motion(np.stack(track_of(np.zeros(5), head=0.3, noise=0.0).crops))
    assert head.max() < 0.7 * found[3] + 0.2


def test_light_that_changes_everywhere_counts_for_half():
    crops = np.full((3, 80, 80, 3), 100, np.uint8)
    crops[1:] = 110
    crops[:, np.arange(80) // 10 % 2 == 0] += 20
    np.testing.assert_allclose(mouth_motion(crops), [10 * 0.5 / 10, 0], rtol=0.15)


@pytest.mark.parametrize("who", [1, 2])
def test_the_voice_goes_to_whose_mouth_moves_with_it(who):
    mine, others = syllables(3), syllables(4)
    tracks = {who: track_of(mine), 3 - who: track_of(others)}
    assert speaking_face(tracks, voice(mine), 0.0) == who
    still = {who: track_of(mine), 3 - who: track_of(np.zeros(COUNT))}
    assert speaking_face(still, voice(mine), 0.0) == who


def test_nobodys_voice_stays_nobodys():
    tracks = {1: track_of(syllables(3)), 2: track_of(syllables(4))}
    assert speaking_face(tracks, voice(syllables(5)), 0.0) is None
    same = {1: track_of(syllables(3)), 2: track_of(syllables(3))}
    assert speaking_face(same, voice(syllables(3)), 0.0) is None


def test_the_track_and_the_audio_share_a_clock():
    mine = syllables(3)
    late = track_of(mine)._replace(times=np.arange(COUNT + 1) / RATE + 7.0)
    tracks = {1: late, 2: late._replace(crops=track_of(np.zeros(COUNT)).crops)}
    assert speaking_face(tracks, voice(mine), 7.0) == 1
    assert speaking_face(tracks, voice(np.roll(mine, 20)), 7.0) is None


@pytest.mark.parametrize(("count", "rate"), [(15, RATE), (49, 4.0)])
def test_what_is_short_or_has_few_frames_decides_nothing(count, rate):
    mine = syllables(3)
    times = np.arange(COUNT + 1)[:count] / rate
    cut = {
        face: FaceTrack(track.crops[:count], times, track.found[:count])
        for face, track in ((1, track_of(mine)), (2, track_of(np.zeros(COUNT))))
    }
    assert speaking_face(cut, voice(mine), 0.0) is None


def test_frames_without_the_face_are_bridged():
    mine = syllables(3)
    hidden = track_of(mine)
    hidden.found[20:24] = False
    for index in range(20, 24):
        hidden.crops[index][:] = 0
    tracks = {1: hidden, 2: track_of(np.zeros(COUNT))}
    assert speaking_face(tracks, voice(mine), 0.0) == 1
    hidden.found[10:] = False
    assert speaking_face(tracks, voice(mine), 0.0) is None
    assert speaker._MIN_SECONDS == 1.5
