import dataclasses

import numpy as np
import pytest
from support.media_files import face_takes, tone, write_media

from jax_avemo.data.clip import (
    ClipOptions,
    clip_from_bytes,
    clip_to_bytes,
    decode_jpeg,
    encode_jpeg,
    make_clip,
)
from jax_avemo.media.decoding.container import MediaError
from jax_avemo.runtime.errors import UserError
from jax_avemo.schema import Clip, Labels, Recording

OPTIONS = ClipOptions(frame_size=64, frames_per_second=5, max_seconds=10)
LABELS = Labels(key="a/b.mp4", emotion="happy", subject="07", sex="male", statement="01")


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Recording:
    path = tmp_path_factory.mktemp("clip") / "b.mp4"
    return Recording(LABELS, write_media(path, face_takes(20), sound=tone(2.0)))


@pytest.fixture(scope="module")
def clip(recording) -> Clip:
    return make_clip(recording, OPTIONS)


def same(one: Clip, other: Clip) -> bool:
    return clip_to_bytes(one) == clip_to_bytes(other)


def test_a_clip_has_what_the_schema_says(clip):
    assert clip.labels == LABELS
    assert len(clip.frames) == len(clip.frame_times) == len(clip.face_found) == 10
    np.testing.assert_allclose(clip.frame_times, np.arange(10) / 5, atol=0.051)
    assert clip.frame_times.dtype == np.float32
    assert clip.face_found.dtype == bool
    assert clip.face_found.all()
    assert clip.audio.dtype == np.int16
    assert clip.audio.size == pytest.approx(32_000, abs=1100)
    assert clip.duration == pytest.approx(2.0, abs=0.07)
    for frame in clip.frames:
        assert decode_jpeg(frame).shape == (64, 64, 3)


def test_the_same_file_gives_the_same_bytes(recording, clip):
    assert same(make_clip(recording, OPTIONS), clip)


def test_a_part_of_a_file(recording):
    part = make_clip(dataclasses.replace(recording, start=0.5, end=1.5), OPTIONS)
    assert len(part.frames) == 5
    assert part.audio.size == 16_000
    assert part.duration == pytest.approx(1.0)


def test_a_refused_file_is_named(tmp_path):
    path = tmp_path / "x.mp4"
    path.write_text("no film")
    with pytest.raises(MediaError, match=f"{path}: is text"):
        make_clip(Recording(LABELS, path), OPTIONS)
    blank = write_media(
        tmp_path / "y.mp4", [np.full((64, 64, 3), 90, np.uint8)] * 5, sound=tone(0.5)
    )
    with pytest.raises(MediaError, match=f"{blank}: no face found in any of 3 frames"):
        make_clip(Recording(LABELS, blank), OPTIONS)
    clip = make_clip(Recording(LABELS, blank), dataclasses.replace(OPTIONS, face_fallback="center"))
    assert not clip.face_found.any()
    assert np.abs(decode_jpeg(clip.frames[0]).astype(int) - 90).max() < 6


def test_sound_or_picture_alone_where_allowed(tmp_path):
    sound = Recording(
        LABELS, write_media(tmp_path / "a.wav", sound=tone(0.5), audio_codec="pcm_s16le")
    )
    silent = Recording(LABELS, write_media(tmp_path / "b.mp4", face_takes(5)))
    for recording in (sound, silent):
        with pytest.raises(MediaError):
            make_clip(recording, OPTIONS)
    heard = make_clip(sound, dataclasses.replace(OPTIONS, need_video=False))
    assert (heard.frames, heard.frame_times.size) == ((), 0)
    assert heard.audio.size == 8000
    seen = make_clip(silent, dataclasses.replace(OPTIONS, need_audio=False))
    assert (len(seen.frames), seen.audio.size) == (3, 0)
    for clip in (heard, seen):
        assert same(clip_from_bytes(clip_to_bytes(clip)), clip)


def test_jpeg_keeps_red_red():
    image = np.zeros((32, 32, 3), np.uint8)
    image[..., 0] = 200
    np.testing.assert_allclose(
        decode_jpeg(encode_jpeg(image, 92)).mean((0, 1)), (200, 0, 0), atol=4
    )
    assert len(encode_jpeg(image, 30)) <= len(encode_jpeg(image, 95))


@pytest.mark.parametrize("data", [b"", b"no picture"])
def test_a_damaged_frame_is_a_clear_error(data):
    with pytest.raises(UserError, match="frame is damaged"):
        decode_jpeg(data)


def test_blocks_give_the_clip_back(clip):
    back = clip_from_bytes(clip_to_bytes(clip))
    assert back.labels == clip.labels
    assert back.frames == clip.frames
    for name in ("frame_times", "face_found", "audio"):
        stored, given = getattr(back, name), getattr(clip, name)
        assert stored.dtype == given.dtype
        np.testing.assert_array_equal(stored, given)
    assert (back.frame_size, back.duration) == (clip.frame_size, clip.duration)


def test_a_damaged_block_is_noticed(clip):
    data = clip_to_bytes(clip)
    for bad in (b"", data[:5], data[:-1], data[:100] + b"?" + data[101:], b"x" + data[1:]):
        with pytest.raises(ValueError, match="checksum"):
            clip_from_bytes(bad)


@pytest.mark.parametrize(
    "change",
    [
        {"frame_size": 4},
        {"frames_per_second": 0},
        {"frames_per_second": float("nan")},
        {"max_seconds": -1},
        {"jpeg_quality": 101},
        {"face_fallback": "guess"},
    ],
)
def test_senseless_options_are_refused(change):
    with pytest.raises(UserError, match=next(iter(change))):
        dataclasses.replace(OPTIONS, **change)


def test_whole_and_decimal_rates_are_the_same_options():
    assert OPTIONS.to_dict() == dataclasses.replace(OPTIONS, frames_per_second=5.0).to_dict()
    assert repr(OPTIONS.to_dict()["frames_per_second"]) == "5.0"
