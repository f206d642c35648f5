"""What a call of `avemo predict` writes and says of many files."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.media_files import face_takes, tone, write_media
from support.predictions import film as by_hand
from support.predictions import window

from jax_avemo import cli
from jax_avemo.inference.predict import Model, load
from jax_avemo.inference.prediction_files import WRITERS, find_sources, predict_files
from jax_avemo.inference.summary import TABLE_HEADER, column_widths, summarise, table_line
from jax_avemo.runtime.errors import UserError

RATE = 12


@pytest.fixture(scope="module")
def model(run) -> Model:
    return load(run)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A film, the same below a subfolder without sound, sound alone, a bad file, a text."""
    folder = tmp_path_factory.mktemp("films")
    write_media(folder / "film.mp4", face_takes(48), frames_per_second=RATE, sound=tone(4.0))
    write_media(folder / "sub/film.mp4", face_takes(24), frames_per_second=RATE)
    write_media(folder / "heard.wav", sound=tone(2.0), audio_codec="pcm_s16le")
    (folder / "bad.mp4").write_bytes(b"no film")
    (folder / "notes.txt").write_text("no film")
    return folder


def test_a_folder_gives_its_media_named_after_the_path_within(folder):
    found = find_sources([folder])
    assert [source.name for source in found] == ["bad.mp4", "film.mp4", "heard.wav", "sub/film.mp4"]
    alone = find_sources([folder / "film.mp4"])
    assert alone[0] == found[1]  # the name does not depend on what else is given


def test_names_that_clash_and_folders_without_media_are_one_line(folder, tmp_path):
    with pytest.raises(UserError, match=r"would both be named film\.mp4: give the folder"):
        find_sources([folder / "film.mp4", folder / "sub/film.mp4"])
    with pytest.raises(UserError, match="no film, sound or picture in this folder"):
        find_sources([tmp_path])


@pytest.fixture(scope="module")
def written(model, folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    results = list(
        predict_files(
            model,
            find_sources([folder]),
            out,
            hop_seconds=1.0,
            max_faces=2,
            annotate=False,
            formats=tuple(WRITERS),
        )
    )
    return out, results


def test_one_bad_file_never_stops_the_rest_and_every_output_carries_the_warning(written):
    out, results = written
    assert [bool(r.error) for r in results] == [True, False, False, False]
    assert "bad.mp4: " in results[0].error
    endings = ("json", "csv", "vtt", "eaf", "TextGrid", "labelstudio.json")
    expected = {
        f"{name}.{end}" for name in ("film.mp4", "heard.wav", "sub/film.mp4") for end in endings
    }
    files = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    assert set(files) == expected | {"predictions.csv"}
    for path in files.values():
        assert "not for real people" in path.read_text()
    assert "no sound: predicted from faces alone" in results[3].prediction.notes
    spoken = json.loads((out / "heard.wav.json").read_text())
    assert {w["face"] for w in spoken["windows"]} == {None}
    assert "no picture: predicted from sound alone" in spoken["notes"]


def test_predictions_csv_has_every_window_of_every_file_with_box_and_probabilities(written, model):
    out, results = written
    with (out / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    predictions = [r.prediction for r in results if r.prediction is not None]
    assert [row["source"] for row in rows] == [
        r.source.name for r in results if r.prediction for _ in r.prediction.windows
    ]
    windows = [window for prediction in predictions for window in prediction.windows]
    for row, said in zip(rows, windows, strict=True):
        found = [float(row[f"p_{name}"]) for name in model.emotions]
        np.testing.assert_allclose(found, said.probabilities, atol=1e-5)
        box = [row[side] for side in ("left", "top", "right", "bottom")]
        if said.box is None:
            assert box == [""] * 4
        else:
            np.testing.assert_allclose([float(side) for side in box], said.box, atol=1e-4)


def test_the_command_prints_one_table_and_the_warning_once(run, folder, tmp_path, capsys):
    code = cli.main(["predict", str(folder), "--run", str(run), "--out", str(tmp_path / "out")])
    told = capsys.readouterr()
    assert code == 1
    assert told.err.count("not for real people") == 1
    assert told.err.count("not calibrated") == 1
    assert "1 of 4 files could not be predicted whole" in told.err
    lines = told.out.splitlines()
    assert lines[0].split() == list(TABLE_HEADER)
    assert len(lines) == 5
    assert lines[1].split()[0] == "bad.mp4"
    assert lines[2].split()[:3] == ["film.mp4", "face", "1"]
    assert lines[3].endswith("no picture: predicted from sound alone")
    columns = {line.index(line.split()[1]) for line in lines}
    assert len(columns) == 1


def test_asking_for_a_format_that_there_is_not_is_one_line(folder, capsys):
    with pytest.raises(SystemExit):
        cli.main(["predict", str(folder), "--formats", "srt"])
    assert "no format 'srt'; there are json, csv, vtt, eaf, TextGrid" in capsys.readouterr().err


def test_a_file_is_not_written_twice_under_its_names(model, folder, tmp_path):
    shutil.copy(folder / "film.mp4", tmp_path / "film.mov")
    shutil.copy(folder / "film.mp4", tmp_path / "film.mp4")
    names = [source.name for source in find_sources([tmp_path])]
    assert names == ["film.mov", "film.mp4"]


def test_share_is_of_known_windows_and_ties_go_to_the_likelier():
    said = by_hand(
        window(0, 1, "happy"),
        window(1, 1, "sad"),
        window(2, 1, "sad"),
        window(3, None, None),
        window(4, None, "calm"),
        duration=7.0,
    )
    rows = summarise(said)
    assert [(row.name, row.emotion, row.windows) for row in rows] == [
        ("face 1", "sad", 3),
        ("sound", "calm", 1),
    ]
    assert rows[0].share == pytest.approx(2 / 3)


def test_long_names_lose_their_beginning():
    widths = column_widths(["a" * 50], ["calm"])
    line = table_line(["x" * 50 + ".mp4", "face 1", "calm", "9 %", "3", "note"], widths)
    assert line.startswith("…")
    assert line.split()[0].endswith("x.mp4")
    assert len(line.split()[0]) == widths[0] == 40
