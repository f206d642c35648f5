"""One person is one subject, however the name is spelled."""

import unicodedata

import pytest
from support.corpus_files import lay

from jax_avemo.data.corpora import READERS, scan_corpus
from jax_avemo.data.corpora.names import plain_name

ZOE = "Zo\u00eb"


@pytest.mark.parametrize(
    "spelled",
    [
        ZOE,
        unicodedata.normalize("NFD", ZOE),
        f" {ZOE}\t",
        f"{ZOE}\u200b",
        f"\ufeff{ZOE}",
        "Zo\u200be\u0308",
        "Zo\u00ad\u00eb\ufe0f",
        f"\u00a0{ZOE}\u2003",
        f"\u202a{ZOE}\u202c",
    ],
)
def test_what_looks_the_same_is_the_same(spelled):
    assert plain_name(spelled) == ZOE


def test_what_looks_different_stays_different():
    names = ["Anna", "Änna", "Anna B", "AnnaB", "anna", "Аnna", "安娜", "อันนา", "آنا"]
    assert len({plain_name(name) for name in names}) == len(names)
    assert plain_name("Anna   B") == "Anna B"
    assert plain_name("\u200b \ufeff") == ""


def subjects(scan) -> set[str]:
    return {recording.labels.subject for recording in scan.recordings}


def test_folders_of_two_systems_are_one_person(tmp_path):
    """Composed by Linux, decomposed by macOS, and a space at the end."""
    lay(
        tmp_path,
        {
            f"happy/{ZOE}/1.mp4": b"",
            f"sad/{unicodedata.normalize('NFD', ZOE)}/1.mp4": b"",
            f"Angry/{ZOE} /1.mp4": b"",
            f"angry\u200b/{ZOE}\u200b/1.mp4": b"",
        },
    )
    scan = scan_corpus("folder", tmp_path)
    assert subjects(scan) == {ZOE}
    assert scan.emotions == ("happy", "sad", "angry")
    assert all(recording.path.is_file() for recording in scan.recordings)
    assert scan.notes == ()


def test_a_table_of_two_systems_is_one_person(tmp_path):
    rows = [ZOE, unicodedata.normalize("NFD", ZOE), f"{ZOE} ", f"{ZOE}\u200b"]
    lines = [f"{index}.mp4,joy,{name}" for index, name in enumerate(rows)]
    path = tmp_path / "takes.csv"
    path.write_text("path,emotion,subject\n" + "\n".join(lines))
    assert subjects(scan_corpus("manifest", path)) == {ZOE}


def test_letter_case_alone_is_one_person_and_a_note(tmp_path):
    lay(tmp_path, {f"{label}/anna/1.mp4": b"" for label in ("joy", "dread")})
    lay(tmp_path, {"joy/Anna/2.mp4": b"", "joy/ANNA/3.mp4": b"", "joy/Bo/1.mp4": b""})
    assert subjects(READERS["folder"](tmp_path)) == {"anna", "Anna", "ANNA", "Bo"}
    scan = scan_corpus("folder", tmp_path)
    assert subjects(scan) == {"anna", "Bo"}
    assert scan.notes == (
        "names that differ only in letter case count as one subject (rename them if they are not): "
        "ANNA, Anna, anna",
    )


def test_letter_case_alone_is_one_sentence(tmp_path):
    path = tmp_path / "takes.csv"
    path.write_text("path,emotion,subject,content\na,joy,x,Kids\nb,joy,y,kids\nc,joy,z,kids\n")
    scan = scan_corpus("manifest", path)
    assert {recording.labels.statement for recording in scan.recordings} == {"kids"}
    assert scan.notes[0].startswith("names that differ only in letter case count as one content")
