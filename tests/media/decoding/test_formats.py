"""Every container and codec that recorders and phones write, whole and in parts."""

import numpy as np
import pytest
from support.audio_files import chirp, write_audio
from support.media_files import tone, write_media

from jax_avemo.media.decoding.container import MediaError
from jax_avemo.media.decoding.decode import read_media
from jax_avemo.media.decoding.stream import stream_media

AUDIO = [
    ("a.wav", "pcm_s16le", 48_000),
    ("a.wav", "pcm_s24le", 44_100),
    ("a.wav", "pcm_f32le", 96_000),
    ("a.wav", "pcm_alaw", 8_000),
    ("a.mp3", "libmp3lame", 44_100),
    ("a.ogg", "libopus", 48_000),
    ("a.opus", "libopus", 48_000),
    ("a.flac", "flac", 16_000),
    ("a.m4a", "aac", 44_100),
    ("a.wma", "wmav2", 44_100),
    ("a.mpg", "mp2", 48_000),
    ("a.mts", "ac3", 48_000),
    ("a.webm", "libopus", 48_000),
]


def likeness(audio: np.ndarray, truth: np.ndarray) -> tuple[float, int]:
    """Correlation at the best lag, and that lag in samples."""
    size = min(audio.size, truth.size)
    a, b = audio[:size].astype(float), truth[:size].astype(float)
    spectrum = np.fft.rfft(a, 2 * size) * np.conj(np.fft.rfft(b, 2 * size))
    product = np.fft.irfft(spectrum) / (np.linalg.norm(a) * np.linalg.norm(b))
    lag = int(np.argmax(product))
    return float(product.max()), lag if lag < size else lag - 2 * size


@pytest.mark.parametrize(("name", "codec", "rate"), AUDIO)
def test_audio_is_read_whole_and_in_parts(tmp_path, name, codec, rate):
    path = write_audio(tmp_path / name, chirp(4.0, rate), rate=rate, codec=codec)
    whole = read_media(path, frames_per_second=5, need_video=False).audio
    same, lag = likeness(whole, chirp(4.0, 16_000))
    assert same > 0.98
    # An encoder's delay, where the container does not tell it: 25 ms of MP3, 46 of WMA.
    assert 0 <= lag < 0.05 * 16_000
    part = read_media(path, start=2.0, end=3.0, frames_per_second=5, need_video=False).audio
    same, lag = likeness(part, whole[32_000:48_000])
    assert same > 0.97
    assert abs(lag) <= 16  # time stamps of whole milliseconds
    stream = stream_media(path, frames_per_second=5)
    assert (stream.has_video, stream.has_audio, stream.note) == (False, True, "")
    pieces = list(stream.audio)
    silence = np.zeros(pieces[0].first, np.int16)
    np.testing.assert_array_equal(np.concatenate([silence, *(p.samples for p in pieces)]), whole)


def counting(count: int) -> list[np.ndarray]:
    """Pictures whose brightness tells their number."""
    return [np.full((64, 64, 3), 20 + index, np.uint8) for index in range(count)]


@pytest.mark.parametrize(
    ("name", "video", "audio"),
    [
        ("a.mts", "libx264", "ac3"),
        ("a.ts", "mpeg2video", "mp2"),
        ("a.mpg", "mpeg2video", "mp2"),
        ("a.wmv", "wmv2", "wmav2"),
        ("a.webm", "libvpx", "libopus"),
        ("a.mp4", "libx264", "aac"),
    ],
)
def test_video_is_read_whole_and_in_parts(tmp_path, name, video, audio):
    path = write_media(
        tmp_path / name,
        counting(200),
        frames_per_second=25,
        sound=tone(8.0),
        video_codec=video,
        audio_codec=audio,
    )
    media = read_media(path, frames_per_second=25)
    frames = list(media.frames)
    assert abs(len(frames) - 200) <= 1
    np.testing.assert_allclose(np.diff([f.time for f in frames]), 0.04, atol=2e-3)
    assert media.duration == pytest.approx(8.0, abs=0.2)
    part = list(read_media(path, start=5.0, end=6.0, frames_per_second=25).frames)
    assert abs(len(part) - 25) <= 1
    whole = {round(frame.time, 2): frame.image.mean() for frame in frames}
    for frame in part:
        near = min(whole, key=lambda time: abs(time - frame.time - 5.0))
        assert abs(near - frame.time - 5.0) < 0.021
        assert frame.image.mean() == pytest.approx(whole[near], abs=1.5)


def test_where_no_header_says_how_long_it_is_the_packets_do(tmp_path):
    """MP3 of a changing bit rate without an index: a guess from its beginning is far off."""
    voice = np.concatenate([0 * tone(20.0), 0.5 * np.random.default_rng(0).normal(size=480_000)])
    path = write_audio(tmp_path / "a.mp3", voice.clip(-1, 1), codec="libmp3lame")
    data = path.read_bytes()
    at = data.index(b"Info") if b"Info" in data else data.index(b"Xing")
    path.write_bytes(data[:at] + b"none" + data[at + 4 :])
    assert read_media(path, frames_per_second=5, need_video=False).duration == pytest.approx(
        30, abs=0.2
    )
    with pytest.raises(MediaError, match="the limit is 29 s"):
        read_media(path, frames_per_second=5, need_video=False, max_seconds=29)
    late = read_media(path, start=19.0, end=21.0, frames_per_second=5, need_video=False).audio
    first = np.flatnonzero(np.abs(late) > 1000)[0] / 16_000
    assert first == pytest.approx(1.0, abs=0.08)
