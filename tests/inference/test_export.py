"""An exported file says what the network says, in a process that has neither Flax nor this code."""

import json
import subprocess
import sys

import numpy as np
import pytest

from jax_avemo.evaluation.trained_network import load_run
from jax_avemo.inference.export import export_run, random_inputs
from jax_avemo.inference.predict import load
from jax_avemo.runtime.errors import UserError

_OTHER_PROCESS = """
import sys
sys.modules["flax"] = sys.modules["jax_avemo"] = None  # importing either fails
import numpy as np
from jax import export
file, inputs, outputs = sys.argv[1:]
call = export.deserialize(bytearray(open(file, "rb").read())).call
np.savez(outputs, **call(dict(np.load(inputs))))
"""


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    return export_run(run, tmp_path_factory.mktemp("export") / "x.stablehlo", "stablehlo")


def test_without_flax_the_file_gives_the_networks_numbers(run, exported, tmp_path):
    rows = 2  # the file was made and tried with another number
    inputs = random_inputs(load_run(run), rows)
    np.savez(tmp_path / "inputs.npz", **inputs)
    (tmp_path / "other.py").write_text(_OTHER_PROCESS)
    arguments = [exported.path, tmp_path / "inputs.npz", tmp_path / "outputs.npz"]
    subprocess.run(
        [sys.executable, tmp_path / "other.py", *arguments],
        check=True,
        timeout=900,
        capture_output=True,
    )
    found = np.load(tmp_path / "outputs.npz")
    expected = load(run)._run([{n: v[row] for n, v in inputs.items()} for row in range(rows)])
    assert set(found) == set(expected) == {"probabilities", "z", "z_e", "z_i"}
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)


def test_what_stands_beside_it_describes_it(exported):
    about = json.loads(exported.description.read_text())
    assert about["inputs"]["video"]["shape"] == ["batch", 3, 32, 32, 3]
    assert about["outputs"]["probabilities"]["shape"] == ["batch", 8]
    assert "not for real people" in about["warning"]
    assert about["largest_difference"] == exported.difference <= 1e-5
    assert about["platforms"] == ["cpu", "cuda", "tpu"]
    assert exported.bytes == exported.path.stat().st_size


def test_a_mistake_leaves_nothing(run, tmp_path):
    with pytest.raises(UserError, match="no format 'x'"):
        export_run(run, tmp_path / "x", "x")
    with pytest.raises(UserError, match="no checkpoints"):
        export_run(tmp_path, tmp_path / "x", "stablehlo")
    assert not (tmp_path / "x").exists()
