"""The acted voice: pitch, level and length follow the emotion."""

import numpy as np
import pytest
import pyworld

from jax_avemo.synthetic.style import NEUTRAL_PROSODY, PROSODY
from jax_avemo.synthetic.voice import Voice, speak

VOICE = Voice("en-us+m3", 110.0, 1.0)


def spoken(emotion: str) -> tuple[float, float, float]:
    """Median pitch in Hz, level in dB, length in seconds."""
    prosody = {**NEUTRAL_PROSODY, **PROSODY[emotion]}
    sentence = speak("Kids are talking.", VOICE, prosody, np.random.default_rng(0))
    wave = sentence.samples.astype(np.float64)
    pitch, _ = pyworld.harvest(wave, sentence.sample_rate, f0_floor=60, f0_ceil=500)
    level = 10 * np.log10(np.mean(wave**2))
    return float(np.median(pitch[pitch > 0])), level, len(wave) / sentence.sample_rate


@pytest.fixture(scope="module")
def measured() -> dict[str, tuple[float, float, float]]:
    return {emotion: spoken(emotion) for emotion in PROSODY}


def test_neutral_pitch_is_the_voices_own(measured):
    assert measured["neutral"][0] == pytest.approx(VOICE.pitch_hz, rel=0.08)


def test_pitch_rises_from_sad_over_neutral_and_happy_to_fearful(measured):
    order = ["sad", "neutral", "happy", "fearful"]
    pitches = [measured[emotion][0] for emotion in order]
    assert pitches == sorted(pitches)
    assert pitches[-1] > 1.3 * pitches[1]


def test_level_rises_from_sad_to_angry(measured):
    levels = [measured[emotion][1] for emotion in ("sad", "calm", "neutral", "happy", "angry")]
    assert levels == sorted(levels)


def test_sad_is_slow_and_fear_fast(measured):
    assert measured["fearful"][2] < measured["neutral"][2] < measured["sad"][2]


def test_same_random_state_gives_the_same_samples():
    takes = [
        speak("Kids.", VOICE, NEUTRAL_PROSODY, np.random.default_rng(5)).samples for _ in range(2)
    ]
    assert np.array_equal(*takes)
