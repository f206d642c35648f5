"""Foreign weights: the reader runs nothing, the names are torchvision's, the function is kept."""

import io
import pickle
import struct
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.foreign_weights import SMALL, foreign_state, numpy_resnext, safetensors

from jax_avemo.models.video.resnext import ResNeXt
from jax_avemo.pretrained.resnext_weights import import_resnext, parameter_path
from jax_avemo.pretrained.weight_files import read_weights
from jax_avemo.runtime.errors import UserError


class Ref:
    """A global that the pickle names and nobody here has to have."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def code(self) -> bytes:
        return f"c{self.module}\n{self.name}\n".encode()


def pickled(value) -> bytes:
    """Opcodes of protocol 2 by hand, as torch.save writes them, without needing PyTorch."""
    if isinstance(value, Ref):
        return value.code()
    if isinstance(value, tuple):
        return b"(" + b"".join(pickled(part) for part in value) + b"t"
    if isinstance(value, dict):
        items = b"".join(pickled(key) + pickled(part) for key, part in value.items())
        return Ref("collections", "OrderedDict").code() + b")R(" + items + b"u"
    return pickle.dumps(value, protocol=2)[2:-1]  # without PROTO and STOP


def tensor_code(name: str, array: np.ndarray, key: str, transposed: bool = False) -> bytes:
    kind = {"float32": "FloatStorage", "float16": "HalfStorage", "int64": "LongStorage"}
    storage = ("storage", Ref("torch", kind[array.dtype.name]), key, "cpu", array.size)
    stride = tuple(step // array.itemsize for step in array.strides)
    shape = array.shape
    if transposed:
        shape, stride = shape[::-1], stride[::-1]
    hooks = Ref("collections", "OrderedDict").code() + b")R"
    arguments = b"(" + pickled(storage) + b"Q" + pickled(0) + pickled(shape) + pickled(stride)
    return Ref("torch._utils", "_rebuild_tensor_v2").code() + arguments + b"\x89" + hooks + b"tR"


def state_code(state: dict[str, np.ndarray]) -> bytes:
    items = b"".join(
        pickled(name) + tensor_code(name, array, str(number))
        for number, (name, array) in enumerate(state.items())
    )
    return Ref("collections", "OrderedDict").code() + b")R(" + items + b"u"


def pth(state: dict[str, np.ndarray], program: bytes | None = None, **zip_options) -> bytes:
    """A zip as torch.save has written it since PyTorch 1.6."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **zip_options) as archive:
        archive.writestr("archive/data.pkl", program or b"\x80\x02" + state_code(state) + b".")
        archive.writestr("archive/byteorder", "little")
        for number, array in enumerate(state.values()):
            archive.writestr(f"archive/data/{number}", array.tobytes())
    return file.getvalue()


def legacy_pth(state: dict[str, np.ndarray]) -> bytes:
    """Pickles one behind another, as torch.save wrote before: torchvision's first weights."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    parts = [pickle.dumps(x, protocol=2) for x in (0x1950A86A20F9469CFC6C, 1001, system)]
    parts.append(b"\x80\x02" + state_code(state).replace(b"tQ", b"NtQ") + b".")
    parts.append(pickle.dumps([str(number) for number in range(len(state))], protocol=2))
    parts += [struct.pack("<q", array.size) + array.tobytes() for array in state.values()]
    return b"".join(parts)


WRITERS = {"safetensors": safetensors, "pth": pth, "legacy_pth": legacy_pth}


def written(tmp_path, content: bytes, name: str = "weights.pth"):
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


@pytest.mark.parametrize("writer", sorted(WRITERS))
def test_every_format_gives_the_tensors_bitwise(writer, tmp_path):
    state = foreign_state()
    found = read_weights(written(tmp_path, WRITERS[writer](state)))
    assert found.keys() == state.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


@pytest.mark.parametrize("writer", sorted(WRITERS))
def test_half_precision_is_widened_and_a_wrapper_s_prefix_taken_off(writer, tmp_path):
    state = {"module.a": np.arange(6, dtype=np.float16).reshape(2, 3)}
    found = read_weights(written(tmp_path, WRITERS[writer](state)))
    np.testing.assert_array_equal(found["a"], np.arange(6, dtype=np.float32).reshape(2, 3))
    assert found["a"].dtype == np.float32


def test_bfloat16_is_the_upper_half_of_a_float(tmp_path):
    halves = np.array([0x3F80, 0xC000], np.uint16).view(np.float16)  # 1 and -2
    found = read_weights(written(tmp_path, safetensors({"a": halves}, dtype="BF16")))
    np.testing.assert_array_equal(found["a"], np.array([1.0, -2.0], np.float32))


def test_weights_beside_other_things_and_views_are_found(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    wrapped = (
        Ref("collections", "OrderedDict").code()
        + b")R("
        + pickled("epoch") + pickled(3)
        + pickled("state_dict") + b"}" + pickled("a") + tensor_code("a", array, "0", True) + b"s"
        + b"u."
    )  # fmt: skip
    found = read_weights(written(tmp_path, pth({"a": array}, b"\x80\x02" + wrapped)))
    assert found.keys() == {"a"}
    np.testing.assert_array_equal(found["a"], array.T)


class Marker:
    """What unpickling it would do: create a file."""

    def __init__(self, path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("home", ["zip", "legacy", "beside"])
def test_code_in_a_file_is_refused_in_one_line_and_never_run(home, tmp_path):
    victim = tmp_path / "victim"
    program = pickle.dumps(Marker(victim), protocol=2)
    pickle.loads(program).close()
    assert victim.exists()  # the program does what it says
    victim.unlink()
    content = {
        "zip": pth({}, program),
        "legacy": program,
        "beside": legacy_pth(foreign_state()).replace(b"\x80\x02}q", program + b"\x80\x02}q", 1),
    }[home]
    with pytest.raises(UserError) as caught:
        read_weights(written(tmp_path, content))
    assert "\n" not in str(caught.value)
    assert not victim.exists()
    if home == "zip":
        said = str(caught.value)  # the module is '_io' from Python 3.13 on
        assert "is refused: it asks for '" in said
        assert "io.open', which no tensor needs" in said


def test_a_harmless_name_with_harmful_arguments_is_refused(tmp_path):
    call = Ref("torch._utils", "_rebuild_tensor_v2").code() + b"(U\x01atR."
    with pytest.raises(UserError, match="with something else than a tensor"):
        read_weights(written(tmp_path, pth({}, b"\x80\x02" + call)))


A = {"a": np.ones((2, 3), np.float32)}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no weights file"),
        (b"\x00" * 40, "no weights file"),
        (safetensors(A, shape=[2, 4]), "size of its shape"),
        (safetensors(A, data_offsets=[0, 2400]), "outside"),
        (safetensors(A, dtype="F128"), "has the type 'F128'"),
        (safetensors({}), "no tensors"),
        (pth(A, compression=zipfile.ZIP_DEFLATED), "compressed"),
        (pth(A)[:-30], "damaged"),
        (pth(A, b"\x80\x02" + pickled(3) + b"."), "no dictionary"),
        (pth({}, b"\x80\x02" + state_code(A) + b"."), "damaged"),
        (legacy_pth(A)[:-4], "stops short"),
    ],
)
def test_a_damaged_file_is_one_line(content, says, tmp_path):
    with pytest.raises(UserError, match=says) as caught:
        read_weights(written(tmp_path, content))
    assert str(tmp_path) in str(caught.value)


def test_no_file_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no weights file"):
        read_weights(tmp_path / "none.pth")


@settings(max_examples=150, deadline=None)
@given(
    writer=st.sampled_from(sorted(WRITERS)),
    cut=st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=4),
)
def test_whatever_is_in_a_file_it_is_read_or_refused(writer, cut, changes, tmp_path_factory):
    content = bytearray(WRITERS[writer](A | {"b": np.zeros(2, np.float16)}))
    for place, value in changes:
        content[int(place * len(content))] = value
    path = tmp_path_factory.getbasetemp() / "fuzzed.pth"
    path.write_bytes(content[: round(cut * len(content))] if cut < 0.5 else content)
    try:
        found = read_weights(path)
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert all(isinstance(array, np.ndarray) for array in found.values())


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("conv1.weight", ("params", "conv1", "kernel")),
        ("layer3.5.bn2.weight", ("params", "layer3_5", "bn2", "scale")),
        ("layer1.0.downsample.0.weight", ("params", "layer1_0", "downsample_conv", "kernel")),
        ("layer2.0.downsample.1.running_var", ("batch_stats", "layer2_0", "downsample_bn", "var")),
        ("fc.weight", None),
        ("bn1.num_batches_tracked", None),
        ("layer1.0.se.fc1.weight", None),
    ],
)
def test_names(name, path):
    assert parameter_path(name) == path


def network(**changes) -> tuple[ResNeXt, dict]:
    model = ResNeXt(**(SMALL | changes))
    shapes = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)), None, False)
    )
    rng = np.random.default_rng(3)
    start = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), shapes)
    return model, start | {"batch_stats": jax.tree.map(np.abs, start["batch_stats"])}


def test_kernels_are_turned_and_everything_is_accounted_for():
    state = foreign_state()
    _, start = network(coordinate_attention=False)
    variables, report = import_resnext(state, start)
    block = variables["params"]["layer2_0"]
    np.testing.assert_array_equal(
        variables["params"]["conv1"]["kernel"], state["conv1.weight"].transpose(2, 3, 1, 0)
    )
    np.testing.assert_array_equal(
        block["conv1"]["kernel"], state["layer2.0.conv1.weight"][:, :, 0, 0].T
    )
    np.testing.assert_array_equal(block["conv2"]["kernel"][2, 1, 0, 5],
                                  state["layer2.0.conv2.weight"][5, 0, 2, 1])  # fmt: skip
    assert report.fresh == ()
    assert set(report.unused) == {"fc.weight", "fc.bias", "bn1.num_batches_tracked"}
    assert set(report.matched) == set(state) - set(report.unused)
    assert jax.tree.structure(variables) == jax.tree.structure(start)
    assert report.describe() == (
        f"{len(report.matched)} tensors imported; 3 not used (fc.weight, fc.bias, "
        "bn1.num_batches_tracked)"
    )


def test_an_imported_network_computes_what_numpy_does_with_the_foreign_names():
    images = jnp.asarray(np.random.default_rng(2).normal(size=(2, 15, 16, 3)), jnp.float32)
    model, start = network()
    imported, _ = import_resnext(foreign_state(), start)
    found = jax.jit(lambda v: model.apply(v, images, None, False))(imported)
    expected = numpy_resnext(foreign_state(), np.asarray(images), groups=SMALL["groups"])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("place", ["residual", "inner"])
def test_with_coordinate_attention_the_function_is_exactly_the_imported_one(place):
    images = jnp.asarray(np.random.default_rng(1).normal(size=(2, 16, 16, 3)), jnp.float32)
    plain, start = network(coordinate_attention=False)
    expected, _ = import_resnext(foreign_state(), start)
    attending, start = network(attention_place=place)
    imported, report = import_resnext(foreign_state(), start, attention_place=place)
    assert len(report.fresh) == 2 * (6 + 2 + 2)
    np.testing.assert_array_equal(
        jax.jit(lambda v: attending.apply(v, images, None, False))(imported),
        jax.jit(lambda v: plain.apply(v, images, None, False))(expected),
    )


def test_the_gates_of_an_imported_network_learn_from_the_first_step():
    attending, start = network()
    imported, _ = import_resnext(foreign_state(), start)
    images = jnp.asarray(np.random.default_rng(1).normal(size=(2, 16, 16, 3)), jnp.float32)

    @jax.jit
    def slopes(params):
        variables = {"params": params, "batch_stats": imported["batch_stats"]}
        return jax.grad(
            lambda p: jnp.sin(attending.apply(variables | {"params": p}, images, None, False)).sum()
        )(params)

    found = slopes(imported["params"])
    for block in ("layer1_0", "layer2_0"):
        for gate in ("conv_h", "conv_w"):
            assert np.abs(found[block]["coordinate_attention"][gate]["kernel"]).max() > 1e-6


def test_weights_of_another_network_are_one_line():
    _, start = network()
    state = foreign_state()
    del state["layer2.0.bn1.running_var"]
    with pytest.raises(UserError, match="lack 1 of .* such as batch_stats/layer2_0/bn1/var"):
        import_resnext(state, start)
    with pytest.raises(UserError, match=r"model\.pixels=colour"):
        import_resnext(foreign_state() | {"conv1.weight": np.zeros((4, 1, 7, 7))}, start)
