"""One small face that speaks, in the containers and codecs of the original corpora."""

import pytest
from support.media_files import face_takes, tone, write_media


@pytest.fixture(scope="session")
def media(tmp_path_factory) -> dict[str, bytes]:
    """Content by what it is like; a second of 128 px each."""
    folder = tmp_path_factory.mktemp("originals")
    faces = face_takes(10)
    return {
        path.name: path.read_bytes()
        for path in (
            write_media(folder / "ravdess.mp4", faces, sound=tone(1.0)),
            write_media(folder / "silent.mp4", faces),
            write_media(folder / "ravdess.wav", sound=tone(0.9), audio_codec="pcm_s16le"),
            write_media(
                folder / "enterface.avi",
                face_takes(25),
                frames_per_second=25,
                sound=tone(1.0),
                layout="stereo",
                video_codec="mpeg4",
                audio_codec="pcm_s16le",
            ),
            write_media(
                folder / "crema_d.flv",
                faces,
                sound=tone(1.0, rate=44_100),
                rate=44_100,
                video_codec="flv",
                audio_codec="libmp3lame",
            ),
        )
    }
