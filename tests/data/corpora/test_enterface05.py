"""eNTERFACE'05 as it is: wrong subject in names, sentences swapped, one subject not cut."""

import pytest
from support.corpus_files import OPTIONS, lay, pack

from jax_avemo.data.clip_store import read_clips
from jax_avemo.data.corpora import READERS, scan_corpus
from jax_avemo.data.prepare import prepare
from jax_avemo.runtime.errors import UserError

CODES = {
    "anger": "an",
    "disgust": "di",
    "fear": "fe",
    "happiness": "ha",
    "sadness": "sa",
    "surprise": "su",
}
ROOT = "enterface database"


def original_name(subject: int, emotion: str, sentence: int) -> str:
    """Where the original has a take, its quirks included."""
    code, said, number, prefix, suffix = CODES[emotion], subject, sentence, "s", ""
    if subject == 11:
        said = 12
    if (subject, emotion) == (2, "anger"):
        number = {1: 2, 2: 1}.get(sentence, sentence)
    if subject == 3 and (
        emotion in ("happiness", "sadness", "surprise") or (emotion, sentence) == ("anger", 1)
    ):
        prefix = "s_"
    if (subject, emotion, sentence) == (16, "surprise", 3):
        suffix = "avi"
    return (
        f"{ROOT}/subject {subject}/{emotion}/sentence {sentence}/"
        f"{prefix}{said}_{code}_{number}{suffix}.avi"
    )


def original() -> list[str]:
    """All 1,293 files."""
    names = [f"{ROOT}/subject 6/{emotion}/s6_{code}.avi" for emotion, code in CODES.items()]
    for subject in set(range(1, 45)) - {6}:
        for emotion in CODES:
            for sentence in range(1, 6):
                if (subject, emotion) != (23, "happiness") or sentence > 3:
                    names.append(original_name(subject, emotion, sentence))
    return names


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    clutter = ["subject 1/anger/sentence 1/Thumbs.db", "subject 9/x.db", "Thumbs.DB"]
    lay(folder, dict.fromkeys([*original(), *(f"{ROOT}/{name}" for name in clutter)], b""))
    return folder, scan_corpus("enterface05", folder)


def test_the_whole_corpus_is_as_published(whole):
    scan = whole[1]
    assert (len(scan.recordings), len(scan.long_sessions)) == (1287, 6)
    assert {recording.labels.subject for recording in scan.recordings} == {
        f"{subject:02d}" for subject in range(1, 45) if subject != 6
    }
    counts = [sum(r.labels.emotion == emotion for r in scan.recordings) for emotion in CODES]
    assert counts == [215, 215, 215, 212, 215, 215]
    assert scan.emotions == tuple(CODES)
    assert not any(note.startswith(("warning", "no takes")) for note in scan.notes)


def test_labels_are_the_folders_read_as_numbers(whole):
    by_key = {recording.labels.key: recording.labels for recording in whole[1].recordings}
    labels = by_key[f"{ROOT}/subject 11/anger/sentence 4/s12_an_4.avi"]
    assert (labels.subject, labels.emotion, labels.statement) == ("11", "anger", "anger 4")
    assert sum(labels.subject == "11" for labels in by_key.values()) == 30
    assert by_key[original_name(2, "anger", 1)].statement == "anger 1"
    assert by_key[original_name(16, "surprise", 3)].statement == "surprise 3"
    assert len({labels.statement for labels in by_key.values()}) == 30


def test_disagreements_are_listed(whole):
    scan = whole[1]
    assert len(scan.disagreements) == 32
    assert (
        f"{ROOT}/subject 11/anger/sentence 4/s12_an_4.avi: its name says subject 12"
        in scan.disagreements
    )
    assert (
        f"{ROOT}/subject 2/anger/sentence 1/s2_an_2.avi: its name says sentence 2"
        in scan.disagreements
    )


def test_every_quirk_is_noted_once(whole):
    notes = whole[1].notes
    assert len(notes) == 4
    assert notes[0] == "skipped 3 files that are no video (Thumbs.db and the like)"
    assert notes[1].startswith("17 file names are spelled otherwise than s1_an_1, as ")
    assert notes[2] == f"6 long sessions are in no fold, as {ROOT}/subject 6/anger/s6_an.avi"
    assert notes[3].startswith("32 names differ from their folders, as ")


def test_what_a_copy_lacks_is_warned_of(whole, tmp_path):
    names = [name for name in original() if not name.endswith(("s5_an_1.avi", "s5_an_2.avi"))]
    lay(tmp_path, dict.fromkeys(names, b""))
    assert scan_corpus("enterface05", tmp_path).notes[-1] == (
        "warning: takes are not as published: anger has 214 (published: 216)"
    )
    part = tmp_path / ROOT / "subject 10"
    lay(part, {"subject 10/fear/sentence 1/s10_fe_1.avi": b""})
    notes = scan_corpus("enterface05", part).notes
    assert notes[-1].startswith("no takes of 43 of 44 subjects: 01, 02")


@pytest.mark.parametrize(
    ("name", "subject", "statement", "says"),
    [
        ("SUBJECT 5/Anger/Sentence 2/S5_AN_2.AVI", "05", "anger 2", None),
        ("subject5/anger/sentence2/s5_an_2.avi", "05", "anger 2", None),
        ("x/y/subject 40/fear/sentence 5/s40_fe_5.avi", "40", "fear 5", None),
        ("subject 5/anger/sentence 2/s5_di_2.avi", "05", "anger 2", "says emotion disgust"),
        ("subject 5/anger/sentence 2/clip.avi", "05", "anger 2", "neither subject, emotion"),
    ],
)
def test_spelling(tmp_path, name, subject, statement, says):
    lay(tmp_path, {name: b""})
    scan = READERS["enterface05"](tmp_path)
    (recording,) = scan.recordings
    assert (recording.labels.subject, recording.labels.statement) == (subject, statement)
    assert len(scan.disagreements) == (says is not None)
    assert says is None or says in scan.disagreements[0]


def test_no_take_is_one_clear_error(tmp_path):
    lay(tmp_path, {"subject 6/anger/s6_an.avi": b"", "holiday.avi": b""})
    with pytest.raises(UserError, match=r"1 videos outside .* 1 long sessions\): expected is eNT"):
        READERS["enterface05"](tmp_path)


def test_the_zip_becomes_clips_without_subject_6(tmp_path, media):
    names = [
        original_name(2, "anger", 1),
        original_name(3, "happiness", 1),
        original_name(11, "anger", 4),
        original_name(16, "surprise", 3),
        f"{ROOT}/subject 6/fear/s6_fe.avi",
    ]
    zipped = pack(
        tmp_path / "project2_database.zip",
        {name: media["enterface.avi", index] for index, name in enumerate(names)}
        | {f"{ROOT}/subject 2/Thumbs.db": b"db"},
    )
    summary = prepare("enterface05", zipped, tmp_path / "clips", OPTIONS, workers=1)
    assert (summary.clips, summary.subjects, summary.rejected) == (4, 4, 0)
    assert summary.long_sessions == [names[-1]]
    assert len(summary.disagreements) == 2
    assert summary.emotions == dict.fromkeys(CODES, 0) | {"anger": 2, "happiness": 1, "surprise": 1}
    clips = read_clips(tmp_path / "clips")
    assert sorted(label.subject for label in clips.labels) == ["02", "03", "11", "16"]
    assert all(len(clip.frames) == 5 and clip.face_found.all() for clip in clips)
    assert all(abs(clip.audio.size - 16_000) < 300 for clip in clips)


def test_zip_and_tree_side_by_side_count_once(tmp_path, media):
    name = original_name(1, "fear", 2)
    lay(tmp_path, {name: media["enterface.avi"]})
    pack(tmp_path / "a.zip", {name: media["enterface.avi"]})
    scan = READERS["enterface05"](tmp_path)
    assert [recording.labels.key for recording in scan.recordings] == [name]
    assert scan.notes == ("skipped 1 files of a.zip that lie unpacked beside it",)
