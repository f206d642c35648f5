"""Plain speech: the same sentence gives the same samples, with phonemes in order."""

import numpy as np
import pytest

from jax_avemo.runtime.errors import UserError
from jax_avemo.synthetic.speech import say


def test_a_sentence_does_not_depend_on_what_was_said_before():
    first = say("Kids are talking.", voice="en-us+f2", words_per_minute=150)
    say("Dogs are sitting.", voice="en-us+m3", words_per_minute=120)
    again = say("Kids are talking.", voice="en-us+f2", words_per_minute=150)
    assert np.array_equal(first.samples, again.samples)
    assert first.phonemes == again.phonemes


def test_phonemes_are_in_order_and_inside_the_sound():
    speech = say("Kids are talking.", voice="en-us", words_per_minute=150)
    starts = [phoneme.start_seconds for phoneme in speech.phonemes]
    assert starts == sorted(starts)
    assert starts[-1] <= len(speech.samples) / speech.sample_rate + 0.01
    assert [p.symbol for p in speech.phonemes][:3] == ["k", "ɪ", "d"]


def test_slower_speech_is_longer():
    fast, slow = (
        say("Kids are talking.", voice="en-us", words_per_minute=rate) for rate in (180, 110)
    )
    assert len(slow.samples) > 1.2 * len(fast.samples)


def test_unknown_voice_is_an_error_of_the_user():
    with pytest.raises(UserError, match="no voice"):
        say("Kids.", voice="xx-nowhere", words_per_minute=150)
