"""Audio as people bring it: wired wrongly, several tracks, many channels, too loud, silent."""

import numpy as np
import pytest
from support.audio_files import chirp, write_audio
from support.media_files import face_takes, tone, write_media

from jax_avemo.media.decoding.container import MediaError
from jax_avemo.media.decoding.decode import read_media
from jax_avemo.media.decoding.stream import stream_media


def heard(path, **options) -> np.ndarray:
    """The audio of a whole file, in [-1, 1]; the same from a clip and from a stream."""
    audio = read_media(path, frames_per_second=5, need_video=False, **options).audio
    pieces = list(stream_media(path, frames_per_second=5, video=False, **options).audio)
    streamed = np.zeros(max(piece.first + piece.samples.size for piece in pieces), np.int16)
    for piece in pieces:
        streamed[piece.first : piece.first + piece.samples.size] = piece.samples
    np.testing.assert_array_equal(streamed, audio)
    return audio / 32768


def loudness(samples: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(samples))))


def pitch(samples: np.ndarray) -> float:
    """Hertz of the loudest tone."""
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * 16_000 / samples.size)


LEVEL = 0.3 / np.sqrt(2)


@pytest.mark.parametrize(
    ("left", "right", "level"),
    [(1, 1, LEVEL), (1, -1, LEVEL), (1, -0.7, LEVEL), (-0.5, 1, LEVEL), (1, 0, LEVEL)],
)
def test_stereo_never_cancels_itself(tmp_path, left, right, level):
    """A cable with swapped poles: left is minus right, and their mean is nothing."""
    voice = tone(1.0)
    path = write_audio(
        tmp_path / "a.wav",
        np.stack([left * voice, right * voice]),
        layout="stereo",
        codec="pcm_s16le",
    )
    audio = heard(path)
    assert loudness(audio) == pytest.approx(level, rel=0.02)
    assert pitch(audio) == pytest.approx(440, abs=2)


def test_two_voices_on_two_channels_are_both_heard(tmp_path):
    both = np.stack([tone(1.0, 440), tone(1.0, 1000)])
    path = write_audio(tmp_path / "a.wav", both, layout="stereo", codec="pcm_s16le")
    spectrum = np.abs(np.fft.rfft(heard(path)))
    assert spectrum[440] == pytest.approx(spectrum[1000], rel=0.02)
    assert spectrum[440] > 1000 * spectrum[700]


@pytest.mark.parametrize("layout", ["3.0", "5.1", "7.1"])
@pytest.mark.parametrize(("centre", "hertz"), [(1.0, 1000), (0.0, 440)])
def test_the_centre_is_heard_alone_if_anything_is_on_it(tmp_path, layout, centre, hertz):
    """FFmpeg's order: left, right, centre, subwoofer, ..."""
    channels = {"3.0": 3, "5.1": 6, "7.1": 8}[layout]
    music = np.repeat(tone(1.0, 440)[None], channels, axis=0)
    music[2] = centre * tone(1.0, 1000)
    if channels > 3:
        music[3] = 2 * tone(1.0, 60)
    path = write_audio(tmp_path / "a.wav", music, layout=layout, codec="pcm_s16le")
    audio = heard(path)
    assert pitch(audio) == pytest.approx(hertz, abs=2)
    assert loudness(audio) == pytest.approx(LEVEL, rel=0.02)


@pytest.mark.parametrize(
    ("first", "second", "default", "hertz"),
    [
        (tone(1.0, 440), tone(1.0, 1000), 0, 440),
        (tone(1.0, 440), tone(1.0, 1000), 1, 1000),
        (0 * tone(1.0), tone(1.0, 1000), 0, 1000),
        (tone(1.0, 440), 0 * tone(1.0), 1, 440),
    ],
)
def test_the_default_track_else_the_one_that_sounds(tmp_path, first, second, default, hertz):
    path = write_audio(tmp_path / "a.mkv", first, second, default=default, codec="pcm_s16le")
    assert pitch(heard(path)) == pytest.approx(hertz, abs=2)


def test_a_track_by_its_number(tmp_path):
    tracks = [tone(1.0, hertz) for hertz in (440, 1000, 600)]
    path = write_audio(tmp_path / "a.mkv", *tracks, codec="pcm_s16le")
    for number, hertz in ((1, 440), (2, 1000), (3, 600)):
        assert pitch(heard(path, audio_track=number)) == pytest.approx(hertz, abs=2)
    with pytest.raises(MediaError, match="has 3 audio tracks, none is number 4"):
        heard(path, audio_track=4)


def test_a_silent_track_is_no_audio(tmp_path):
    """RAVDESS's 02- films carry an AAC track of zeros."""
    path = write_media(tmp_path / "a.mp4", face_takes(5), sound=0 * tone(0.5))
    with pytest.raises(MediaError, match="is silent"):
        read_media(path, frames_per_second=5)
    media = read_media(path, frames_per_second=5, need_audio=False)
    assert (media.audio.size, media.duration) == (0, pytest.approx(0.5))
    stream = stream_media(path, frames_per_second=5)
    assert (stream.has_video, stream.has_audio, list(stream.audio)) == (True, False, [])
    assert stream.note == "its audio is silent"
    with pytest.raises(MediaError, match="is silent"):
        stream_media(path, frames_per_second=5, video=False)


def test_the_softest_speech_is_audio(tmp_path):
    """RAVDESS goes down to -64 dB."""
    path = write_audio(tmp_path / "a.wav", 2e-3 * chirp(1.0), codec="pcm_s16le")
    assert 20 * np.log10(loudness(heard(path))) == pytest.approx(-67.5, abs=0.5)


@pytest.mark.parametrize("codec", ["pcm_f32le", "pcm_f64le"])
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("loud", [6.0, 32768.0, 1e30])
def test_above_full_scale_nothing_is_clipped(tmp_path, codec, loud):
    """Floating point has room above 1; some programs even write 16-bit integers as they are."""
    quiet = heard(write_audio(tmp_path / "a.wav", chirp(2.0), codec=codec))
    path = write_audio(tmp_path / "b.wav", loud * np.r_[chirp(2.0)], codec=codec)
    audio = heard(path)
    assert np.abs(audio).max() == pytest.approx(1, abs=0.01)
    assert np.corrcoef(audio, quiet)[0, 1] > 0.9999


def test_what_is_no_number_is_silent(tmp_path):
    samples = tone(1.0, rate=16_000)
    samples[4000], samples[8000] = np.nan, np.inf
    path = write_audio(tmp_path / "a.wav", samples, rate=16_000, codec="pcm_f32le")
    assert loudness(heard(path)) == pytest.approx(LEVEL, rel=0.02)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "aac"),
        ("a.mkv", "libopus"),
        ("a.mov", "pcm_s16le"),
        ("a.flv", "aac"),
        ("a.mts", "ac3"),
        ("a.mpg", "mp2"),
    ],
)
def test_audio_that_begins_late_keeps_its_time(tmp_path, name, codec):
    voice = np.zeros(48_000, np.float32)
    voice[24_000:24_048] = 0.9
    frames = face_takes(20)
    videos = {"a.mpg": "mpeg2video", "a.flv": "flv"}
    path = write_media(
        tmp_path / name,
        frames,
        sound=voice,
        sound_start=0.6,
        audio_codec=codec,
        video_codec=videos.get(name, "libx264"),
        frames_per_second=25 if name == "a.mpg" else 10,
    )
    media = read_media(path, frames_per_second=10)
    first = next(media.frames).time
    assert first == pytest.approx(0, abs=0.12)
    assert np.argmax(np.abs(media.audio)) / 16_000 - first == pytest.approx(1.1, abs=0.05)
    assert np.abs(media.audio[: round(0.55 * 16_000)]).max() == 0
