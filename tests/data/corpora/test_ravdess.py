from pathlib import Path

import pytest

from jax_avemo.data.corpora import READERS, scan_corpus
from jax_avemo.runtime.errors import UserError
from jax_avemo.schema import RAVDESS_EMOTIONS


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def whole_actor(actor: int) -> list[str]:
    """The 60 names of an actor's speech takes, without the modality."""
    return [
        f"01-{emotion:02d}-{intensity:02d}-{statement:02d}-{take:02d}-{actor:02d}"
        for emotion in range(1, 9)
        for intensity in ((1,) if emotion == 1 else (1, 2))
        for statement in (1, 2)
        for take in (1, 2)
    ]


def test_labels_are_read_from_the_name(tmp_path):
    touch(tmp_path, "Actor_07/01-01-06-02-01-02-07.mp4", "Actor_12/01-01-01-01-02-01-12.mp4")
    first, second = READERS["ravdess"](tmp_path).recordings
    labels = first.labels
    assert labels.key == "Actor_07/01-01-06-02-01-02-07.mp4"
    assert (labels.emotion, labels.subject, labels.sex) == ("fearful", "07", "male")
    assert (labels.statement, labels.intensity, labels.take) == ("01", "strong", "02")
    assert first.path == tmp_path / labels.key
    assert (first.start, first.end) == (0.0, None)
    assert (second.labels.emotion, second.labels.sex) == ("neutral", "female")
    assert second.labels.intensity == "normal"


def test_the_whole_corpus_has_1440_takes_though_its_archives_have_more(tmp_path):
    for actor in range(1, 25):
        for name in whole_actor(actor):
            touch(tmp_path, f"Actor_{actor:02d}/01-{name}.mp4", f"Actor_{actor:02d}/02-{name}.mp4")
    touch(tmp_path, "Actor_01/03-01-03-01-01-01-01.wav", "song/01-02-03-01-01-01-01.mp4")
    scan = READERS["ravdess"](tmp_path)
    assert len(scan.recordings) == 1440
    counts = [sum(r.labels.emotion == e for r in scan.recordings) for e in RAVDESS_EMOTIONS]
    assert counts == [96] + [192] * 7
    assert scan.emotions == RAVDESS_EMOTIONS
    assert scan.notes == (
        "skipped 1 files of song (channel 02)",
        "skipped 1440 files without audio (modality 02, the same takes)",
        "skipped 1 files of audio alone (modality 03, the same takes)",
    )


@pytest.mark.parametrize(
    "folder", ["", "Actor_03/", "ACTOR03/", "actor_03/", "Video_Speech_Actor_03/Actor_03/"]
)
@pytest.mark.parametrize("suffix", ["mp4", "MP4", "avi"])
def test_folders_and_letter_case_do_not_matter(tmp_path, folder, suffix):
    touch(tmp_path, f"{folder}01-01-04-01-02-01-03.{suffix}")
    (recording,) = READERS["ravdess"](tmp_path).recordings
    assert (recording.labels.emotion, recording.labels.subject) == ("sad", "03")


def test_recordings_are_sorted_by_key(tmp_path):
    touch(tmp_path, *(f"b/01-{n}.mp4" for n in whole_actor(2)), "a/01-01-04-01-02-01-03.mp4")
    keys = [recording.labels.key for recording in READERS["ravdess"](tmp_path).recordings]
    assert keys == sorted(keys)
    assert len(keys) == 61


def test_missing_takes_are_noted_but_not_in_a_demo(tmp_path):
    touch(tmp_path, *(f"Actor_17/01-{name}.mp4" for name in whole_actor(17)[:58]))
    notes = scan_corpus("ravdess", tmp_path).notes
    assert notes[0] == "warning: takes are not as published: 17 has 58 (published: 60)"
    assert notes[1].startswith("no takes of 23 of 24 subjects: 01, 02, 03")
    assert scan_corpus("demo", tmp_path).notes == ()


def test_a_take_in_two_places_counts_once(tmp_path):
    touch(tmp_path, "Actor_01/01-01-04-01-02-01-01.mp4", "copy/01-01-04-01-02-01-01.mp4")
    scan = READERS["demo"](tmp_path)
    assert [recording.labels.key for recording in scan.recordings] == [
        "Actor_01/01-01-04-01-02-01-01.mp4"
    ]
    assert "skipped 1 files that repeat a take, as copy/" in scan.notes[0]


def test_what_is_no_take_is_counted(tmp_path):
    touch(
        tmp_path,
        "01-01-04-01-02-01-01.mp4",
        "01-01-09-01-02-01-01.mp4",
        "holiday.mp4",
        "readme.txt",
        "._01-01-05-01-02-01-01.mp4",
        "__MACOSX/01-01-05-01-02-01-01.mp4",
        "Actor_01.txt/01-01-06-01-02-01-01.txt",
        "01-01-06-01-02-01-01.wav",
    )
    scan = READERS["demo"](tmp_path)
    assert len(scan.recordings) == 1
    assert set(scan.notes) == {
        "skipped 1 files whose modality, channel or emotion is none of RAVDESS's",
        "skipped 1 videos whose names are not RAVDESS's",
        "skipped 2 files of modality 01 of another type",
    }


def test_linked_folders_are_read_once(tmp_path):
    touch(tmp_path / "far/Actor_01", "01-01-04-01-02-01-01.mp4")
    (tmp_path / "near").mkdir()
    (tmp_path / "near/Actor_01").symlink_to(tmp_path / "far/Actor_01")
    (tmp_path / "near/loop").symlink_to(tmp_path / "near")
    (recording,) = READERS["demo"](tmp_path / "near").recordings
    assert recording.labels.key == "Actor_01/01-01-04-01-02-01-01.mp4"


@pytest.mark.parametrize("corpus", ["ravdess", "folder"])
def test_a_folder_without_takes_names_the_layout(tmp_path, corpus):
    layout = {"ravdess": "Actor_01/01-01-03", "folder": "LABEL/SUBJECT/"}[corpus]
    with pytest.raises(UserError, match=f"no take in {tmp_path}.*{layout}"):
        READERS[corpus](tmp_path)
    with pytest.raises(UserError, match="gone does not exist"):
        READERS[corpus](tmp_path / "gone")
    touch(tmp_path, "x.mp4")
    with pytest.raises(UserError, match="x.mp4 is neither a folder nor a zip"):
        READERS[corpus](tmp_path / "x.mp4")


def test_an_archive_of_songs_says_so(tmp_path):
    touch(tmp_path, "01-02-04-01-02-01-01.mp4")
    with pytest.raises(UserError, match=r"\(1 files of song \(channel 02\)\)"):
        READERS["ravdess"](tmp_path)
