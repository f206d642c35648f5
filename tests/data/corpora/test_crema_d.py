"""CREMA-D: sex from the table of actors, faulty takes left out, one take from two files."""

import pytest
from support.corpus_files import OPTIONS, lay

from jax_avemo.data.clip_store import read_clips
from jax_avemo.data.corpora import READERS, scan_corpus
from jax_avemo.data.prepare import prepare
from jax_avemo.runtime.errors import UserError

DEMOGRAPHICS = (
    b"ActorID,Age,Sex,Race,Ethnicity\n1001,51,Male,Caucasian,Not Hispanic\n"
    b"1002,21,Female,Caucasian,Not Hispanic\n"
)


def test_labels_are_the_name_and_the_table(tmp_path):
    lay(
        tmp_path,
        {
            "VideoDemographics.csv": DEMOGRAPHICS,
            "VideoFlash/1001_DFA_ANG_XX.flv": b"",
            "VideoFlash/1002_IEO_SAD_HI.flv": b"",
            "AudioWAV/1002_IEO_SAD_HI.wav": b"",
            "AudioWAV/1040_ITH_SAD_X.wav": b"",
        },
    )
    scan = READERS["crema_d"](tmp_path)
    found = [
        (r.labels.subject, r.labels.sex, r.labels.emotion, r.labels.statement, r.labels.intensity)
        for r in scan.recordings
    ]
    assert found == [
        ("1040", "", "sad", "ITH", ""),
        ("1001", "male", "anger", "DFA", ""),
        ("1002", "female", "sad", "IEO", "high"),
    ]
    assert [recording.has_video for recording in scan.recordings] == [False, True, True]
    assert scan.emotions == ("anger", "disgust", "fear", "happy", "neutral", "sad")
    assert scan.notes == (
        "skipped 1 files that repeat a take, as AudioWAV/1002_IEO_SAD_HI.wav "
        "(is VideoFlash/1002_IEO_SAD_HI.flv)",
    )


def test_faulty_takes_are_left_out_and_named(tmp_path):
    faulty = ("1076_MTI_NEU_XX", "1076_MTI_SAD_XX", "1064_TIE_SAD_XX", "1064_IEO_DIS_MD")
    lay(tmp_path, {f"VideoFlash/{name}.flv": b"" for name in (*faulty, "1064_IEO_DIS_HI")})
    scan = scan_corpus("crema_d", tmp_path)
    assert [recording.labels.intensity for recording in scan.recordings] == ["high"]
    assert scan.notes[:2] == (
        "no VideoDemographics.csv: folds are not balanced by sex",
        f"left out, known to be faulty: {', '.join(sorted(faulty))}",
    )
    assert scan.notes[2].startswith("no takes of 90 of 91 subjects: 1001, 1002")


def test_other_tables_and_names_are_said(tmp_path):
    lay(tmp_path, {"VideoFlash/holiday.flv": b""})
    with pytest.raises(UserError, match=r"1 files whose names are not CREMA-D's\): expected"):
        READERS["crema_d"](tmp_path)
    lay(tmp_path, {"VideoFlash/1001_DFA_ANG_XX.flv": b"", "VideoDemographics.csv": b"a,b\n1,2\n"})
    with pytest.raises(UserError, match="no table with ActorID and Sex"):
        READERS["crema_d"](tmp_path)


def test_flash_films_become_clips(tmp_path, media):
    source = tmp_path / "source"
    lay(
        source,
        {
            "VideoDemographics.csv": DEMOGRAPHICS,
            "VideoFlash/1001_DFA_ANG_XX.flv": media["crema_d.flv", 1],
            "VideoFlash/1002_IEO_SAD_HI.flv": media["crema_d.flv", 2],
            "AudioWAV/1002_IEO_SAD_HI.wav": media["ravdess.wav"],
        },
    )
    summary = prepare("crema_d", source, tmp_path / "clips", OPTIONS, workers=1)
    assert (summary.clips, summary.subjects, summary.rejected) == (2, 2, 0)
    clips = read_clips(tmp_path / "clips")
    assert [label.sex for label in clips.labels] == ["male", "female"]
    assert all(clip.face_found.all() and clip.audio.size > 15_000 for clip in clips)
