"""The benchmark against PyTorch: its twins compute what the network does, and it says so."""

import importlib.util
import json
import sys
from pathlib import Path

import flax.linen
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow  # importing PyTorch alone takes seconds
SCRIPTS = Path(__file__).parents[2] / "scripts/benchmarks"


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(SCRIPTS))  # as it is when the script is run
    spec = importlib.util.spec_from_file_location("benchmark", SCRIPTS / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(SCRIPTS))


@pytest.mark.parametrize("part", ["resnext", "lstm", "audio", "model"])
@pytest.mark.parametrize("mode", ["train", "infer"])
def test_the_twins_agree(script, part, mode, monkeypatch):
    if mode == "train":
        # Where rounding turns a ReLU on or off the gradient jumps (0.3 % in all); with SiLU not.
        monkeypatch.setattr(flax.linen, "relu", flax.linen.silu)
        silu = torch.nn.functional.silu
        monkeypatch.setattr(torch.nn.functional, "relu", lambda x, inplace=False: silu(x))
    row = script.rows.make_row(f"{part}-{mode}@cpu", "float32", "cpu")
    assert row.check() < 1e-4


def test_a_row_is_timed_and_told(script, tmp_path, capsys):
    told = tmp_path / "x.json"
    arguments = ["--rows", "lstm*infer@cpu", "--no-compile", "--repeats", "1", "--json", str(told)]
    assert script.main(arguments) == 0
    rows = json.loads(told.read_text())["rows"]
    assert [row["row"] for row in rows] == ["lstm-infer@cpu", "lstm_nn-infer@cpu"]
    assert rows[0]["difference"] < 1e-3
    assert rows[1]["difference"] is None  # another formula
    printed = capsys.readouterr().out
    assert "| lstm-infer@cpu |" in printed


def test_twins_that_differ_are_not_timed(script, monkeypatch):
    monkeypatch.setitem(script.TOLERANCE, "float32", 0.0)
    with pytest.raises(SystemExit, match="not timed"):
        script.main(["--rows", "lstm-infer@cpu", "--repeats", "1"])


def test_all_rows_are_listed(script, capsys):
    assert script.main(["--list"]) == 0
    listed = capsys.readouterr().out.split()
    assert {"model-train@cpu", "resnext_plain-infer@224", "lstm_nn-train@64"} <= set(listed)
