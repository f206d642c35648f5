"""The benchmark of preparing: what it prints, of a small film."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
from support.media_files import face_takes, tone, write_media

SCRIPT = Path(__file__).parents[2] / "scripts/benchmarks/prepare.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("benchmark_prepare", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("films") / "x.mp4"
    return write_media(path, face_takes(12), sound=tone(1.2, rate=16_000), rate=16_000)


@pytest.mark.slow
def test_the_stages_make_up_the_whole(script, film, capsys):
    arguments = ["--source", str(film.parent), "--repeats", "2", "--memory", "8", "--json"]
    assert script.main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    part = found["stages"]
    assert (part["clips"], part["frames_decoded"], part["frames_stored"]) == (1, 12, 12)
    spent = part["milliseconds_a_clip"]
    assert set(spent) == {"decode", "sound", "convert", "detect", "crop", "jpeg", "whole"}
    assert all(milliseconds > 0 for name, milliseconds in spent.items() if name != "convert")
    assert part["ratio_to_decoding"] == pytest.approx(sum(part["ratios"]) / 2, abs=0.011)
    counts = [clips for clips, _ in found["memory"]["resident_megabytes"]]
    assert counts[-1] == 8
    text = script.table(found)
    assert "| detect |" in text
    assert "whole to decoding alone" in text


def test_a_made_clip_is_like_ravdess_films(script, film, tmp_path):
    path = script.enlarged(film, tmp_path / "Actor_01/y.mp4")
    media = script.read_media(path, frames_per_second=60)
    frames = list(media.frames)
    assert frames[0].image.shape == (720, 1280, 3)
    assert len(frames) == pytest.approx(36, abs=3)


def test_an_empty_folder_is_refused(script, tmp_path, capsys):
    (tmp_path / "none").mkdir()
    assert script.main(["--source", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err.startswith("error: no mp4 file")


@pytest.mark.slow
def test_a_second_run_and_an_added_file_are_timed(script, film, tmp_path):
    shutil.copy(film, tmp_path / "x.mp4")
    found = script.benchmark_workers([tmp_path / "x.mp4"], tmp_path, copies=2)
    assert found["clips"] == 2
    assert set(found["seconds_by_workers"]) >= {1}
    assert found["second_run_seconds"] < found["seconds_by_workers"][1]
    assert found["one_file_added_seconds"] > 0
