"""One small face that speaks, in the containers and codecs of the original corpora."""

import pytest
from support.media_files import face_takes, tone, write_media

KINDS = {
    "ravdess.mp4": {},
    "silent.mp4": {},
    "ravdess.wav": {"audio_codec": "pcm_s16le"},
    "enterface.avi": {"layout": "stereo", "video_codec": "mpeg4", "audio_codec": "pcm_s16le"},
    "crema_d.flv": {"rate": 44_100, "video_codec": "flv", "audio_codec": "libmp3lame"},
}


class Takes(dict):
    """Content by kind, or by (kind, number): each number is another voice and another picture."""

    def __init__(self, folder) -> None:
        super().__init__()
        self.folder = folder

    def __missing__(self, key: str | tuple[str, int]) -> bytes:
        kind, number = key if isinstance(key, tuple) else (key, 0)
        how = dict(KINDS[kind])
        if kind != "silent.mp4":
            how["sound"] = tone(
                0.9 if kind == "ravdess.wav" else 1.0, 440 + 30 * number, how.get("rate", 48_000)
            )
        count = 25 if kind == "enterface.avi" else 10
        faces = [] if kind == "ravdess.wav" else face_takes(count + number)[number:]
        path = write_media(self.folder / kind, faces, frames_per_second=count, **how)
        self[key] = path.read_bytes()
        return self[key]


@pytest.fixture(scope="session")
def media(tmp_path_factory) -> Takes:
    """Takes as the originals are, of a second and 128 px each."""
    return Takes(tmp_path_factory.mktemp("originals"))
