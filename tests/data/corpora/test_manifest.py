"""A table of recordings: parts of files, sex, content, spaces, other alphabets, and mistakes."""

import unicodedata

import pytest
from support.corpus_files import OPTIONS, lay, pack

from jax_avemo.data.clip_store import read_clips
from jax_avemo.data.corpora import READERS
from jax_avemo.data.prepare import prepare
from jax_avemo.runtime.errors import UserError


def table(folder, text: str, name: str = "manifest.csv", encoding: str = "utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def test_every_column_is_read(tmp_path):
    path = table(
        tmp_path,
        "Path,EMOTION,subject,start,end,sex,content,intensity,take,mood\n"
        "a b/x.mp4,Joy,Zoë,0.5,1.25,F,kids,strong,1,?\n"
        "\n"
        "x.mp4,dread,Bo,,,male,,,,\n",
        "takes.csv",
    )
    scan = READERS["folder"](path)
    first, second = scan.recordings
    labels = first.labels
    assert labels.key == "a b/x.mp4#0.5-1.25"
    assert (labels.emotion, labels.subject, labels.sex) == ("joy", "Zoë", "female")
    assert (labels.statement, labels.intensity, labels.take) == ("kids", "strong", "1")
    assert (first.start, first.end, first.path) == (0.5, 1.25, tmp_path / "a b/x.mp4")
    assert (second.labels.key, second.labels.sex) == ("x.mp4", "male")
    assert (second.start, second.end) == (0.0, None)
    assert scan.emotions == ("dread", "joy")
    assert scan.notes == ("columns that are not read: mood",)
    assert READERS["manifest"](path) == scan


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_as_spreadsheets_write_it(tmp_path, delimiter, encoding, newline):
    cells = [
        ["path", "emotion", "subject"],
        ["dir\\né.mp4", "joy", "a"],
        ['"b; c, d.mp4"', "x", "a"],
    ]
    lay(tmp_path, {"dir/né.mp4": b"", "b; c, d.mp4": b""})
    path = table(tmp_path, newline.join(map(delimiter.join, cells)), encoding=encoding)
    scan = READERS["folder"](tmp_path)
    assert scan == READERS["manifest"](path)
    assert all(recording.path.exists() for recording in scan.recordings)


@pytest.mark.parametrize("listed", ["NFC", "NFD"])
@pytest.mark.parametrize("stored", ["NFC", "NFD"])
def test_accents_are_found_however_they_are_spelled(tmp_path, listed, stored):
    lay(tmp_path, {unicodedata.normalize(stored, "Zoë/naïve.mp4"): b""})
    name = unicodedata.normalize(listed, "Zoë/naïve.mp4")
    table(tmp_path, f"path,emotion,subject\n{name},joy,a\n")
    (recording,) = READERS["manifest"](tmp_path).recordings
    assert recording.path.is_file()


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\npath;emotion;subject\n{0};joy;Zoë\n",
        '"sep=;"\r\npath;emotion;subject\r\n{0};joy;Zoë\r\n',
        "\n\n;;;\n\npath;emotion;subject;\n{0};joy;Zoë;\n;;;\n",
        "path,emotion,subject\r{0},joy,Zoë\r",
        'path,emotion,subject,content\n{0},joy,Zoë,"two\nlines, one cell"\n',
        '"path","emotion","subject"\n"{0}","joy","Zoë"\n',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_as_excel_writes_it(tmp_path, text, encoding):
    """A line that names the delimiter, lines that are empty, CR alone at the ends, marks."""
    lay(tmp_path, {"a.mp4": b""})
    table(tmp_path, text.format("a.mp4"), encoding=encoding)
    scan = READERS["manifest"](tmp_path)
    assert [(r.labels.key, r.labels.emotion, r.labels.subject) for r in scan.recordings] == [
        ("a.mp4", "joy", "Zoë")
    ]
    assert (scan.refused, scan.notes) == ((), ())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has no column path, emotion, subject"),
        ("path,emotion\nx,y\n", "has no column subject; its first line"),
        ("path,emotion,subject\n", "lists no take"),
        ("path,emotion,subject\n\n x,,a\n", "lists no take (manifest.csv line 3: no emotion)"),
    ],
)
def test_a_table_without_columns_or_takes_is_refused(tmp_path, text, says):
    path = table(tmp_path, text)
    with pytest.raises(UserError) as caught:
        READERS["manifest"](path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"x.mp4,,a", "no emotion"),
        (b"x.mp4", "no emotion, subject"),
        ("x.mp4,joy,\u200b".encode(), "no subject"),
        (b"x,y,z,2,1", "end 1 is not after start 2"),
        (b"x,y,z,1:20", "start is '1:20', not seconds"),
        (b"x,y,z,,nan", "end is 'nan', not seconds"),
        (b"x,y,z,,,2", "sex is '2', not female or male (or empty)"),
        (b"good.mp4,y,z", "good.mp4 is listed twice"),
        (b"../x.mp4,y,z", "../x.mp4 leads out of "),
        (b"caf\xe9.mp4,y,z", "is not UTF-8: save it as 'CSV UTF-8'"),
        (b"a\0b.mp4,y,z", "has a NUL character"),
        (b'"x.mp4,y,z', "a quote is not closed, or closed inside of a cell"),
        (b'"x".mp4,y,z', "a quote is not closed, or closed inside of a cell"),
    ],
)
def test_a_bad_line_is_listed_and_the_rest_goes_on(tmp_path, line, says):
    path = tmp_path / "takes.csv"
    rows = [b"path,emotion,subject,start,end,sex", b"good.mp4,y,z", line, b"last.mp4,y,z", b""]
    path.write_bytes(b"\n".join(rows))
    scan = READERS["manifest"](path)
    assert [recording.labels.key for recording in scan.recordings] == ["good.mp4", "last.mp4"]
    ((where, reason),) = scan.refused
    assert where == "takes.csv line 3"
    assert reason.startswith(says)


def test_other_encodings_and_missing_tables_are_said(tmp_path):
    with pytest.raises(UserError, match="line 2: is not UTF-8: save it as"):
        READERS["manifest"](table(tmp_path, "path,emotion,subject\né,b,c", encoding="latin-1"))
    with pytest.raises(UserError, match=r"gone.csv does not exist"):
        READERS["folder"](tmp_path / "gone.csv")


def test_parts_of_files_become_clips(tmp_path, media):
    lay(tmp_path / "in", {"Zoë 1/one session.mp4": media["ravdess.mp4"], "broken.zip": b"PK"})
    pack(tmp_path / "in/more.zip", {"a.avi": media["enterface.avi"]})
    table(
        tmp_path / "in",
        "path,emotion,subject,start,end,sex,content\n"
        "Zoë 1/one session.mp4,joy,Zoë,0,0.4,f,hello\n"
        "Zoë 1/one session.mp4,dread,Zoë,0.4,1,f,bye\n"
        "more.zip/a.avi,joy,Ann,,,f,hello\n"
        "gone.mp4,joy,Ann,,,f,hello\n"
        "broken.zip/a.mp4,joy,Ann,,,f,hello\n"
        "more.zip/b.mp4,joy,Ann,,,f,hello\n"
        "manifest.csv/a.mp4,joy,Ann,,,f,hello\n"
        f"{'x' * 300}.mp4,joy,Ann,,,f,hello\n",
    )
    summary = prepare("folder", tmp_path / "in", tmp_path / "clips", OPTIONS, workers=1)
    assert (summary.clips, summary.subjects) == (3, 2)
    reasons = {reject.path[:16]: reject.reason for reject in summary.rejects}
    assert reasons.pop("x" * 16).startswith("failed (OSError: ")
    assert reasons == {
        "broken.zip/a.mp4": "is no zip archive that can be read",
        "gone.mp4": "no such file",
        "manifest.csv/a.m": "no such file",
        "more.zip/b.mp4": "no such file",
    }
    clips = read_clips(tmp_path / "clips")
    found = {clip.labels.key: (clip.labels.statement, len(clip.frames)) for clip in clips}
    assert found == {
        "Zoë 1/one session.mp4#0.4-1": ("bye", 3),
        "Zoë 1/one session.mp4#0-0.4": ("hello", 2),
        "more.zip/a.avi": ("hello", 5),
    }
    assert clips.labels[0].sex == "female"
