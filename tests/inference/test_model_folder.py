"""A network in a folder says what the run says, and a bad folder is one line."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jax_avemo import cli
from jax_avemo.evaluation.calibration import write_calibration
from jax_avemo.evaluation.results import TemperatureFit
from jax_avemo.evaluation.trained_network import load_run
from jax_avemo.inference import model_folder
from jax_avemo.inference.export import random_inputs
from jax_avemo.inference.predict import load
from jax_avemo.runtime.errors import UserError


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    target = tmp_path_factory.mktemp("exported") / "network"
    fit = TemperatureFit(2.0, 10, 0, 0, 0, 0)
    write_calibration(run, 3, {"video+audio": fit, "video": fit, "audio": fit})
    try:
        command = ["export", str(run), "--format", "folder", "--out", str(target)]
        assert cli.main(command) == 0
    finally:
        (run / "calibration.json").unlink()
    return target


@pytest.fixture
def copy(folder, tmp_path):
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def test_it_predicts_as_the_run_does_with_its_temperatures(run, folder):
    inputs = random_inputs(load_run(run), 3)
    rows = [{name: value[row] for name, value in inputs.items()} for row in range(3)]
    shared, ours = load(folder), load(run)
    found, expected = shared._run(rows), ours._run(rows)
    # Two programs: the temperature is a constant of one.
    np.testing.assert_allclose(found["z_e"], expected["z_e"], rtol=1e-5, atol=1e-5)
    logits = np.log(expected["probabilities"]) / 2
    scaled = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(found["probabilities"], scaled, atol=1e-6)
    assert shared.facts.calibrated
    assert shared.facts.synthetic
    assert shared.emotions == ours.emotions


def test_it_holds_no_pickle_no_subject_and_no_path(folder, run):
    names = {path.name for path in folder.iterdir()}
    assert names == {"model.safetensors", "config.json", "calibration.json", "README.md"}
    about = json.loads((folder / "config.json").read_text())
    assert about["subjects"] == 2
    assert "not for real people" in about["warning"]
    for path in folder.iterdir():
        assert str(run.parent).encode() not in path.read_bytes()
    assert "synthetic actors" in (folder / "README.md").read_text()


def changed(copy: Path, **values) -> None:
    about = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(about | values))


def test_a_file_that_was_changed_is_refused(copy):
    with (copy / "model.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match="is not the file that config.json describes"):
        load(copy)
    changed(copy, sha256=model_folder._digest(copy / "model.safetensors"))
    with pytest.raises(UserError, match="is damaged"):
        load(copy)


def test_weights_of_another_network_are_refused(copy):
    path = copy / "model.safetensors"
    weights = load_file(path)
    name = next(name for name, value in weights.items() if value.ndim == 2)
    save_file(weights | {name: np.zeros((1, 1), np.float32)}, path)
    changed(copy, sha256=model_folder._digest(path))
    with pytest.raises(UserError, match="the weights do not fit the configuration") as error:
        load(copy)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "values",
    [{"schema_version": 9}, {"subjects": "many"}, {"emotions": [1]}, {"config": 7}, {"step": None}],
)
def test_a_configuration_that_is_none_is_one_line(copy, values):
    changed(copy, **values)
    with pytest.raises(UserError, match=r"config\.json"):
        load(copy)


def test_a_folder_of_something_else_is_not_written_into(run, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is no exported network"):
        model_folder.write_folder(run, tmp_path)


class Hub:
    """Stands for the hub's client."""

    def __init__(self, folder: Path | None) -> None:
        self.folder, self.asked = folder, {}

    def snapshot_download(self, **asked) -> str:
        self.asked = asked
        if self.folder is None:
            raise OSError("404 Client Error\nRepository Not Found")
        return str(self.folder)


def test_the_hub_gives_only_the_files_of_a_network(folder, monkeypatch, tmp_path):
    hub = Hub(folder)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert load("hub:owner/name@v1").emotions
    assert (hub.asked["repo_id"], hub.asked["revision"]) == ("owner/name", "v1")
    assert set(hub.asked["allow_patterns"]) >= {"model.safetensors", "config.json"}
    assert not any("*" in pattern for pattern in hub.asked["allow_patterns"])
    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub(tmp_path))
    with pytest.raises(UserError, match="holds no exported network"):
        load("hub:owner/name")
    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub(None))
    with pytest.raises(UserError, match="could not be fetched: 404 Client Error Repository"):
        load("hub:owner/name")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"pip install 'jax_avemo\[hub\]'"):
        load(Path("hub:owner/name"))
    with pytest.raises(UserError, match="write hub:OWNER/NAME"):
        load("hub:name")
