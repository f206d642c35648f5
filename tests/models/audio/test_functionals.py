import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.modules import spectral_front_end

from jax_avemo.models.audio import functionals as module
from jax_avemo.models.front_ends import LARGEST, UtteranceEncoder

HOP = 0.016
CENTRES = np.linspace(60, 7800, 24)


def random_track(seed: int, frames: int = 90, real: int = 70) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "log_mel": rng.normal(0, 2, (1, frames, len(CENTRES))).astype(np.float32),
        "cepstra": rng.normal(1, 3, (1, frames, 5)).astype(np.float32),
        "pitch": rng.normal(0.3, 0.4, (1, frames)).astype(np.float32),
        "voicing": rng.uniform(0, 1, (1, frames)).astype(np.float32),
        "mask": np.arange(frames)[None] < real,
    }


@jax.jit
def _functionals(track):
    return module.functionals(**track, centres_hz=CENTRES, hop_seconds=HOP)


def measure(track) -> np.ndarray:
    return np.asarray(_functionals(track))


def reference(track) -> np.ndarray:
    """In float64, from the words of the docstrings."""
    real = track["mask"][0]
    mel, cepstra, pitch, voicing = (
        track[key][0][real].astype(float) for key in ("log_mel", "cepstra", "pitch", "voicing")
    )

    def quantile(x, share):
        return np.sort(x)[round(share * (len(x) - 1))]

    voiced = voicing >= min(module.LEAST_VOICING, quantile(voicing, 0.8))
    pitch = pitch - np.round(pitch - quantile(pitch[voiced], 0.5))
    power = np.exp(mel)
    level = np.log(power.sum(1))
    quiet, loud = quantile(level, 0.05), quantile(level, 0.95)
    active = level > quiet + module.ACTIVE_SHARE * (loud - quiet)
    where, when = np.flatnonzero(voiced), np.flatnonzero(active)
    x, y = where / active.sum(), pitch[voiced]
    x = x - x.mean()
    slope = (x * (y - y.mean())).mean() / ((x**2).mean() + 1e-4)
    jitter = [abs(pitch[t + 1] - pitch[t]) for t in where if t + 1 in where]
    change = [
        abs(pitch[t + 2] - 2 * pitch[t + 1] + pitch[t])
        for t in where
        if t + 1 in where and t + 2 in where
    ]
    bands = [
        np.log(power[:, (low <= CENTRES) & (high > CENTRES)].sum(1) + module.BAND_FLOOR)
        for low, high in zip(module.BAND_EDGES_HZ[:-1], module.BAND_EDGES_HZ[1:], strict=True)
    ]
    values = {
        "active_span": (when[-1] - when[0]) * HOP,
        "voiced_span": (where[-1] - where[0]) * HOP,
        "voiced_time": len(where) * HOP,
        "active_time": len(when) * HOP,
        "pitch_median": quantile(y, 0.5),
        "pitch_deviation": y.std(),
        "pitch_range": quantile(y, 0.9) - quantile(y, 0.1),
        "pitch_slope": slope,
        "jitter_median": quantile(jitter, 0.5),
        "jitter_mean": np.mean(jitter),
        "jitter_change": quantile(change, 0.5),
        "voicing": voicing[voiced].mean(),
        "active_voicing": voicing[active].mean(),
        "level": level[voiced].mean(),
        "level_range": loud - quiet,
        "level_deviation": level[voiced].std(),
        "tilt_500": (bands[0] - bands[1])[voiced].mean(),
        "tilt_1500": (bands[1] - bands[2])[voiced].mean(),
        "tilt_3000": (bands[2] - bands[3])[voiced].mean(),
        "tilt_5000": (bands[3] - bands[4])[voiced].mean(),
    }
    assert tuple(values) == module.VOICE
    inner = [t for t in when if 0 < t < len(mel) - 1]
    differences = np.array([cepstra[t + 1] - cepstra[t - 1] for t in inner])
    spectrum = [
        mel[active].mean(0),
        mel[active].std(0),
        mel.max(0),
        cepstra[active].mean(0),
        cepstra[active].std(0),
        differences.std(0),
        np.abs(differences).mean(0),
    ]
    return np.concatenate([list(values.values()), *spectrum])


@pytest.mark.parametrize("seed", range(4))
def test_equal_the_reference(seed):
    track = random_track(seed)
    np.testing.assert_allclose(measure(track)[0], reference(track), rtol=2e-3, atol=1e-3)


def test_frames_that_are_not_real_change_nothing():
    track = random_track(5)
    other = {
        key: value if key == "mask" else np.where(_like(track["mask"], value), value, 9.0)
        for key, value in track.items()
    }
    np.testing.assert_array_equal(measure(track), measure(other))
    longer = {
        key: np.pad(value, [(0, 0), (0, 30)] + [(0, 0)] * (value.ndim - 2))
        for key, value in track.items()
    }
    np.testing.assert_allclose(measure(track), measure(longer), atol=1e-5)


def _like(mask: np.ndarray, value: np.ndarray) -> np.ndarray:
    return mask.reshape(mask.shape + (1,) * (value.ndim - 2))


def test_a_clip_without_sound_is_zeros():
    track = random_track(6)
    assert not measure(track | {"mask": np.zeros_like(track["mask"])}).any()


def test_an_octave_error_is_folded_back():
    track = random_track(7)
    track["pitch"][:] = 0.2
    clean = measure(track)
    track["pitch"][0, 10:14] = [1.2, -0.8, 1.2, -0.8]
    np.testing.assert_allclose(measure(track), clean, atol=1e-4)


def voice(hertz: float, seconds: float, loud: float = 0.1) -> np.ndarray:
    time = np.arange(int(seconds * 16000)) / 16000
    wave = sum(np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, 9)) * loud
    silence = np.random.default_rng(0).normal(0, 1e-3, 6400)
    return np.concatenate([silence, wave, silence]).astype(np.float32)


def hear(audio: np.ndarray) -> dict[str, float]:
    padded = np.zeros((1, 64000), np.float32)
    padded[0, : len(audio)] = audio
    found = _utterance(jnp.asarray(padded), jnp.array([len(audio)]))
    return dict(zip(module.VOICE, np.asarray(found)[0], strict=False))


@jax.jit
def _utterance(audio, length):
    return spectral_front_end(prosody=True).utterance(audio, length)


def test_from_sound_to_length_pitch_and_level():
    first, longer = hear(voice(120, 1.2)), hear(voice(120, 1.8))
    assert longer["active_span"] - first["active_span"] == pytest.approx(0.6, abs=0.04)
    higher = hear(voice(180, 1.2))
    gain = higher["pitch_median"] - first["pitch_median"]
    assert gain == pytest.approx(np.log2(1.5), abs=0.05)
    louder = hear(voice(120, 1.2, loud=0.2))
    assert louder["level"] - first["level"] == pytest.approx(np.log(4), abs=0.1)
    assert louder["pitch_median"] == pytest.approx(first["pitch_median"], abs=0.01)


def test_the_encoder_standardises_by_the_training_clips():
    rng = np.random.default_rng(8)
    functionals = jnp.asarray(rng.normal(7, 3, (40, 6)).astype(np.float32)).at[0, 0].set(1e4)
    there = jnp.arange(40) > 4
    encoder = UtteranceEncoder(width=3, dropout=0.0, batch_norm_momentum=0.0)
    variables = encoder.init(jax.random.key(0), functionals, there, train=False)
    _, updates = encoder.apply(variables, functionals, there, train=True, mutable=["batch_stats"])
    found = encoder.apply(variables | updates, functionals, there, train=False)
    real = np.asarray(functionals, float)[5:]
    standard = (real - real.mean(0)) / np.sqrt(real.var(0, ddof=1) + 1e-5)
    layer = jax.tree.map(np.asarray, variables["params"]["layer"])
    expected = np.clip(standard, -LARGEST, LARGEST) @ layer["kernel"] + layer["bias"]
    np.testing.assert_allclose(found[5:], expected, rtol=1e-4, atol=1e-4)
    assert not found[:5].any()


def test_the_encoder_cuts_what_is_far_from_all_training_clips():
    functionals = jnp.asarray(np.random.default_rng(9).normal(0, 1, (30, 4)).astype(np.float32))
    there = jnp.ones(30, bool)
    encoder = UtteranceEncoder(width=3, dropout=0.0, batch_norm_momentum=0.0)
    variables = encoder.init(jax.random.key(0), functionals, there, train=False)
    far, further = functionals.at[0, 0].set(50.0), functionals.at[0, 0].set(500.0)
    found = [encoder.apply(variables, x, there, train=False)[0] for x in (far, further)]
    np.testing.assert_array_equal(*found)
