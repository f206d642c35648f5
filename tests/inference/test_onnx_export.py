"""An ONNX file says in onnxruntime what the network says, for any number of rows."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_avemo.evaluation.trained_network import load_run
from jax_avemo.inference.export import export_run, random_inputs
from jax_avemo.inference.onnx_export import run_onnx, to_onnx
from jax_avemo.inference.predict import load
from jax_avemo.models.video.grouped_conv import grouped_conv
from jax_avemo.runtime.errors import UserError


def test_one_file_serves_any_number_of_rows():
    pytest.importorskip("jax2onnx")
    rng = np.random.default_rng(0)
    kernel = jnp.asarray(rng.normal(size=(3, 3, 2, 8)), jnp.float32)

    def network(inputs):
        # Frames and rows become one axis; the convolution depends on the platform.
        frames = inputs["video"].astype(jnp.float32).reshape(-1, 5, 5, 4)
        seen = jax.nn.relu(grouped_conv(frames, kernel, groups=2)).mean(axis=(1, 2))
        mean = seen.reshape(-1, 3, 8).mean(axis=1)
        return {"mean": jnp.where(inputs["there"][:, None], mean, 0.0)}

    def rows(count):
        video = rng.integers(0, 256, (count, 3, 5, 5, 4), dtype=np.uint8)
        return {"video": video, "there": np.arange(count) != 1}

    data = to_onnx(network, rows(2))
    for count in (1, 2, 5):
        inputs = rows(count)
        expected = np.asarray(jax.jit(network)(inputs)["mean"])
        np.testing.assert_allclose(run_onnx(data, inputs)["mean"], expected, rtol=1e-5)
    with pytest.raises(Exception, match="Got: 4 Expected: 5"):
        run_onnx(data, {**inputs, "video": inputs["video"][:, :, :4]})


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    with pytest.raises(UserError, match=r"pip install 'jax_avemo\[onnx\]'"):
        to_onnx(lambda inputs: inputs, {"x": np.zeros((1, 2), np.float32)})


@pytest.mark.slow
def test_onnxruntime_gives_the_networks_numbers(run, tmp_path):
    pytest.importorskip("jax2onnx")
    exported = export_run(run, tmp_path / "x.onnx", "onnx")
    assert exported.difference <= 1e-4
    about = json.loads(exported.description.read_text())
    assert about["format"] == "onnx"
    assert about["platforms"] is None
    assert about["inputs"]["video"]["shape"] == ["batch", 3, 32, 32, 3]
    inputs = random_inputs(load_run(run), rows=2)  # the file was tried with another number
    found = run_onnx(exported.path.read_bytes(), inputs)
    expected = load(run)._run([{n: v[row] for n, v in inputs.items()} for row in range(2)])
    assert set(found) == set(expected) == {"probabilities", "z", "z_e", "z_i"}
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4)
