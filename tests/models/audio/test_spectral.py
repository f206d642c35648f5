"""Spectra against librosa, and what padding must not change."""

import os
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.librosa_features import librosa
from support.modules import spectral_front_end
from support.numpy_reference import assert_gradients

from jax_avemo.models.audio import spectral

RATE = 16_000
SETTINGS = {
    "sample_rate": RATE,
    "fft_size": 1024,
    "window_seconds": 0.05,
    "hop_seconds": 0.016,
    "mel_bands": 64,
    "low_hz": 50.0,
    "high_hz": 7800.0,
}
HOP = 256


def sound(samples, seed=0):
    """A gliding tone with overtones over noise that swells: every band holds something."""
    rng = np.random.default_rng(seed)
    seconds = np.arange(samples) / RATE
    phase = 2 * np.pi * (150 * seconds + 60 * seconds**2)
    tone = sum(np.sin(k * phase) / k for k in range(1, 20))
    noise = rng.normal(size=samples) * (0.2 + np.sin(7 * seconds) ** 2)
    return (0.1 * tone + 0.05 * noise).astype(np.float32)


def librosa_mel(audio):
    return librosa.feature.melspectrogram(
        y=audio,
        sr=RATE,
        n_fft=1024,
        win_length=800,
        hop_length=HOP,
        center=True,
        pad_mode="constant",
        n_mels=64,
        fmin=50.0,
        fmax=7800.0,
        htk=True,
        norm=None,
    )


def relative_error(value, expected):
    return np.abs(np.asarray(value, np.float64) - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize(
    ("rate", "fft_size", "bands", "low", "high"),
    [(16_000, 1024, 64, 50.0, 7800.0), (48_000, 2048, 40, 0.0, 24_000.0)],
)
def test_filter_bank_is_triangles_of_height_1_equally_spaced_in_mel(
    rate, fft_size, bands, low, high
):
    low_mel, high_mel = 2595 * np.log10(1 + np.array([low, high]) / 700)
    corners = 700 * (10 ** (np.linspace(low_mel, high_mel, bands + 2) / 2595) - 1)
    bins = np.arange(fft_size // 2 + 1)[:, None] * rate / fft_size
    rising = (bins - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - bins) / (corners[2:] - corners[1:-1])
    expected = np.maximum(0, np.minimum(rising, falling))
    bank = spectral.mel_filter_bank(rate, fft_size, bands, low, high)
    assert bank.dtype == np.float32
    np.testing.assert_allclose(bank, expected, atol=1e-6)
    np.testing.assert_allclose(spectral.mel_frequencies(bands, low, high), corners, rtol=1e-12)


def test_filter_bank_compiles_nothing_of_librosa(tmp_path):
    """It would take half a minute in the first process."""
    program = (
        "from jax_avemo.models.audio.spectral import mel_filter_bank; "
        "mel_filter_bank(16_000, 1024, 64, 50.0, 7800.0)"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("samples", [6000, 6144, 1100])
def test_mel_spectrogram_is_librosas(samples):
    audio = sound(samples)
    power = jax.jit(partial(spectral.mel_spectrogram, **SETTINGS))(audio[None])[0]
    expected = librosa_mel(audio).T
    assert power.shape == (1 + samples // HOP, 64)
    np.testing.assert_allclose(power, expected, rtol=1e-4, atol=1e-6 * expected.max())
    log_mel = jax.jit(partial(spectral.log_mel_spectrogram, **SETTINGS))(audio[None])[0]
    np.testing.assert_allclose(log_mel, np.log(expected + 1e-5), rtol=1e-4, atol=1e-4)


def test_an_fft_that_is_no_multiple_of_the_hop():
    audio = sound(3000)
    settings = SETTINGS | {"fft_size": 512, "window_seconds": 0.025, "hop_seconds": 0.01}
    power = jax.jit(partial(spectral.mel_spectrogram, **settings))(audio[None])[0]
    expected = librosa.feature.melspectrogram(
        y=audio, sr=RATE, n_fft=512, win_length=400, hop_length=160, n_mels=64, fmin=50.0,
        fmax=7800.0, htk=True, norm=None, pad_mode="constant",
    ).T  # fmt: skip
    np.testing.assert_allclose(power, expected, rtol=1e-4, atol=1e-6 * expected.max())


def test_mfcc_and_derivatives_are_librosas():
    audio = sound(6000)
    # Half of it silent, so that the floor 80 dB below the loudest band is reached.
    audio[3000:] = 0.0
    cepstra = jax.jit(partial(spectral.mfcc, coefficients=20, **SETTINGS))(audio[None])[0]
    decibel = librosa.power_to_db(librosa_mel(audio), top_db=80.0)
    expected = librosa.feature.mfcc(S=decibel, n_mfcc=20)
    assert relative_error(cepstra[:, :20].T, expected) < 1e-4
    for order in (1, 2):
        derivative = librosa.feature.delta(expected, order=order, mode="nearest")
        part = cepstra[:, 20 * order : 20 * (order + 1)].T
        assert relative_error(part, derivative) < 1e-4, order


def test_derivatives_of_a_polynomial_are_exact():
    frames = jnp.arange(20.0)
    x = (3.0 * frames + 0.5 * frames**2)[None, :, None]
    inner = slice(4, 16)  # windows that reach neither end
    first = spectral.delta(x, jnp.array([19]), 1)[0, inner, 0]
    second = spectral.delta(x, jnp.array([19]), 2)[0, inner, 0]
    np.testing.assert_allclose(first, 3.0 + frames[inner], rtol=1e-4)
    np.testing.assert_allclose(second, 1.0, rtol=1e-3)


def test_cosine_transform_is_orthonormal():
    basis = spectral.cosine_transform(16, 16).astype(np.float64)
    np.testing.assert_allclose(basis.T @ basis, np.eye(16), atol=1e-6)


def test_frame_mask_is_true_where_the_centre_is_in_the_sound():
    mask = spectral.frame_mask(jnp.array([0, 1, HOP, HOP + 1, 3 * HOP]), 4, HOP)
    np.testing.assert_array_equal(mask.sum(axis=1), [0, 1, 1, 2, 3])
    np.testing.assert_array_equal(mask[3], [True, True, False, False])


def test_a_window_longer_than_the_fft_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        spectral.hann_window(1025, 1024)


KINDS = list(spectral.FEATURES)


@pytest.mark.parametrize("kind", KINDS)
def test_its_gradient_is_the_finite_difference_of_librosa_in_float64(kind):
    audio = sound(2000)
    front_end = spectral_front_end(features=kind)
    shape = (8, front_end.channels)
    weights = np.random.default_rng(1).normal(size=shape)

    def loss(audio):
        mel = librosa_mel(audio)
        assert mel.dtype == np.float64
        if kind == "log_mel":
            static = (np.log(mel.T + 1e-5) + 4) / 3
            derivatives = np.zeros((8, 0))
        else:
            bands = (librosa.power_to_db(mel, top_db=80.0) * np.log(10) / 10 + 4) / 3
            cepstrum = librosa.feature.mfcc(S=bands, n_mfcc=40)
            static = cepstrum.T
            derivatives = np.concatenate(
                [librosa.feature.delta(cepstrum, order=n, mode="nearest").T for n in (1, 2)], 1
            )
        features = np.concatenate([static, static - static.mean(0), derivatives], axis=1)
        return (weights * features).sum()

    def ours(audio):
        features, _, _ = front_end(audio[None], jnp.array([2000]))
        return (jnp.asarray(weights, jnp.float32) * features[0]).sum()

    gradient = jax.jit(jax.grad(ours))(jnp.asarray(audio))
    assert_gradients(loss, (gradient,), audio)


@pytest.mark.parametrize("kind", KINDS)
def test_front_end_ignores_what_lies_beyond_the_sound(kind):
    front_end = spectral_front_end(features=kind)
    run = jax.jit(front_end.__call__)
    length = 4000
    alone, alone_mask, _ = run(jnp.asarray(sound(length))[None], jnp.array([length]))
    padded = np.concatenate([sound(length), np.full(3000, 0.7, np.float32)])
    batch = jnp.stack([padded, sound(7000, seed=1), padded])
    features, mask, times = run(batch, jnp.array([length, 7000, 0]))
    real = int(mask[0].sum())
    assert features.shape == (3, 28, front_end.channels)
    assert real == int(alone_mask.sum()) == 16
    np.testing.assert_allclose(features[0, :real], alone[0, :real], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(features[0, real:], 0.0)
    np.testing.assert_array_equal(features[2], 0.0)
    np.testing.assert_allclose(times, np.arange(28) * 0.016, rtol=1e-6)


def test_log_mel_front_end_has_the_scaled_bands_and_a_copy_without_their_mean():
    audio = sound(6000)
    run = jax.jit(spectral_front_end().__call__)
    features, mask, _ = run(jnp.asarray(audio)[None], jnp.array([6000]))
    bands = (np.log(librosa_mel(audio).T + 1e-5) + 4) / 3
    assert mask.all()
    np.testing.assert_allclose(features[0, :, :64], bands, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(features[0, :, 64:], bands - bands.mean(0), rtol=1e-3, atol=1e-4)


def test_normalised_mfccs_are_the_cepstrum_of_normalised_bands():
    audio = sound(6000)
    front_end = spectral_front_end(features="mfcc")
    features, _, _ = jax.jit(front_end.__call__)(jnp.asarray(audio)[None], jnp.array([6000]))
    decibel = librosa.power_to_db(librosa_mel(audio), top_db=80.0)
    bands = (decibel * np.log(10) / 10 + 4) / 3
    expected = librosa.feature.mfcc(S=bands, n_mfcc=40).T
    np.testing.assert_allclose(features[0, :, :40], expected, rtol=1e-3, atol=1e-3)
    delta = librosa.feature.delta(expected.T, mode="nearest").T
    np.testing.assert_allclose(features[0, :, 80:120], delta, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_silence_is_finite_with_a_finite_gradient(kind):
    front_end = spectral_front_end(features=kind)

    def total(audio):
        return front_end(audio, jnp.array([2000, 0]))[0].sum()

    value, gradient = jax.jit(jax.value_and_grad(total))(jnp.zeros((2, 2000)))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
