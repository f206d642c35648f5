"""Layers and losses against PyTorch modules of the same formula: values, and autograd's slopes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.modules import coordinate_attention

from jax_avemo.models.audio.audio_cnn import TemporalBlock
from jax_avemo.models.heads import gradient_reversal
from jax_avemo.models.layers.attention import SelfAttention
from jax_avemo.models.lstm.dual_lstm import DualLSTM
from jax_avemo.models.lstm.sequence_lstm import SequenceLSTM
from jax_avemo.objectives.losses import softmax_cross_entropy

torch = pytest.importorskip("torch")
nn, functional = torch.nn, torch.nn.functional
pytestmark = pytest.mark.slow  # importing PyTorch alone takes seconds
MASK = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]], bool)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def random_variables(init):
    """Random in the shapes of `init()`; statistics above 0."""
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(init)
    filled = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32) / 2, shapes)
    if "batch_stats" in filled:
        filled["batch_stats"] = jax.tree.map(lambda a: np.abs(a) + 0.5, filled["batch_stats"])
    return filled


def tensors(tree):
    """The same tree in PyTorch, float64, with gradients."""
    return jax.tree.map(lambda a: torch.tensor(np.float64(a), requires_grad=True), tree)


def assert_same(ours, theirs, *point, tolerance=2e-4):
    """Values of `ours(*point)` and `theirs(*tensors)`, and slopes of a weighted sum of them."""
    twins = tensors(point)
    expected = theirs(*twins)
    weights = np.random.default_rng(9).normal(size=tuple(expected.shape))
    (torch.tensor(weights) * expected).sum().backward()

    def loss(*point):
        y = ours(*point)
        return (jnp.asarray(weights, jnp.float32) * y).sum(), y

    arguments = tuple(range(len(point)))
    slopes, found = jax.jit(jax.grad(loss, argnums=arguments, has_aux=True))(*point)
    scale = np.abs(expected.detach().numpy()).max()
    np.testing.assert_allclose(found, expected.detach().numpy(), atol=tolerance * scale)
    for slope, twin in zip(jax.tree.leaves(slopes), jax.tree.leaves(twins), strict=True):
        assert twin.grad is not None
        error = np.abs(slope - twin.grad.numpy()).max()
        assert error <= tolerance * max(1.0, np.abs(twin.grad.numpy()).max())


def test_self_attention_is_multihead_attention_with_a_key_padding_mask():
    module, x = SelfAttention(heads=2, dropout=0.0), normal(0, 2, 6, 8)
    init = lambda: module.init(jax.random.key(0), jnp.asarray(x), jnp.asarray(MASK), False)  # noqa: E731
    params = random_variables(init)["params"]

    def theirs(p, x):
        y = functional.layer_norm(x, (8,), p["norm"]["scale"], p["norm"]["bias"], 1e-6)
        qkv, out = p["query_key_value"], p["output"]
        y, _ = functional.multi_head_attention_forward(
            *[y.transpose(0, 1)] * 3, 8, 2, qkv["kernel"].T, qkv["bias"], None, None, False, 0.0,
            out["kernel"].T, out["bias"], key_padding_mask=torch.tensor(~MASK), need_weights=False,
        )  # fmt: skip
        return x + torch.where(torch.tensor(MASK)[..., None], y.transpose(0, 1), 0)

    assert_same(
        lambda p, x: module.apply({"params": p}, x, jnp.asarray(MASK), False), theirs, params, x
    )


def test_coordinate_attention_is_the_authors_module():
    """Hou et al.'s published code, over NCHW; batch norm in training."""
    module, x = coordinate_attention(), normal(2, 3, 5, 4, 16)
    init = lambda: module.init(jax.random.key(0), jnp.asarray(x), None, True)  # noqa: E731
    variables = random_variables(init)

    def theirs(p, x):
        x = x.permute(0, 3, 1, 2)
        h, w = x.shape[2:]
        pooled = torch.cat([x.mean(3, keepdim=True), x.mean(2, keepdim=True).mT], dim=2)

        def conv(name, y):
            return functional.conv2d(y, p[name]["kernel"].T[:, :, None, None], p[name]["bias"])

        y = conv("conv1", pooled)
        y = functional.batch_norm(y, None, None, p["bn1"]["scale"], p["bn1"]["bias"], True)
        y = functional.hardswish(y)
        y_h, y_w = torch.split(y, [h, w], dim=2)
        out = x * torch.sigmoid(conv("conv_w", y_w.mT)) * torch.sigmoid(conv("conv_h", y_h))
        return out.permute(0, 2, 3, 1)

    def ours(p, x):
        y, _ = module.apply(variables | {"params": p}, x, None, True, mutable=["batch_stats"])
        return y

    # A bias before batch norm has no slope: allow float32's rounding of zero.
    assert_same(ours, theirs, variables["params"], x)


def test_the_audio_block_is_conv1d_and_batch_norm():
    block = TemporalBlock(6, 5, dropout=0.0, batch_norm_momentum=0.9, dtype=jnp.float32)
    x, mask = normal(3, 2, 12, 5), jnp.ones((2, 12), bool)
    variables = random_variables(lambda: block.init(jax.random.key(0), jnp.asarray(x), mask, True))

    def theirs(p, x):
        x = x.mT

        def conv(name, y, stride, padding):
            return functional.conv1d(y, p[name]["kernel"].permute(2, 1, 0), None, stride, padding)

        def norm(name, y):
            return functional.batch_norm(y, None, None, p[name]["scale"], p[name]["bias"], True)

        y = torch.relu(norm("bn1", conv("conv1", x, 2, 2)))
        y = norm("bn2", conv("conv2", y, 1, 1))
        kernel = p["shortcut"]["kernel"].T[:, :, None]
        return torch.relu(y + norm("shortcut_bn", functional.conv1d(x, kernel, None, 2))).mT

    def ours(p, x):
        (y, _), _ = block.apply(variables | {"params": p}, x, mask, True, mutable=["batch_stats"])
        return y

    assert_same(ours, theirs, variables["params"], x)


def test_the_sequence_lstm_is_torchs_lstm_over_packed_sequences():
    module, x = SequenceLSTM(5, bidirectional=True), normal(4, 2, 6, 3)
    init = lambda: module.init(jax.random.key(0), jnp.asarray(x), jnp.asarray(MASK))  # noqa: E731
    params = random_variables(init)["params"]

    def theirs(p, x):
        def gates(a):
            """Ours are f, i, o, g; PyTorch's i, f, g, o."""
            f, i, o, g = torch.split(a, 5, dim=-1)
            return torch.cat([i, f, g, o], -1)

        weights = []
        for direction in ("forward", "backward"):
            cell = p[f"{direction}_cell"]
            weights += [gates(p[f"{direction}_input"]["kernel"]).T, gates(cell["kernel_hidden"]).T]
            weights += [gates(cell["bias"]), torch.zeros(20, dtype=torch.float64)]
        packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor(MASK.sum(1)), batch_first=True)
        zeros = torch.zeros(2, 2, 5, dtype=torch.float64)
        data, *_ = torch._VF.lstm(
            packed.data, packed.batch_sizes, (zeros, zeros), weights, True, 1, 0.0, False, True
        )
        out = nn.utils.rnn.PackedSequence(data, packed.batch_sizes)
        return nn.utils.rnn.pad_packed_sequence(out, batch_first=True)[0]

    def ours(p, x):
        y = module.apply({"params": p}, x, jnp.asarray(MASK))
        return jnp.where(MASK[..., None], y, 0)  # ours repeats the state in padding

    assert_same(ours, theirs, params, x)


def test_the_dual_sequence_lstm_is_its_equations_under_autograd():
    module = DualLSTM(4, bidirectional=False)
    video, audio = normal(5, 2, 6, 3), normal(6, 2, 6, 5)
    video_mask = MASK & (np.arange(6) != 1)
    audio_mask = MASK & (np.arange(6) != 2)
    masks = jnp.asarray(video_mask), jnp.asarray(audio_mask)
    init = lambda: module.init(jax.random.key(0), jnp.asarray(video), jnp.asarray(audio), *masks)  # noqa: E731
    params = random_variables(init)["params"]

    def theirs(p, video, audio):
        p = p["forward"]
        cell = p["cell"]
        w_v, w_a = p["kernel_video"].split(4, 1), p["kernel_audio"].split(4, 1)
        w_h, b = cell["kernel_hidden"].split(4, 1), cell["bias"].split(4)
        m_v, m_a = torch.tensor(video_mask)[..., None], torch.tensor(audio_mask)[..., None]
        v = torch.where(m_v, video, p["missing_video"])
        a = torch.where(m_a, audio, p["missing_audio"])
        h = c = torch.zeros(2, 4, dtype=torch.float64)
        steps = []
        for t in range(6):
            shared = [v[:, t] @ w_v[k] + a[:, t] @ w_a[k] + h @ w_h[k] + b[k] for k in range(4)]
            f, i_v, i_a, o = map(torch.sigmoid, shared)
            g_v = torch.tanh(v[:, t] @ w_v[4] + h @ w_h[4] + b[4])
            g_a = torch.tanh(a[:, t] @ w_a[4] + h @ w_h[5] + b[5])
            new = f * c + m_v[:, t] * i_v * g_v + m_a[:, t] * i_a * g_a
            real = m_v[:, t] | m_a[:, t]
            c = torch.where(real, new, c)
            h = torch.where(real, o * torch.tanh(new), h)
            steps.append(h)
        return torch.stack(steps, 1)

    def ours(p, video, audio):
        return module.apply({"params": p}, video, audio, *masks)

    assert_same(ours, theirs, params, video, audio)


def test_the_reversed_gradient_is_that_of_an_autograd_function():
    class Reverse(torch.autograd.Function):
        @staticmethod
        def forward(_, x):
            return x.view_as(x)

        @staticmethod
        def backward(_, gradient):
            return -0.3 * gradient

    x, w = normal(7, 4, 3), normal(8, 3, 2)
    assert_same(
        lambda w, x: jnp.tanh(gradient_reversal(x, 0.3) @ w),
        lambda w, x: torch.tanh(Reverse.apply(x) @ w),
        w,
        x,
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torchs_with_ignored_and_smoothed_labels(smoothing):
    logits, labels = normal(9, 6, 5), np.array([0, 4, -1, 2, 2, 1])
    valid = np.array([1, 1, 1, 1, 1, 0], bool)
    ignored = torch.tensor(np.where(valid, labels, -1))
    assert_same(
        lambda x: softmax_cross_entropy(x, jnp.asarray(labels), jnp.asarray(valid), smoothing),
        lambda x: functional.cross_entropy(x, ignored, ignore_index=-1, label_smoothing=smoothing),
        logits,
    )
