import numpy as np
import pytest

from jax_avemo.data import augment
from jax_avemo.data.augment import AugmentOptions

STRONG = AugmentOptions(
    flip_probability=0.5,
    colour_strength=1,
    grey_probability=0.5,
    occlusion_probability=0.5,
    max_zoom=0.1,
    max_rotation_degrees=10,
    gain_db=3,
    noise_probability=1,
    max_speed_change=0.1,
    equaliser_db=4,
    mask_probability=0.5,
    audio_swap_probability=0,
)
NOTHING = AugmentOptions(
    flip_probability=0,
    colour_strength=0,
    grey_probability=0,
    occlusion_probability=0,
    max_zoom=0,
    max_rotation_degrees=0,
    gain_db=0,
    noise_probability=0,
    max_speed_change=0,
    equaliser_db=0,
    mask_probability=0,
    audio_swap_probability=0,
)


def ramp(size: int) -> np.ndarray:
    """A frame whose red says x and whose green says y."""
    axis = np.linspace(0, 255, size)
    x, y = np.meshgrid(axis, axis)
    return np.stack([x, y, np.zeros_like(x)], -1).round().astype(np.uint8)


def test_every_change_is_equal_over_a_clips_frames():
    frames = np.repeat(ramp(40)[None], 5, axis=0)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        cut = augment.crop(frames, 32, augment.random_crop_matrix(40, 32, STRONG, rng))
        varied = augment.recolour(cut, STRONG, rng)
        assert (varied == varied[:1]).all()
        assert (varied[0] != augment.crop(frames, 32, augment.crop_matrix(40, 32))[0]).any()


def test_plain_crop_is_the_middle_of_the_stored_crop():
    size = 64
    fed = round(size * augment.CROP_SHARE)
    cut = augment.crop(ramp(size)[None], fed, augment.crop_matrix(size, fed))
    margin = (size - fed) // 2
    np.testing.assert_array_equal(cut[0], ramp(size)[margin:-margin, margin:-margin])


def test_flip_mirrors():
    plain = augment.crop(ramp(40)[None], 32, augment.crop_matrix(40, 32))
    flipped = augment.crop(ramp(40)[None], 32, augment.crop_matrix(40, 32, flip=True))
    np.testing.assert_allclose(flipped[:, :, ::-1].astype(int), plain.astype(int), atol=1)


def test_no_strength_changes_nothing():
    rng = np.random.default_rng(0)
    frames = ramp(40)[None]
    cut = augment.crop(frames, 32, augment.crop_matrix(40, 32))
    np.testing.assert_array_equal(augment.recolour(cut, NOTHING, rng), cut)
    sound = np.sin(np.arange(800) / 9).astype(np.float32) * 0.5
    np.testing.assert_array_equal(augment.vary_sound(sound, NOTHING, rng), sound)


@pytest.mark.parametrize("speed", [0.9, 1.1])
def test_speed_moves_pitch_and_length(speed):
    rate, hertz = 16000, 400
    sound = np.sin(2 * np.pi * hertz * np.arange(rate) / rate).astype(np.float32)
    faster = augment.change_speed(sound, speed)
    assert abs(len(faster) - rate / speed) <= 2
    peak = np.abs(np.fft.rfft(faster)).argmax() * rate / len(faster)
    assert abs(peak - hertz * speed) < 2


def test_speed_is_linear_interpolation():
    sound = np.random.default_rng(0).normal(size=4001).astype(np.float32)
    for speed in (0.5, 0.93, 1.0, 1.071, 1.6):
        positions = np.arange(0, len(sound) - 1, speed)
        expected = np.interp(positions, np.arange(len(sound)), sound.astype(np.float64))
        changed = augment.change_speed(sound, speed)
        assert changed.dtype == np.float32
        np.testing.assert_allclose(changed, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("notch", [False, True])
def test_response_is_what_its_description_says(notch):
    sound = np.random.default_rng(0).normal(size=8000).astype(np.float32)
    rng = np.random.default_rng(5)
    hertz = np.fft.rfftfreq(len(sound), 1 / 16000)
    octave = np.log2(np.maximum(hertz, 1e-3) / 62.5)
    gains = rng.normal(0, 6.0, 8)
    response = 10 ** (np.interp(octave, np.arange(8), gains) / 20)
    if notch:
        low = rng.uniform(0, 6.5)
        high = low + rng.uniform(0.33, 1.0)
        response[(octave > low) & (octave < high)] = 0.0
    expected = np.fft.irfft(np.fft.rfft(sound.astype(np.float64)) * response, len(sound))
    varied = augment.equalise(sound, 6.0, np.random.default_rng(5), notch=notch)
    assert varied.dtype == np.float32
    np.testing.assert_allclose(varied, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_noise_has_the_asked_level():
    sound = np.sin(np.arange(16000) / 7).astype(np.float32) * 0.5
    noisy = augment.vary_sound(
        sound,
        AugmentOptions(**(vars(NOTHING) | {"noise_probability": 1.0})),
        np.random.default_rng(0),
    )
    snr = 10 * np.log10(np.mean(sound**2) / np.mean((noisy - sound) ** 2))
    assert 9.5 < snr < 30.5
