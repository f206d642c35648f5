"""A folder of anything: what can be used becomes clips, the rest has its own reason each."""

import functools
import os
import shutil
import struct
import time
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.media_files import face_picture, face_takes, tone, write_media

from jax_avemo.data import staging
from jax_avemo.data.clip import ClipOptions
from jax_avemo.data.prepare import prepare
from jax_avemo.media.sandbox import Limits

OPTIONS = ClipOptions(frame_size=48, frames_per_second=5, max_seconds=10)
PLAYLIST = "is a playlist, and the files it names are not opened for it"
REASONS = {
    "truncated.mp4": "is cut off: ",
    "no_index.mp4": "is not readable as audio or video",
    "empty.mp4": "is empty (0 bytes)",
    "zeros.mp4": "begins with nothing but zeros",
    "text.mp4": "is text, not audio or video",
    "photo.mp4": "is a picture (JPEG)",
    "archive.mp4": "is a zip archive",
    "only_sound.mp4": "has no picture that can be decoded",
    "only_picture.mp4": "has no audio that can be decoded",
    "nobody.mp4": "no face found in any of ",
    "one_frame.mp4": "has a single frame: a picture, not a film",
    "ten_hours.avi": "lasts 36000.0 s, the limit is 10 s",
    "huge.avi": "has a picture of 4096 x 4128, the limit is 4096 x 4096",
    "20000.avi": "has a picture without size, or far over 4096 x 4096",
    "list.mp4": PLAYLIST,
    "concat.mkv": PLAYLIST,
    "session.mov": PLAYLIST,
    "manifest.webm": PLAYLIST,
    "pipe.mp4": "is not a file",
    "device.mp4": "is not a file",
    "broken_link.mp4": "no such file",
}


def write_hostile(folder: Path, good: Path) -> None:
    """One file for every reason; `good` is a film that all playlists point at."""
    whole = write_media(
        folder / "truncated.mp4",
        face_takes(30),
        sound=tone(3.0, rate=16_000),
        rate=16_000,
        options={"movflags": "faststart"},
    ).read_bytes()
    (folder / "truncated.mp4").write_bytes(whole[: len(whole) * 6 // 10])
    data = good.read_bytes()
    (folder / "no_index.mp4").write_bytes(data[: len(data) // 2])
    (folder / "empty.mp4").touch()
    (folder / "zeros.mp4").write_bytes(bytes(9000))
    (folder / "text.mp4").write_text("this is no film\n" * 99)
    cv2.imwrite(str(folder / "photo.jpg"), face_picture())
    (folder / "photo.jpg").rename(folder / "photo.mp4")
    with zipfile.ZipFile(folder / "archive.mp4", "w") as archive:
        archive.writestr("x.mp4", data)
    sound = {"sound": tone(0.8, rate=16_000), "rate": 16_000}
    pcm = {"video_codec": "mjpeg", "audio_codec": "pcm_s16le"}
    write_media(folder / "only_sound.mp4", **sound)
    write_media(folder / "only_picture.mp4", face_takes(8))
    write_media(folder / "nobody.mp4", [np.full((96, 96, 3), 90, np.uint8)] * 8, **sound)
    write_media(folder / "one_frame.mp4", face_takes(1), **sound)
    film = bytearray(write_media(folder / "x.avi", face_takes(8), **sound, **pcm).read_bytes())
    (folder / "x.avi").unlink()
    (folder / "ten_hours.avi").write_bytes(claiming_ten_hours(film))
    (folder / "20000.avi").write_bytes(claiming_20000_pixels(film))
    write_media(folder / "huge.avi", [np.zeros((4128, 4096, 3), np.uint8)] * 2, **sound, **pcm)
    for name, text in (
        ("list.mp4", f"#EXTM3U\n#EXTINF:1,\n{good}\n#EXT-X-ENDLIST\n"),
        ("concat.mkv", f"ffconcat version 1.0\nfile '{good}'\n"),
        ("session.mov", "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n"),
        ("manifest.webm", f"<?xml version='1.0'?>\n<MPD><BaseURL>{good}</BaseURL></MPD>\n"),
    ):
        (folder / name).write_text(text)
    os.mkfifo(folder / "pipe.mp4")
    (folder / "device.mp4").symlink_to("/dev/zero")
    (folder / "broken_link.mp4").symlink_to(folder / "nowhere")


def claiming_ten_hours(film: bytearray) -> bytes:
    """An AVI whose headers say so, of the file and of each stream."""
    film, place = bytearray(film), 0
    while (place := film.find(b"strh", place)) >= 0:
        scale, rate = struct.unpack_from("<II", film, place + 28)
        struct.pack_into("<I", film, place + 40, 36_000 * rate // scale)
        place += 4
    return bytes(film)


def claiming_20000_pixels(film: bytearray) -> bytes:
    """An AVI whose header and whose every JPEG say so."""
    film = bytearray(film)
    struct.pack_into("<ii", film, film.index(b"strf") + 12, 20_000, 20_000)
    place = 0
    while (place := film.find(b"\xff\xc0", place)) >= 0:
        struct.pack_into(">HH", film, place + 5, 20_000, 20_000)
        place += 2
    return bytes(film)


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    return write_media(
        tmp_path_factory.mktemp("good") / "x.mp4",
        face_takes(8),
        sound=tone(0.8, rate=16_000),
        rate=16_000,
    )


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_every_refusal_has_its_own_reason_and_the_batch_goes_on(tmp_path, good):
    takes = tmp_path / "source/happy/anna"
    takes.mkdir(parents=True)
    write_hostile(takes, good)
    shutil.copy(good, takes / "good.mp4")
    shutil.copy(good, takes / "really_mp4.avi")  # what a file is, not its name, decides
    (takes / "link.mp4").symlink_to(good)
    before = everything(tmp_path)
    summary = prepare("folder", tmp_path / "source", tmp_path / "data", OPTIONS, workers=2)
    found = {Path(reject.path).name: reject.reason for reject in summary.rejects}
    assert found.keys() == REASONS.keys()
    assert {n: r for n, r in found.items() if not r.startswith(REASONS[n])} == {}
    assert all("\n" not in reason for reason in found.values())
    assert summary.clips == 3
    assert {name for name in everything(tmp_path) - before if not name.startswith("data")} == set()


def hanging_make(task) -> bytes:
    """Stands for a decoder that hangs."""
    if task.recording.path.name == "hangs.mp4":
        time.sleep(600)
    return staging._make(task)


@pytest.mark.slow
def test_a_decoder_that_hangs_costs_its_clip_alone(tmp_path, good, monkeypatch):
    takes = tmp_path / "source/happy/anna"
    takes.mkdir(parents=True)
    for name in ("a.mp4", "hangs.mp4", "z.mp4"):
        shutil.copy(good, takes / name)
    limited = functools.partial(staging.run_isolated, limits=Limits(seconds=8))
    monkeypatch.setattr(staging, "run_isolated", limited)
    monkeypatch.setattr(staging, "_make", hanging_make)
    summary = prepare("folder", tmp_path / "source", tmp_path / "data", OPTIONS, workers=1)
    assert summary.clips == 2
    assert [(Path(r.path).name, r.reason) for r in summary.rejects] == [
        ("hangs.mp4", "took more than 8 s")
    ]
