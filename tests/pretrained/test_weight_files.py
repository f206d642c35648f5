"""Weights files: safetensors, and files of PyTorch where it is not installed."""

import ast
import pickle
import shlex
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save
from support.foreign_weights import foreign_state

from jax_avemo.pretrained.weight_files import read_weights
from jax_avemo.runtime.errors import UserError


def written(folder, content: bytes, name: str = "weights.safetensors"):
    (folder / name).write_bytes(content)
    return folder / name


def test_safetensors_gives_the_tensors_bitwise(tmp_path):
    state = foreign_state()
    found = read_weights(written(tmp_path, save(state)))
    assert found.keys() == state.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_is_widened_and_a_wrapper_s_prefix_taken_off(dtype, tmp_path):
    expected = np.arange(6, dtype=np.float32).reshape(2, 3)
    found = read_weights(written(tmp_path, save({"module.a": expected.astype(dtype)})))
    np.testing.assert_array_equal(found["a"], expected)
    assert found["a"].dtype == np.float32


A = {"a": np.ones((2, 3), np.float32)}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 40,
        b"P3 an image",
        save(A).replace(b"[2,3]", b"[2,4]"),
        save(A).replace(b"[0,24]", b"[0,99]"),
        save(A).replace(b"F32", b"F99"),
        save(A)[:-4],
    ],
)
def test_a_damaged_file_is_one_line(content, tmp_path):
    assert content != save(A)
    path = written(tmp_path, content)
    with pytest.raises(UserError) as caught:
        read_weights(path)
    assert str(caught.value).startswith(f"{path} is damaged or no weights file")
    assert "\n" not in str(caught.value)


def test_no_tensors_is_one_line(tmp_path):
    with pytest.raises(UserError, match="holds no tensors"):
        read_weights(written(tmp_path, save({})))


@pytest.mark.parametrize("name", ["none.pth", "."])
def test_no_file_is_one_line(name, tmp_path):
    with pytest.raises(UserError, match="no weights file"):
        read_weights(tmp_path / name)


@settings(max_examples=150, deadline=None)
@given(
    cut=st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=4),
)
def test_whatever_is_in_a_file_it_is_read_or_refused(cut, changes, tmp_path_factory):
    content = bytearray(save(A | {"b": np.zeros(2, np.float16)}))
    for place, value in changes:
        content[int(place * len(content))] = value
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    path.write_bytes(content[: round(cut * len(content))] if cut < 0.5 else content)
    try:
        found = read_weights(path)
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert all(isinstance(array, np.ndarray) for array in found.values())


class Marker:
    """What unpickling it would do: create a file."""

    def __init__(self, path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("start", [b"", b"PK"])
def test_a_file_of_pytorch_is_not_read_without_pytorch_and_its_conversion_told(
    start, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "torch", None)
    victim = tmp_path / "victim"
    program = pickle.dumps(Marker(victim), protocol=2)
    pickle.loads(program).close()
    assert victim.exists()  # the program does what it says
    victim.unlink()
    with pytest.raises(UserError) as caught:
        read_weights(written(tmp_path, start + program, "it's.pth"))
    said = str(caught.value)
    assert "pip install torch" in said
    assert "\n" not in said
    assert not victim.exists()
    *_, line = said.split("convert it where it is: ")
    assert shlex.split(line)[:2] == ["python", "-c"]
    strings = [node.value for node in ast.walk(ast.parse(shlex.split(line)[2]))
               if isinstance(node, ast.Constant)]  # fmt: skip
    assert str(tmp_path / "it's.pth") in strings
    assert str(tmp_path / "it's.safetensors") in strings
