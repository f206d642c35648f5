"""A film read as a stream gives what a film read as a clip gives."""

import numpy as np
import pytest
from support.media_files import face_picture, tone, write_media

from jax_avemo.media.decoding.container import MediaError
from jax_avemo.media.decoding.decode import read_media
from jax_avemo.media.decoding.stream import stream_media


def both(path, fps, **needs):
    clip = read_media(path, frames_per_second=fps, **needs)
    stream = stream_media(path, frames_per_second=fps)
    frames = list(stream.frames)
    pieces = list(stream.audio)
    audio = np.zeros(max((p.first + p.samples.size for p in pieces), default=0), np.int16)
    for piece in pieces:
        audio[piece.first : piece.first + piece.samples.size] = piece.samples
    return clip, list(clip.frames), stream, frames, audio


@pytest.mark.parametrize("fps", [4.0, 10.0, 30.0])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"sound_start": 0.4},
        {"gap": (0.5, 0.3)},
        {"times": [0.0, 0.1, 0.15, 0.6, 0.7, 1.4, 1.45]},
        {"layout": "stereo", "rate": 44_100},
    ],
)
def test_the_same_frames_and_samples(tmp_path, fps, how):
    pictures = [np.roll(face_picture(64), 5 * i, axis=1) for i in range(7)]
    sound = tone(1.3, rate=how.get("rate", 48_000))
    path = write_media(tmp_path / "x.mp4", pictures, frames_per_second=5, sound=sound, **how)
    clip, ours, stream, frames, audio = both(path, fps)
    assert [f.time for f in frames] == [f.time for f in ours]
    assert all((a.image == b.image).all() for a, b in zip(frames, ours, strict=True))
    np.testing.assert_array_equal(audio, clip.audio)
    assert stream.has_video
    assert stream.has_audio
    assert stream.duration == pytest.approx(clip.duration, abs=0.15)
    assert stream.note == ""


def test_picture_alone_and_sound_alone(tmp_path):
    mute = write_media(tmp_path / "mute.mp4", [face_picture(64)] * 5)
    clip, ours, stream, frames, audio = both(mute, 10.0, need_audio=False)
    assert (stream.has_video, stream.has_audio, audio.size) == (True, False, 0)
    assert len(frames) == len(ours) == 5
    heard = write_media(tmp_path / "heard.wav", sound=tone(1.0), audio_codec="pcm_s16le")
    clip, _, stream, frames, audio = both(heard, 10.0, need_video=False)
    assert (stream.has_video, stream.has_audio, frames) == (False, True, [])
    np.testing.assert_array_equal(audio, clip.audio)
    with pytest.raises(MediaError, match="has no video"):
        stream_media(heard, frames_per_second=10.0, audio=False)


def test_a_file_that_is_cut_off_gives_what_there_is_and_says_so(tmp_path):
    path = write_media(
        tmp_path / "x.mp4",
        [face_picture(64)] * 40,
        sound=tone(4.0),
        options={"movflags": "+faststart"},
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(MediaError, match="cut off"):
        read_media(path, frames_per_second=10.0)
    stream = stream_media(path, frames_per_second=10.0)
    assert "cut off" in stream.note
    assert 5 < len(list(stream.frames)) < 40


def test_too_long_is_refused(tmp_path):
    path = write_media(tmp_path / "x.wav", sound=tone(2.0), audio_codec="pcm_s16le")
    with pytest.raises(MediaError, match="the limit is 1 s"):
        stream_media(path, frames_per_second=10.0, max_seconds=1.0)
