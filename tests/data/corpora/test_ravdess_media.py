"""RAVDESS as it is downloaded: zips with silent twins, wavs apart, songs."""

import csv

import numpy as np
import pytest
from support.corpus_files import OPTIONS, lay, pack
from support.media_files import tone, write_media

import jax_avemo.data.prepare as module
from jax_avemo.data.clip import ClipOptions
from jax_avemo.data.clip_store import read_clips
from jax_avemo.data.corpora import scan_corpus
from jax_avemo.data.prepare import prepare
from jax_avemo.runtime.errors import UserError


@pytest.fixture(scope="module")
def downloads(tmp_path_factory, media):
    """Zips as Zenodo has them; of actor 2 only silent twins and sound; one take unpacked too."""
    folder = tmp_path_factory.mktemp("downloads")
    film, silent, sound = media["ravdess.mp4"], media["silent.mp4"], media["ravdess.wav"]
    takes = ("01-03-01-01-01-01", "01-05-02-02-01-01")
    both = {f"Actor_01/{m}-{t}.mp4": d for t in takes for m, d in (("01", film), ("02", silent))}
    both["../../outside/01-01-04-01-01-01-01.mp4"] = film
    pack(folder / "Video_Speech_Actor_01.zip", both)
    alone = {f"Actor_02/02-01-0{emotion}-01-01-01-02.mp4": silent for emotion in (3, 4, 5)}
    pack(folder / "Video_Speech_Actor_02.ZIP", alone)
    pack(
        folder / "Audio_Speech_Actors_01-24.zip",
        {f"Actor_02/03-01-0{emotion}-01-01-01-02.wav": sound for emotion in (3, 4, 6)}
        | {"Actor_01/03-01-03-01-01-01-01.wav": sound},
    )
    pack(folder / "Video_Song_Actor_01.zip", {"Actor_01/01-02-03-01-01-01-01.mp4": film})
    lay(folder, {"ACTOR01/01-01-03-01-01-01-01.MP4": film})
    (folder / "broken.zip").write_bytes(b"PK no zip")
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, downloads):
    folder = tmp_path_factory.mktemp("prepared") / "clips"
    return folder, prepare("ravdess", downloads, folder, OPTIONS, workers=2)


def test_zips_are_read_in_place(prepared):
    folder, summary = prepared
    clips = read_clips(folder)
    assert [label.key for label in clips.labels] == [
        "ACTOR01/01-01-03-01-01-01-01.MP4",
        "Video_Speech_Actor_01.zip/Actor_01/01-01-05-02-02-01-01.mp4",
        "Video_Speech_Actor_02.ZIP/Actor_02/02-01-03-01-01-01-02.mp4",
        "Video_Speech_Actor_02.ZIP/Actor_02/02-01-04-01-01-01-02.mp4",
    ]
    assert [label.sex for label in clips.labels] == ["male", "male", "female", "female"]
    assert all(clip.face_found.all() and len(clip.frames) == 5 for clip in clips)
    assert (summary.clips, summary.subjects, summary.rejected) == (4, 2, 2)


def test_a_silent_twin_alone_gets_the_sound_of_its_wav(prepared):
    clips = read_clips(prepared[0])
    for clip in clips[2:]:
        assert clip.audio.size == 14_400  # the wav's 0.9 s
        assert clip.duration == pytest.approx(1.0, abs=0.01)  # the picture's
    assert clips[0].audio.size == pytest.approx(16_000, abs=800)


def test_every_quirk_is_reported_once(prepared):
    notes = prepared[1].notes
    for told in (
        "skipped 1 files of song (channel 02)",
        "skipped 1 files that repeat a take, as Video_Speech_Actor_01.zip/Actor_01/"
        "01-01-03-01-01-01-01.mp4 (is ACTOR01/01-01-03-01-01-01-01.MP4)",
        "skipped 2 files without audio (modality 02, the same takes)",
        "skipped 1 files of audio alone (modality 03, the same takes)",
        "joined 2 silent videos (modality 02) with their audio (03)",
        "1 takes have no audio (--modality video takes them)",
        "1 takes have audio alone (--modality audio takes them)",
    ):
        assert notes.count(told) == 1, (told, notes)
    assert any(note.startswith("warning: takes are not as published: 01 has 2") for note in notes)
    assert any(note.startswith("no takes of 22 of 24 subjects: 03, 04") for note in notes)


def test_hostile_and_broken_archives_are_refused_with_their_reason(prepared, downloads):
    folder, summary = prepared
    reasons = {reject.path: reject.reason for reject in summary.rejects}
    assert reasons == {
        "broken.zip": "is no zip archive that can be read",
        "Video_Speech_Actor_01.zip/../../outside/01-01-04-01-01-01-01.mp4": (
            "has a name that leads out of its archive"
        ),
    }
    with (folder / "rejects.csv").open(newline="") as table:
        assert len(list(csv.reader(table))) == 3
    assert not (downloads.parent.parent / "outside").exists()
    assert sorted(path.name for path in folder.iterdir() if path.suffix != ".txt") == [
        ".lock",
        "clips",
        "rejects.csv",
        "summary.json",
    ]


def test_an_unchanged_archive_has_nothing_to_do(prepared, downloads, monkeypatch):
    monkeypatch.setattr(module, "make_clips", None)
    (downloads / "Video_Speech_Actor_02.ZIP").touch()  # its date is no content
    assert prepare("ravdess", downloads, prepared[0], OPTIONS) == prepared[1]


@pytest.mark.parametrize(
    ("needs", "count"), [({"need_video": False}, 5), ({"need_audio": False}, 5)]
)
def test_sound_or_picture_alone_takes_what_has_it(downloads, needs, count):
    options = ClipOptions(32, 5, 10, **needs)
    scan = module._scan("ravdess", downloads, options)
    assert len(scan.recordings) == count
    assert len({recording.labels.key for recording in scan.recordings}) == count
    assert all(recording.sound is None for recording in scan.recordings)


def test_sound_alone_is_all_that_is_kept_for_the_ear(tmp_path, media):
    """A film without a face will do, and its picture is not read."""
    blank = write_media(tmp_path / "x.mp4", [np.zeros((64, 64, 3), np.uint8)] * 5, sound=tone(0.5))
    source = tmp_path / "in"
    pack(
        source / "Audio_Speech_Actors_01-24.zip",
        {f"Actor_0{a}/03-01-03-01-01-01-0{a}.wav": media["ravdess.wav", a] for a in (1, 2)},
    )
    with pytest.raises(UserError, match="2 takes have audio alone"):
        prepare("ravdess", source, tmp_path / "clips", OPTIONS)
    lay(source, {"01-01-05-01-01-01-01.mp4": blank.read_bytes()})
    lay(source, {"Actor_02/02-01-03-01-01-01-02.mp4": b"no film, and not opened"})
    options = ClipOptions(32, 5, 10, need_video=False)
    summary = prepare("ravdess", source, tmp_path / "clips", options, workers=1)
    assert (summary.clips, summary.rejected, summary.face_found_rate) == (3, 0, None)
    clips = read_clips(tmp_path / "clips")
    assert [clip.frames for clip in clips] == [(), (), ()]
    assert [clip.audio.size for clip in clips][1:] == [14_400, 14_400]
    assert clips[2].duration == pytest.approx(0.9)


def test_picture_alone_is_all_that_is_kept_for_the_eye(tmp_path, media):
    names = {"01-01-05-01-01-01-01.mp4": "ravdess.mp4", "02-01-03-01-01-01-02.mp4": "crema_d.flv"}
    lay(tmp_path / "in", {name: media[like, 1] for name, like in names.items()})
    options = ClipOptions(32, 5, 10, need_audio=False)
    prepare("ravdess", tmp_path / "in", tmp_path / "clips", options, workers=1)
    assert [(len(c.frames), c.audio.size) for c in read_clips(tmp_path / "clips")] == [(5, 0)] * 2


def test_songs_are_a_corpus_of_their_own(downloads, tmp_path):
    scan = scan_corpus("ravdess_song", downloads)
    assert [recording.labels.emotion for recording in scan.recordings] == ["happy"]
    assert scan.emotions == ("neutral", "calm", "happy", "sad", "angry", "fearful")
    assert any(note == "skipped 12 files of speech (channel 01)" for note in scan.notes)
    lay(tmp_path, {"01-02-07-01-01-01-01.mp4": b""})
    with pytest.raises(UserError, match="emotion is none of RAVDESS's"):
        scan_corpus("ravdess_song", tmp_path)


def test_the_whole_song_corpus_is_recognised(tmp_path):
    for actor in range(1, 25):
        if actor == 18:
            continue
        for emotion in range(1, 7):
            for intensity in (1,) if emotion == 1 else (1, 2):
                for statement, take in ((1, 1), (1, 2), (2, 1), (2, 2)):
                    name = f"01-02-{emotion:02d}-{intensity:02d}-{statement:02d}-{take:02d}"
                    (tmp_path / f"{name}-{actor:02d}.mp4").touch()
    scan = scan_corpus("ravdess_song", tmp_path)
    assert (len(scan.recordings), scan.notes) == (1012, ())
