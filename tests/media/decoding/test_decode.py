import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from support.media_files import tone, write_media

from jax_avemo.media.decoding.container import MediaError
from jax_avemo.media.decoding.decode import Media, read_media
from jax_avemo.runtime.errors import UserError


def grey(level: int, side: int = 64) -> np.ndarray:
    return np.full((side, side, 3), level, np.uint8)


def greys(count: int, side: int = 64) -> list[np.ndarray]:
    """Picture i has brightness 20 + 5 i."""
    return [grey(20 + 5 * index, side) for index in range(count)]


def read_all(path: Path, **options) -> tuple[np.ndarray, list[np.ndarray], Media]:
    media = read_media(path, **options)
    frames = list(media.frames)
    return np.array([frame.time for frame in frames]), [frame.image for frame in frames], media


def click(at: float, seconds: float, rate: int) -> np.ndarray:
    """Silence with a short windowed click whose middle is at `at`."""
    times = np.arange(round(seconds * rate)) / rate - at
    return (0.8 * np.exp(-((times / 0.002) ** 2))).astype(np.float32)


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """40 pictures at 20 a second, a tone of 440 Hz."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    return write_media(path, greys(40), frames_per_second=20, sound=tone(2.0))


def test_frames_are_the_nearest_to_every_tick(film):
    times, images, _ = read_all(film, frames_per_second=8)
    ticks = np.arange(16) / 8
    assert len(times) == 16
    assert np.abs(times - ticks).max() <= 0.5 / 20 + 1e-3
    for time, image in zip(times, images, strict=True):
        assert image.mean() == pytest.approx(20 + 5 * round(time * 20), abs=2)


def test_a_slower_source_gives_every_frame_once(film):
    times, _, _ = read_all(film, frames_per_second=60)
    np.testing.assert_allclose(times, np.arange(40) / 20, atol=2e-3)


def test_equal_rates_lose_no_frame_when_the_picture_begins_late(tmp_path):
    times = [0.025 + index / 20 for index in range(20)]
    path = write_media(
        tmp_path / "late.mkv", greys(20), times=times, frames_per_second=20, sound=tone(1.0)
    )
    got, _, _ = read_all(path, frames_per_second=20)
    np.testing.assert_allclose(got, times, atol=2e-3)


def test_variable_frame_rate_keeps_the_time_stamps(tmp_path):
    times = [0.0, 0.1, 0.5, 0.56, 0.6, 1.2]
    path = write_media(tmp_path / "vfr.mkv", greys(6), times=times, sound=tone(1.3))
    got, images, _ = read_all(path, frames_per_second=10)
    np.testing.assert_allclose(got, [0.0, 0.1, 0.5, 0.6, 1.2], atol=1e-3)
    np.testing.assert_allclose([i.mean() for i in images], [20, 25, 30, 40, 45], atol=2)


@pytest.mark.parametrize(
    ("matrix", "side"),
    [((0, 1, -1, 0), "top"), ((-1, 0, 0, -1), "right"), ((0, -1, 1, 0), "bottom")],
)
def test_rotation_of_phone_films_is_undone(tmp_path, matrix, side):
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:, :32] = 255  # white on the left
    path = write_media(tmp_path / "phone.mp4", [picture] * 3, sound=tone(0.3))
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    _, images, _ = read_all(path, frames_per_second=10)
    height, width = images[0].shape[:2]
    assert (height, width) == ((64, 32) if side in ("top", "bottom") else (32, 64))
    white = {
        "top": images[0][: height // 2],
        "bottom": images[0][height // 2 :],
        "right": images[0][:, width // 2 :],
    }[side]
    assert white.mean() > 200
    assert images[0].mean() < 150


def test_a_part_has_its_own_clock(film):
    times, images, media = read_all(film, start=0.5, end=1.25, frames_per_second=20)
    np.testing.assert_allclose(times, np.arange(15) / 20, atol=2e-3)
    np.testing.assert_allclose([i.mean() for i in images], 20 + 5 * np.arange(10, 25), atol=2)
    assert media.audio.size == 12_000
    assert media.duration == pytest.approx(0.75)
    whole = read_media(film, frames_per_second=1).audio
    inside = slice(200, -200)
    difference = media.audio[inside].astype(int) - whole[8000:20000][inside]
    half_a_sample = 0.5 * 0.3 * 32768 * 2 * np.pi * 440 / 16_000
    assert np.abs(difference).max() < 1.1 * half_a_sample


def test_frames_are_decoded_as_they_are_asked_for(tmp_path):
    path = write_media(
        tmp_path / "a.mp4", greys(30, 256), sound=tone(3.0, rate=16_000), rate=16_000
    )
    media = read_media(path, frames_per_second=10)
    tracemalloc.start()
    count = sum(1 for _ in media.frames)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 30
    assert peak < 5 * 256 * 256 * 3


def test_wide_pixels_are_made_square(tmp_path):
    path = write_media(tmp_path / "pal.mp4", [grey(90)] * 3, sound=tone(0.3))
    data = bytearray(path.read_bytes())
    # The sample aspect ratio stands in the track's displayed width (16.16 fixed point).
    at = data.index(b"tkhd") + 4 + 76
    data[at : at + 4] = struct.pack(">I", 96 << 16)
    path.write_bytes(data)
    _, images, _ = read_all(path, frames_per_second=10)
    assert images[0].shape == (64, 96, 3)


def test_large_pictures_are_handed_out_smaller(tmp_path):
    picture = np.zeros((720, 2560, 3), np.uint8)
    path = write_media(tmp_path / "big.mp4", [picture] * 2, sound=tone(0.2))
    _, images, _ = read_all(path, frames_per_second=10)
    assert images[0].shape == (360, 1280, 3)


@pytest.mark.parametrize(
    ("name", "rate", "layout", "codec", "hertz"),
    [
        ("a.mp4", 48_000, "mono", "aac", 440.0),
        ("b.mp4", 44_100, "stereo", "aac", 1000.0),
        ("c.avi", 48_000, "stereo", "pcm_s16le", 440.0),
        ("d.wav", 16_000, "mono", "pcm_s16le", 440.0),
        ("e.wav", 8_000, "mono", "pcm_s16le", 440.0),
    ],
)
def test_sound_keeps_pitch_level_and_phase(tmp_path, name, rate, layout, codec, hertz):
    path = write_media(
        tmp_path / name,
        sound=tone(1.0, hertz, rate),
        rate=rate,
        layout=layout,
        audio_codec=codec,
    )
    media = read_media(path, frames_per_second=10, need_video=False)
    middle = media.audio[4000:12_000] / 32768
    times = np.arange(4000, 12_000) / 16_000
    wave = 2 * np.mean(middle * np.exp(-2j * np.pi * hertz * times))
    assert abs(wave) == pytest.approx(0.3, rel=0.05)
    assert np.std(middle) == pytest.approx(0.3 / np.sqrt(2), rel=0.05)
    lag = (np.angle(wave) + np.pi / 2) / (2 * np.pi * hertz)
    assert abs(lag) < 1e-4
    assert media.audio.size == pytest.approx(16_000, abs=1100)


@pytest.mark.parametrize("late", [0.0, 0.3])
def test_picture_and_sound_share_a_clock(tmp_path, late):
    pictures = [grey(255 if index == 5 else 0) for index in range(10)]
    path = write_media(
        tmp_path / "clap.mkv", pictures, sound=click(0.5, 0.7, 48_000), sound_start=late
    )
    times, images, media = read_all(path, frames_per_second=10)
    flash = times[np.argmax([image.mean() for image in images])]
    loudest = np.argmax(np.abs(media.audio)) / 16_000
    assert flash == pytest.approx(0.5, abs=2e-3)
    assert loudest == pytest.approx(0.5 + late, abs=2e-3)
    if late:
        assert np.abs(media.audio[: round((late - 0.03) * 16_000)]).max() == 0


def test_a_picture_that_begins_late_keeps_its_time(tmp_path):
    times = [0.4 + index / 10 for index in range(5)]
    path = write_media(tmp_path / "late.mkv", greys(5), times=times, sound=tone(1.0))
    got, _, media = read_all(path, frames_per_second=10)
    np.testing.assert_allclose(got, times, atol=2e-3)
    assert media.duration == pytest.approx(1.0, abs=0.1)


def test_a_gap_in_the_sound_is_silent(tmp_path):
    path = write_media(
        tmp_path / "gap.mkv",
        sound=tone(1.0, rate=16_000),
        rate=16_000,
        gap=(0.512, 0.5),
        audio_codec="pcm_s16le",
    )
    audio = read_media(path, frames_per_second=10, need_video=False).audio
    assert audio.size == pytest.approx(24_000, abs=20)
    assert np.abs(audio[8400:16_000]).max() < 60
    assert np.abs(audio[:8000]).max() > 9000
    assert np.abs(audio[16_400:]).max() > 9000


def test_sound_alone_has_no_frames(tmp_path):
    path = write_media(tmp_path / "a.wav", sound=tone(0.5), audio_codec="pcm_s16le")
    times, _, media = read_all(path, frames_per_second=10, need_video=False)
    assert times.size == 0
    assert media.duration == pytest.approx(0.5)


def test_pictures_alone_have_no_sound(tmp_path):
    path = write_media(tmp_path / "a.mp4", greys(10))
    times, _, media = read_all(path, frames_per_second=10, need_audio=False)
    assert (times.size, media.audio.size) == (10, 0)
    assert media.duration == pytest.approx(1.0, abs=0.01)


def bad_file(kind: str, folder: Path) -> Path:
    path = folder / "x.mp4"
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("this is no film\n" * 100)
    elif kind == "silent":
        write_media(path, greys(5))
    elif kind == "blind":
        write_media(path, sound=tone(0.5))
    elif kind in ("headless", "cut"):
        options = {"movflags": "faststart"} if kind == "cut" else {}
        write_media(path, greys(40), sound=tone(4.0), options=options)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * 6 // 10])
    elif kind == "long":
        write_media(path, greys(3), times=[0, 100, 200], sound=tone(0.5))
    elif kind == "huge":
        path = path.with_suffix(".avi")
        picture = np.zeros((4128, 4096, 3), np.uint8)
        write_media(path, [picture], sound=tone(0.5), video_codec="mjpeg", audio_codec="pcm_s16le")
    elif kind == "playlist":
        write_media(folder / "secret.mp4", greys(5), sound=tone(0.5))
        path.write_text("#EXTM3U\n#EXTINF:1,\nsecret.mp4\n#EXT-X-ENDLIST\n")
    elif kind == "concat":
        write_media(folder / "secret.mp4", greys(5), sound=tone(0.5))
        path.write_text("ffconcat version 1.0\nfile secret.mp4\n")
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "no such file"),
        ("folder", "is not a file"),
        ("empty", r"is empty \(0 bytes\)"),
        ("text", "is text, not audio or video"),
        ("silent", "has no audio"),
        ("blind", "has no picture"),
        ("headless", "is not readable as audio or video"),
        ("cut", r"is cut off: [12]\.\d\d of 4\.\d\d s are there"),
        ("long", r"lasts 200\.\d s, the limit is 60 s"),
        ("huge", "has a picture of 4096 x 4128, the limit is 4096 x 4096"),
        ("playlist", "is a playlist, and the files it names are not opened for it"),
        ("concat", "is a playlist, and the files it names are not opened for it"),
    ],
)
def test_unusable_files_say_why_in_one_line(tmp_path, kind, reason):
    path = bad_file(kind, tmp_path)
    with pytest.raises(MediaError, match=reason) as caught:
        list(read_media(path, frames_per_second=10, max_seconds=60).frames)
    assert isinstance(caught.value, UserError)
    assert str(caught.value) == f"{path}: {caught.value.reason}"
    assert "\n" not in str(caught.value)


def test_a_short_part_of_a_long_file_is_allowed(film):
    with pytest.raises(MediaError, match="the limit is 1 s"):
        read_media(film, frames_per_second=10, max_seconds=1)
    media = read_media(film, start=1.0, end=1.5, frames_per_second=10, max_seconds=1)
    assert len(list(media.frames)) == 5


@pytest.mark.parametrize(
    ("start", "end", "reason"), [(2.5, None, "begins at 2.5 s"), (1.0, 1.0, "ends at 1 s")]
)
def test_a_part_outside_the_file_is_refused(film, start, end, reason):
    with pytest.raises(MediaError, match=reason):
        read_media(film, start=start, end=end, frames_per_second=10)


def test_a_name_with_a_colon_is_a_file(tmp_path):
    path = write_media(tmp_path / "http:a.mp4", greys(3), sound=tone(0.3))
    assert len(read_all(path, frames_per_second=10)[0]) == 3


def test_titles_in_another_encoding_do_not_matter(tmp_path):
    path = write_media(tmp_path / "a.mp4", greys(3), sound=tone(0.3))
    data = path.read_bytes()
    assert b"VideoHandler" in data
    path.write_bytes(data.replace(b"VideoHandler", b"Video\xe4\xf6\xfcdler"))
    assert len(read_all(path, frames_per_second=10)[0]) == 3


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_damaged_files_raise_nothing_but_media_errors(tmp_path, suffix):
    path = write_media(
        tmp_path / f"a.{suffix}", greys(10), sound=tone(1.0, rate=16_000), rate=16_000
    )
    whole = path.read_bytes()
    refused = 0
    for seed in range(25):
        random = np.random.default_rng(seed)
        data = np.frombuffer(whole, np.uint8).copy()
        places = random.integers(0, data.size, random.choice([5, 50, 500]))
        data[places] = random.integers(0, 256, places.size)
        path.write_bytes(data[: random.integers(data.size // 2, data.size)].tobytes())
        try:
            list(read_media(path, frames_per_second=10).frames)
        except MediaError:
            refused += 1
    assert refused > 5
