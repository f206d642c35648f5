"""What a take draws: the emotion's units and prosody in proportion to intensity."""

import numpy as np
import pytest

from jax_avemo.schema import RAVDESS_EMOTIONS
from jax_avemo.synthetic.style import (
    EXPRESSIONS,
    NEUTRAL_PROSODY,
    PROSODY,
    acted_prosody,
    make_style,
)
from jax_avemo.synthetic.take import HIGHEST_INTENSITY, LOWEST_INTENSITY, draw_take


@pytest.fixture(scope="module")
def style():
    return make_style(female=True, voice_index=1, rng=np.random.default_rng(0))


def test_every_emotion_has_face_and_voice():
    assert set(EXPRESSIONS) == set(PROSODY) == set(RAVDESS_EMOTIONS)


def test_intensity_zero_is_the_neutral_voice(style):
    for emotion in RAVDESS_EMOTIONS:
        assert acted_prosody(style, emotion, 0.0) == pytest.approx(NEUTRAL_PROSODY)


def test_takes_stay_within_their_ranges_and_neutral_is_never_strong(style):
    rng = np.random.default_rng(1)
    for _ in range(40):
        take = draw_take(style, "neutral", 1, rng)
        assert LOWEST_INTENSITY <= take.intensity <= HIGHEST_INTENSITY
        assert not take.strong
    assert {draw_take(style, "angry", 1, rng).strong for _ in range(40)} == {True, False}


def test_take_is_the_same_for_the_same_random_state(style):
    first, second = (draw_take(style, "sad", 2, np.random.default_rng(3)) for _ in range(2))
    assert first == second
    assert first.expression["mouthFrown"] > 0.3
