"""ResNeXt50 32x4d written in PyTorch here: what torch.save makes of it is read, and is the same."""

import shlex
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.modules import resnext

from jax_avemo.models.video.resnext import ResNeXt
from jax_avemo.pretrained.resnext_weights import import_resnext
from jax_avemo.pretrained.weight_files import read_weights
from jax_avemo.runtime.errors import UserError

torch = pytest.importorskip("torch")
nn = torch.nn
save_file = pytest.importorskip("safetensors.torch").save_file
pytestmark = pytest.mark.slow  # importing PyTorch alone takes seconds


class TorchBottleneck(nn.Module):
    """Xie et al. 2017, figure 3c, as torchvision names its parts."""

    def __init__(self, inputs: int, width: int, outputs: int, stride: int, groups: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class TorchResNeXt(nn.Module):
    def __init__(self, depths=(3, 4, 6, 3), groups=32, width_per_group=4) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.pool = nn.MaxPool2d(3, 2, 1)
        channels = 64
        for stage, depth in enumerate(depths):
            width, outputs = groups * width_per_group * 2**stage, 256 * 2**stage
            blocks = []
            for block in range(depth):
                stride = 2 if stage and not block else 1
                blocks.append(TorchBottleneck(channels, width, outputs, stride, groups))
                channels = outputs
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, 1000)

    def forward(self, x):
        x = self.pool(torch.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(0)
    model = TorchResNeXt().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # as if trained: no statistic at its start
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(np.random.default_rng(0).normal(size=(2, 64, 64, 3)), jnp.float32)


def start(model: ResNeXt):
    shapes = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)), None, False)
    )
    ones = jax.tree.map(lambda s: np.full(s.shape, 0.1, np.float32), shapes)
    return ones | {"batch_stats": jax.tree.map(np.ones_like, ones["batch_stats"])}


SAVERS = {
    "pth": torch.save,
    "legacy_pth": lambda s, p: torch.save(s, p, _use_new_zipfile_serialization=False),
    "wrapped": lambda s, p: torch.save({"epoch": 3, "state_dict": s, "best": 0.5}, p),
    "safetensors": save_file,
}


@pytest.mark.parametrize("saver", sorted(SAVERS))
def test_what_torch_saves_is_read_bitwise(saver, theirs, tmp_path):
    SAVERS[saver](theirs.state_dict(), tmp_path / "weights")
    found = read_weights(tmp_path / "weights")
    expected = {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


def test_half_precision_is_widened_and_views_are_found(tmp_path):
    array = torch.arange(6.0).reshape(2, 3)
    state = {"module.a": array.bfloat16().T, "module.b": nn.Parameter(array.half())}
    torch.save({"model": state, "epoch": 3}, tmp_path / "weights.pth")
    found = read_weights(tmp_path / "weights.pth")
    np.testing.assert_array_equal(found["a"], array.numpy().T)
    np.testing.assert_array_equal(found["b"], array.numpy())
    assert found["a"].dtype == found["b"].dtype == np.float32


class Marker:
    """What unpickling it would do: create a file."""

    def __init__(self, path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("saver", ["pth", "legacy_pth", "wrapped"])
def test_code_in_a_file_is_refused_in_one_line_and_never_run(saver, tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "weights.pth"
    SAVERS[saver]({"a": torch.ones(2), "b": Marker(victim)}, path)
    torch.load(path, weights_only=False)
    assert victim.exists()  # the program does what it says
    victim.unlink()
    with pytest.raises(UserError, match="save its state dict alone") as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)
    assert not victim.exists()


@pytest.mark.parametrize("content", [3, [torch.ones(2)], torch.ones(2), {"a": "text"}, {}])
def test_what_is_no_state_dict_is_one_line(content, tmp_path):
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(UserError, match="weights.pth holds no tensors"):
        read_weights(tmp_path / "weights.pth")


@settings(max_examples=150, deadline=None)
@given(
    legacy=st.booleans(),
    cut=st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=4),
)
def test_whatever_is_in_a_file_it_is_read_or_refused(legacy, cut, changes, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "fuzzed.pth"
    SAVERS["legacy_pth" if legacy else "pth"]({"a": torch.ones(2, 3)}, path)
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[int(place * len(content))] = value
    path.write_bytes(content[: round(cut * len(content))] if cut < 0.5 else content)
    try:
        found = read_weights(path)
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert all(isinstance(array, np.ndarray) for array in found.values())


def test_the_conversion_that_is_told_makes_a_file_with_the_same_tensors(
    theirs, tmp_path, monkeypatch
):
    path = tmp_path / "it's.pth"
    torch.save(theirs.state_dict(), path)
    expected = read_weights(path)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "torch", None)
        with pytest.raises(UserError) as caught:
            read_weights(path)
    line = str(caught.value).split("convert it where it is: ")[1]
    subprocess.run([sys.executable, *shlex.split(line)[1:]], check=True)
    found = read_weights(path.with_suffix(".safetensors"))
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("attention", [False, True])
def test_logits_of_resnext50_are_pytorchs(attention, theirs, images, tmp_path):
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    tensors = read_weights(tmp_path / "weights.pth")
    model = resnext(coordinate_attention=attention)
    variables, report = import_resnext(tensors, start(model))
    assert len(report.matched) == 53 * 5
    assert len(report.unused) == 2 + 53  # the classifier, and batch norms' counters
    assert len(report.fresh) == (16 * 10 if attention else 0)
    embedding = jax.jit(lambda v, x: model.apply(v, x, None, False))(variables, images)
    logits = np.asarray(embedding) @ tensors["fc.weight"].T + tensors["fc.bias"]
    with torch.no_grad():
        expected = theirs(torch.tensor(np.asarray(images)).permute(0, 3, 1, 2)).numpy()
    difference = np.abs(logits - expected).max()
    print(f"largest difference of 2 x 1000 logits: {difference:.1e}, largest logit", end=" ")
    print(f"{np.abs(expected).max():.2f}")
    assert difference < 1e-5 * max(1.0, np.abs(expected).max())


def test_gradient_and_statistics_in_training_are_pytorchs(images):
    """Every width of ResNeXt50 once, against PyTorch's autograd in float64."""
    depths = (1, 1, 1, 1)
    torch.manual_seed(1)
    twin = TorchResNeXt(depths)
    model = resnext(depths=depths, coordinate_attention=False)
    tensors = {name: tensor.numpy().copy() for name, tensor in twin.state_dict().items()}
    variables, _ = import_resnext(tensors, start(model))

    @jax.jit
    def ours(params):
        def loss(params):
            embedding, updated = model.apply(
                variables | {"params": params}, images, None, True, mutable=["batch_stats"]
            )
            return (embedding**2).mean(), updated["batch_stats"]

        return jax.grad(loss, has_aux=True)(params)

    gradient, stats = ours(variables["params"])
    twin = twin.double().train()
    seen = []
    twin.fc.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    twin(torch.tensor(np.asarray(images)).double().permute(0, 3, 1, 2))
    (seen[0] ** 2).mean().backward()
    named = {name: p.grad.numpy() for name, p in twin.named_parameters() if p.grad is not None}
    named |= {name: b.numpy() for name, b in twin.named_buffers() if "running" in name}
    expected, _ = import_resnext(named, variables)
    for path, leaf in jax.tree_util.tree_leaves_with_path(expected["params"]):
        found = gradient
        for key in path:
            found = found[key.key]
        error = np.linalg.norm(found - leaf) / np.linalg.norm(leaf)
        assert error < 2e-3, (path, error)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        stats,
        expected["batch_stats"],
    )
