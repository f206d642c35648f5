from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_avemo.models.audio import prosody as module

RATE, HOP = 16000, 0.016
prosody = partial(module.prosody, sample_rate=RATE, hop_seconds=HOP)
run = jax.jit(prosody)


def voice(hertz: np.ndarray, seed: int = 0) -> np.ndarray:
    """Ten harmonics of a pitch that may move, with random strengths."""
    rng = np.random.default_rng(seed)
    phase = 2 * np.pi * np.cumsum(hertz) / RATE
    gains = rng.uniform(0.2, 1.0, 10) / np.arange(1, 11)
    return sum(g * np.sin(k * phase) for k, g in enumerate(gains, start=1)) * 0.1


def analyse(audio: np.ndarray) -> np.ndarray:
    mask = jnp.ones((1, 1 + len(audio) // 256), bool)
    return np.asarray(run(jnp.asarray(audio, jnp.float32)[None], mask))[0]


@pytest.mark.parametrize("hertz", [85.0, 120.0, 197.0, 305.0, 440.0])
def test_pitch_of_a_voice(hertz):
    found = analyse(voice(np.full(RATE, hertz)))[4:-4]
    assert found[:, 0].min() > 0.95
    octaves = found[:, 1] / found[:, 0] ** 2
    np.testing.assert_allclose(octaves, np.log2(hertz / module.REFERENCE_HZ), atol=0.06)


def test_pitch_follows_a_glide_and_the_relative_pitch_has_no_mean():
    hertz = 110 * 2 ** np.linspace(0, 1, RATE)
    found = analyse(voice(hertz))[4:-4]
    octaves = found[:, 1] / found[:, 0] ** 2
    expected = np.log2(hertz[(np.arange(4, len(found) + 4) * 256)] / module.REFERENCE_HZ)
    np.testing.assert_allclose(octaves, expected, atol=0.08)
    assert abs(found[:, 2].mean()) < 0.05


def test_noise_is_less_voiced_than_a_voice_and_silence_not_at_all():
    noise = analyse(np.random.default_rng(0).normal(0, 0.1, RATE))
    assert noise[:, 0].mean() < 0.5
    assert np.abs(analyse(np.zeros(RATE))[:, :3]).max() < 1e-3


def test_level_is_the_mean_square_in_the_window():
    audio = np.random.default_rng(1).normal(0, 0.1, RATE)
    width = round(module.WINDOW_SECONDS * RATE)
    padded = np.pad(audio, (width // 2, width))
    expected = [
        np.log(np.mean(padded[t * 256 : t * 256 + width] ** 2) + module.LEVEL_FLOOR)
        for t in range(1 + RATE // 256)
    ]
    np.testing.assert_allclose(analyse(audio)[:, 3], (np.array(expected) + 7) / 3, atol=1e-3)


def test_periodicity_equals_a_direct_autocorrelation(monkeypatch):
    monkeypatch.setattr(module, "LAGS_PER_OCTAVE", 400)  # so that whole lags are nearly hit
    audio = voice(np.full(4000, 150.0)) + np.random.default_rng(2).normal(0, 0.02, 4000)
    got = np.asarray(
        module.periodicity(jnp.asarray(audio, jnp.float32)[None], sample_rate=RATE, hop_seconds=HOP)
    )[0]
    slow = audio.reshape(-1, 4).mean(1)
    width = 200
    window = np.hanning(width + 2)[1:-1]
    frame = slow[5 * 64 - width // 2 : 5 * 64 + width // 2]
    frame = (frame - frame.mean()) * window
    lags = np.arange(8, 57)
    direct = [(frame[lag:] * frame[:-lag]).sum() for lag in lags] / (frame**2).sum()
    direct /= [(window[lag:] * window[:-lag]).sum() for lag in lags] / (window**2).sum()
    at = np.interp(lags, 4000 / module.candidate_pitches(), got[5])
    np.testing.assert_allclose(at, direct, atol=0.01)


def test_padding_changes_nothing_and_gradients_are_finite():
    audio = np.zeros((1, RATE), np.float32)
    audio[0, :8000] = voice(np.full(8000, 180.0))
    count = 1 + RATE // 256
    mask = jnp.arange(count)[None] * 256 < 8000

    short = run(jnp.asarray(audio[:, :8192]), mask[:, :33])
    long = run(jnp.asarray(audio), mask)
    np.testing.assert_allclose(long[:, :32], short[:, :32], atol=2e-4)
    assert not np.asarray(long[:, 32:]).any()
    gradient = jax.jit(jax.grad(lambda x: prosody(x, mask).sum()))(jnp.asarray(audio))
    assert np.isfinite(gradient).all()
