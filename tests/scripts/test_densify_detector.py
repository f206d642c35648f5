"""Making the full-range detector's file: only what OpenCV cannot read is changed."""

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/tools/densify_detector.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("densify_detector", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_sparse_kernel_is_left(script):
    data = bytearray(script.ASSET.read_bytes())
    model = script.Table(data, int.from_bytes(data[:4], "little"))
    graph = model.tables(2)[0]
    codes = [max(code.scalar(0, "b"), code.scalar(3, "i")) for code in model.tables(1)]
    used = {codes[operator.scalar(0, "I")] for operator in graph.tables(3)}
    assert not used & {script.DENSIFY, script.DEPTH_TO_SPACE, script.RESHAPE}
    operators = graph.tables(3)
    read = {int(k) for operator in operators for k in operator.array(1, "<i4")}
    assert all(graph.tables(0)[k].field(script.SPARSITY_FIELD) is None for k in read)


def test_two_thirds_of_the_pruned_kernels_are_zero(script):
    """Of 462,592 weights in 46 kernels, as many as the sparse file stored."""
    data = bytearray(script.ASSET.read_bytes())
    model = script.Table(data, int.from_bytes(data[:4], "little"))
    buffers = model.tables(4)
    shares = []
    for tensor in model.tables(2)[0].tables(0):
        shape = tensor.array(0, "<i4")
        values = buffers[tensor.scalar(2, "I")].array(0, "u1")
        if len(shape) == 4 and len(values) == 2 * np.prod(shape) and shape[1] == 1 != shape[0]:
            shares.append(np.mean(values.view("<f2") == 0))
    pruned = [share for share in shares if share > 0.3]
    assert len(pruned) == 46


def test_opencv_reads_it(script):
    net = cv2.dnn.readNetFromTFLite(str(script.ASSET), cv2.dnn.ENGINE_CLASSIC)
    net.setInput(np.zeros((1, 3, 192, 192), np.float32))
    outputs = net.forward(net.getUnconnectedOutLayersNames())
    assert sorted(output.shape for output in outputs) == [(1, 4, 24, 24), (1, 64, 24, 24)]


def test_other_files_are_refused_in_one_line(script, tmp_path, capsys):
    text = tmp_path / "model.tflite"
    text.write_text("this is no model at all")
    for path in (text, tmp_path / "nowhere", script.ASSET):
        assert script.main([str(path)]) == 1
        assert capsys.readouterr().err.startswith("error: ")
