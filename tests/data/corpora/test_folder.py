import os
from pathlib import Path

import pytest
from support.audio_files import chirp, write_audio
from support.corpus_files import lay, pack

from jax_avemo.data.clip import ClipOptions
from jax_avemo.data.corpora import READERS
from jax_avemo.data.corpora.scan import find_files
from jax_avemo.data.prepare import prepare


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_label_and_subject_are_the_folders(tmp_path):
    touch(tmp_path, "joy/anna/b.mp4", "joy/anna/a.WEBM", "dread/Bo 2/take 1.avi")
    scan = READERS["folder"](tmp_path)
    assert [(r.labels.key, r.labels.emotion, r.labels.subject) for r in scan.recordings] == [
        ("dread/Bo 2/take 1.avi", "dread", "Bo 2"),
        ("joy/anna/a.WEBM", "joy", "anna"),
        ("joy/anna/b.mp4", "joy", "anna"),
    ]
    assert scan.emotions == ("dread", "joy")
    assert scan.notes == ()


def test_ravdess_labels_keep_its_order(tmp_path):
    touch(tmp_path, "Angry/a/1.mp4", "sad/a/1.mp4", "neutral/a/1.mp4")
    assert READERS["folder"](tmp_path).emotions == ("neutral", "sad", "angry")


def test_what_lies_elsewhere_is_counted(tmp_path):
    touch(tmp_path, "joy/anna/a.mp4", "joy/b.mp4", "joy/anna/deep/c.mp4", "joy/anna/notes.txt")
    scan = READERS["folder"](tmp_path)
    assert len(scan.recordings) == 1
    assert scan.notes == (
        "skipped 2 files not at LABEL/SUBJECT/, as joy/anna/deep/c.mp4",
        "skipped 1 files that are neither video nor audio",
    )


def test_audio_files_are_takes_unless_their_film_is_there(tmp_path):
    suffixes = ("wav", "mp3", "ogg", "opus", "flac", "m4a", "WMA")
    touch(tmp_path, *(f"joy/anna/{suffix}.{suffix}" for suffix in suffixes))
    touch(tmp_path, *(f"joy/anna/film.{suffix}" for suffix in ("mts", "wav")))
    scan = READERS["folder"](tmp_path)
    assert {r.labels.key for r in scan.recordings if r.has_video} == {"joy/anna/film.mts"}
    assert len(scan.recordings) == 8
    assert scan.notes == ("skipped 1 audio files beside a film of the same name",)


def test_a_folder_of_recordings_in_every_format_becomes_clips(tmp_path):
    formats = [("a.wav", "pcm_s16le"), ("b.mp3", "libmp3lame"), ("c.opus", "libopus")]
    formats += [("d.flac", "flac"), ("e.m4a", "aac"), ("f.wma", "wmav2"), ("g.ogg", "libopus")]
    for index, (name, codec) in enumerate(formats):
        voice = (1 - index / 10) * chirp(1.0)
        write_audio(tmp_path / "in/joy/anna" / name, voice, codec=codec)
    write_audio(tmp_path / "in/joy/anna/silent.wav", 0 * chirp(1.0), codec="pcm_s16le")
    options = ClipOptions(32, 5, 10, need_video=False)
    summary = prepare("folder", tmp_path / "in", tmp_path / "clips", options, workers=1)
    assert summary.clips == 7
    assert [(r.path, r.reason) for r in summary.rejects] == [("joy/anna/silent.wav", "is silent")]
    assert summary.duration_seconds["min"] == pytest.approx(1.0, abs=0.05)


def test_a_file_whose_name_is_not_utf8_is_listed_and_the_rest_goes_on(tmp_path):
    touch(tmp_path, "joy/anna/a.mp4")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/joy/anna/caf\xe9.mp4")).touch()
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/joy/zo\xeb"))
    folder.mkdir()
    (folder / "b.mp4").touch()
    scan = READERS["folder"](tmp_path)
    assert [recording.labels.key for recording in scan.recordings] == ["joy/anna/a.mp4"]
    reason = "has a name that is not UTF-8: rename it"
    assert scan.refused == (("joy/anna/caf\\xe9.mp4", reason), ("joy/zo\\xeb/b.mp4", reason))


def test_a_zip_beside_its_unpacked_tree_counts_once(tmp_path):
    films = {"joy/anna/a.mp4": b"one", "joy/Zoe\u0308/b.mp4": b"two"}
    pack(tmp_path / "takes.zip", films | {"joy/anna/new.mp4": b"three"})
    lay(tmp_path, {"joy/anna/a.mp4": b"one", "joy/Zo\u00eb/b.mp4": b"two"})
    scan = READERS["folder"](tmp_path)
    assert sorted(recording.labels.key for recording in scan.recordings) == [
        "joy/Zo\u00eb/b.mp4",
        "joy/anna/a.mp4",
        "takes.zip/joy/anna/new.mp4",
    ]
    assert scan.notes == ("skipped 2 files of takes.zip that lie unpacked beside it",)


def test_a_zip_unpacked_into_a_folder_of_its_name(tmp_path):
    """What was changed since is another file."""
    pack(tmp_path / "takes.zip", {"joy/1.mp4": b"one", "joy/2.mp4": b"two"})
    lay(tmp_path, {"takes/joy/1.mp4": b"one", "takes/joy/2.mp4": b"another"})
    found = find_files(tmp_path)
    assert [key for key, _ in found.files] == [
        "takes/joy/1.mp4",
        "takes/joy/2.mp4",
        "takes.zip/joy/2.mp4",
    ]
    assert found.notes == ("skipped 1 files of takes.zip that lie unpacked beside it",)
