"""Encoding: what was written comes back, same input same bytes, failures leave nothing."""

import av
import cv2
import numpy as np
import pytest

from jax_avemo.media.encode import write_video

RATE, FPS = 22_050, 12


def clip(frame_count=14):
    levels = np.linspace(40, 200, frame_count).astype(np.uint8)
    frames = np.broadcast_to(levels[:, None, None, None], (frame_count, 48, 64, 3)).copy()
    times = np.arange(frame_count * RATE // FPS) / RATE
    return frames, (0.4 * np.sin(2 * np.pi * 440 * times)).astype(np.float32)


def write(path, frames, sound):
    write_video(path, frames, sound, frames_per_second=FPS, sample_rate=RATE)


def test_pictures_and_sound_come_back(tmp_path):
    frames, sound = clip()
    write(tmp_path / "a.mp4", frames, sound)
    with av.open(str(tmp_path / "a.mp4")) as container:
        video = container.streams.video[0]
        assert (video.codec_context.name, video.average_rate) == ("h264", FPS)
        decoded = [(f.time, f.to_ndarray(format="rgb24").mean()) for f in container.decode(video)]
    times, brightness = zip(*decoded, strict=True)
    assert np.allclose(times, np.arange(len(frames)) / FPS, atol=1e-3)
    assert np.allclose(brightness, frames.mean((1, 2, 3)), atol=3)
    with av.open(str(tmp_path / "a.mp4")) as container:
        audio = container.streams.audio[0]
        assert (audio.codec_context.name, audio.rate) == ("aac", RATE)
        wave = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio)])
    assert abs(len(wave) - len(sound)) < 2048
    middle = slice(RATE // 4, 3 * RATE // 4)
    spectrum = np.abs(np.fft.rfft(wave[middle] * np.hanning(middle.stop - middle.start)))
    peak_hz = spectrum.argmax() * RATE / (middle.stop - middle.start)
    assert peak_hz == pytest.approx(440, abs=5)
    assert np.sqrt(np.mean(wave[middle] ** 2)) == pytest.approx(0.4 / np.sqrt(2), rel=0.05)


def test_same_input_same_bytes_wherever_it_lies_in_memory(tmp_path):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 255, (16, 9, 9, 3)).astype(np.uint8)
    frames = np.stack([cv2.resize(picture, (112, 112)) for picture in pictures])
    sound = rng.normal(0, 0.1, 16 * RATE // FPS).astype(np.float32)
    written = set()
    for size in (1, 7_000, 300_000, 90_000, 1_000_000, 33_333):
        in_the_way = bytearray(rng.bytes(size))
        write(tmp_path / "a.mp4", frames.copy(), sound)
        written.add((tmp_path / "a.mp4").read_bytes())
        del in_the_way
    assert len(written) == 1


def test_index_stands_before_the_media_data(tmp_path):
    write(tmp_path / "a.mp4", *clip())
    data = (tmp_path / "a.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("shape", [(0, 48, 64, 3), (4, 47, 64, 3), (4, 48, 63, 3)])
def test_impossible_pictures_are_refused_and_leave_nothing(tmp_path, shape):
    with pytest.raises(ValueError, match="frames must be"):
        write(tmp_path / "a.mp4", np.zeros(shape, np.uint8), np.zeros(RATE, np.float32))
    assert list(tmp_path.iterdir()) == []
