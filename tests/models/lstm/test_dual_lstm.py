"""The dual-sequence LSTM against a literal transcription of its equations, and its scans."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from support.numpy_reference import assert_gradients

from jax_avemo.models.lstm.dual_lstm import BLOCKS, DualLSTM, dual_lstm_cell, project

B, S, DV, DA, H = 3, 5, 4, 3, 6
# Every case: both, picture only, sound only, neither; in the middle and at the end.
VIDEO_MASK = np.array([[1, 1, 0, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 1, 0]], bool)
AUDIO_MASK = np.array([[1, 0, 1, 0, 1], [0, 0, 0, 0, 0], [1, 1, 0, 1, 0]], bool)
# Compiling, not running, is what these tests cost.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@pytest.fixture(scope="module")
def sequences():
    rng = np.random.default_rng(0)
    video = jnp.asarray(rng.normal(size=(B, S, DV)), jnp.float32)
    audio = jnp.asarray(rng.normal(size=(B, S, DA)), jnp.float32)
    return video, audio, jnp.asarray(VIDEO_MASK), jnp.asarray(AUDIO_MASK)


def random_parameters(module):
    """Every parameter random, so that none hides behind its initial zeros or ones."""
    shapes = jax.eval_shape(
        module.init,
        jax.random.key(0),
        jnp.zeros((B, S, DV)),
        jnp.zeros((B, S, DA)),
        jnp.asarray(VIDEO_MASK),
        jnp.asarray(AUDIO_MASK),
    )
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32) / 2, shapes)


@pytest.fixture(scope="module")
def plain():
    module = DualLSTM(H)
    return random_parameters(module), jax.jit(module.apply)


@pytest.fixture(scope="module")
def normalised():
    module = DualLSTM(H, layer_norm=True)
    return random_parameters(module), jax.jit(module.apply)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def normalise(x):
    return (x - x.mean()) / np.sqrt(x.var() + 1e-6)


def direction_reference(p, video, audio, video_mask, audio_mask, order):
    """The equations of `dual_lstm_cell`, one clip and step at a time, in float64."""
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), p)
    cell = p["cell"]
    W_h, b = np.split(cell["kernel_hidden"], 6, axis=1), np.split(cell["bias"], 6)
    W_v, W_a = np.split(p["kernel_video"], 5, axis=1), np.split(p["kernel_audio"], 5, axis=1)
    video, audio = np.asarray(video, np.float64), np.asarray(audio, np.float64)
    video_mask, audio_mask = np.asarray(video_mask), np.asarray(audio_mask)
    out = np.zeros((*video_mask.shape, H))
    for n in range(len(video)):
        h, c = np.zeros(H), np.zeros(H)
        for t in order:
            m_v, m_a = video_mask[n, t], audio_mask[n, t]
            v_t = video[n, t] if m_v else p["missing_video"]
            a_t = audio[n, t] if m_a else p["missing_audio"]
            pre = [v_t @ W_v[k] + a_t @ W_a[k] + h @ W_h[k] for k in range(4)]
            pre += [v_t @ W_v[4] + h @ W_h[4], a_t @ W_a[4] + h @ W_h[5]]
            if "gain" in cell:
                gains = np.split(cell["gain"], 6)
                pre = [normalise(x) * gain for x, gain in zip(pre, gains, strict=True)]
            pre = [x + bias for x, bias in zip(pre, b, strict=True)]
            f, i_v, i_a, o = map(sigmoid, pre[:4])
            g_v, g_a = np.tanh(pre[4]), np.tanh(pre[5])
            if m_v or m_a:
                c = f * c + m_v * i_v * g_v + m_a * i_a * g_a
                read = c
                if "gain" in cell:
                    read = normalise(c) * cell["cell_gain"] + cell["cell_bias"]
                h = o * np.tanh(read)
            out[n, t] = h
    return out


@pytest.mark.parametrize("kind", ["plain", "normalised"])
def test_outputs_are_the_equations_in_both_directions(kind, sequences, request):
    variables, apply = request.getfixturevalue(kind)
    params = variables["params"]
    forward = direction_reference(params["forward"], *sequences, range(S))
    backward = direction_reference(params["backward"], *sequences, range(S - 1, -1, -1))
    expected = np.concatenate([forward, backward], -1)
    np.testing.assert_allclose(apply(variables, *sequences), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["plain", "normalised"])
def test_the_scans_gradient_is_the_equations_finite_difference(kind, sequences, request):
    """Both directions, every kind of mask, through all steps."""
    variables, _ = request.getfixturevalue(kind)
    video, audio, *masks = sequences
    weights = np.random.default_rng(4).normal(size=(B, S, 2 * H))

    def loss(params, video, audio):
        forward = direction_reference(params["forward"], video, audio, *masks, range(S))
        backward = direction_reference(
            params["backward"], video, audio, *masks, range(S - 1, -1, -1)
        )
        return (weights * np.concatenate([forward, backward], -1)).sum()

    def ours(params, video, audio):
        module = DualLSTM(H, layer_norm=kind == "normalised")
        out = module.apply({"params": params}, video, audio, *masks)
        return (jnp.asarray(weights, jnp.float32) * out).sum()

    point = (variables["params"], video, audio)
    assert_gradients(loss, quick_jit(jax.grad(ours, argnums=(0, 1, 2)))(*point), *point)


def scan_dual_lstm(params, video, audio, video_mask, audio_mask, unroll=1):
    """The same cell over the same parameters through `lax.scan`."""
    outputs = []
    for direction in ("forward", "backward"):
        p = params[direction]
        projected = project(p, video, audio, video_mask, audio_mask)
        zeros = jnp.zeros((video.shape[0], projected.shape[-1] // BLOCKS), projected.dtype)

        def step(carry, inputs, cell=p["cell"]):
            carry = dual_lstm_cell(cell, carry, *inputs)
            return carry, carry[0]

        inputs = (jnp.swapaxes(projected, 0, 1), video_mask.T, audio_mask.T)
        _, hidden = jax.lax.scan(
            step, (zeros, zeros), inputs, reverse=direction == "backward", unroll=unroll
        )
        outputs.append(jnp.swapaxes(hidden, 0, 1))
    return jnp.concatenate(outputs, axis=-1)


@pytest.mark.parametrize("kind", ["plain", "normalised"])
def test_nn_scan_lax_scan_and_a_python_loop_agree(kind, sequences, request):
    variables, apply = request.getfixturevalue(kind)
    params = variables["params"]
    trained = apply(variables, *sequences)
    exported = jax.jit(scan_dual_lstm)(params, *sequences)
    module = DualLSTM(H, layer_norm=kind == "normalised", reference=True)
    np.testing.assert_array_equal(exported, jax.jit(module.apply)(variables, *sequences))
    np.testing.assert_allclose(exported, trained, atol=1e-6)
    looped = []
    for direction, order in (("forward", range(S)), ("backward", range(S - 1, -1, -1))):
        projected = project(params[direction], *sequences)
        cell = jax.jit(dual_lstm_cell)
        carry, steps = (jnp.zeros((B, H)), jnp.zeros((B, H))), [None] * S
        for t in order:
            step = (projected[:, t], VIDEO_MASK[:, t], AUDIO_MASK[:, t])
            carry = cell(params[direction]["cell"], carry, *step)
            steps[t] = carry[0]
        looped.append(jnp.stack(steps, 1))
    np.testing.assert_allclose(jnp.concatenate(looped, -1), trained, atol=1e-6)


@pytest.mark.parametrize("kind", ["plain", "normalised"])
def test_written_out_without_a_loop_it_is_the_same(kind, sequences, request):
    variables, apply = request.getfixturevalue(kind)
    module = DualLSTM(H, layer_norm=kind == "normalised", unroll=S)
    written = jax.jit(module.apply)
    np.testing.assert_allclose(
        written(variables, *sequences), apply(variables, *sequences), atol=1e-6
    )
    assert "while" not in str(written.lower(variables, *sequences).as_text())
    shapes = jax.eval_shape(module.init, jax.random.key(0), *sequences)
    assert jax.tree.structure(shapes) == jax.tree.structure(variables)


def test_all_scans_have_the_same_gradients_and_unrolling_changes_nothing(plain, sequences):
    variables, _ = plain
    video, audio, *masks = sequences

    def gradient(f):
        return quick_jit(jax.grad(lambda p, v, a: (f(p, v, a) ** 2).sum(), argnums=(0, 1, 2)))(
            variables["params"], video, audio
        )

    module = DualLSTM(H, reference=True)
    by_nn = gradient(lambda p, v, a: module.apply({"params": p}, v, a, *masks))
    by_hand = gradient(lambda p, v, a: DualLSTM(H).apply({"params": p}, v, a, *masks))
    by_lax = gradient(lambda p, v, a: scan_dual_lstm(p, v, a, *masks, unroll=2))
    for other in (by_lax, by_hand):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=2e-5), by_nn, other)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(by_nn))
    _, of_video, of_audio = by_nn
    assert not np.any(np.asarray(of_video)[~VIDEO_MASK])
    assert not np.any(np.asarray(of_audio)[~AUDIO_MASK])


def test_the_cell_has_the_gradient_of_its_finite_differences():
    rng = np.random.default_rng(2)
    with jax.enable_x64(True):
        params = {
            "kernel_hidden": rng.normal(size=(H, 6 * H)) / 2,
            "bias": rng.normal(size=6 * H),
            "gain": rng.normal(size=6 * H),
            "cell_gain": rng.normal(size=H),
            "cell_bias": rng.normal(size=H),
        }
        carry = rng.normal(size=(4, H)), rng.normal(size=(4, H))
        projected = rng.normal(size=(4, 6 * H))
        m_v, m_a = np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 0], bool)

        @jax.jit
        def cell(params, carry, projected):
            return dual_lstm_cell(params, carry, projected, jnp.asarray(m_v), jnp.asarray(m_a))

        check_grads(cell, (params, carry, projected), order=1, modes=["rev"])
        without = {k: params[k] for k in ("kernel_hidden", "bias")}
        check_grads(cell, (without, carry, projected), order=1, modes=["rev"])


@pytest.mark.parametrize("kind", ["plain", "normalised"])
def test_padding_steps_and_missing_modalities_change_nothing(kind, sequences, request):
    variables, apply = request.getfixturevalue(kind)
    video, audio, video_mask, audio_mask = map(np.asarray, sequences)
    spoilt = (
        np.where(video_mask[..., None], video, np.nan),
        np.where(audio_mask[..., None], audio, np.nan),
        video_mask,
        audio_mask,
    )
    out = np.asarray(apply(variables, *sequences))
    np.testing.assert_array_equal(apply(variables, *spoilt), out)
    padded = [
        np.concatenate([x, np.full((B, 2, *x.shape[2:]), fill, x.dtype)], 1)
        for x, fill in zip(sequences, (np.nan, np.inf, False, False), strict=True)
    ]
    longer = np.asarray(apply(variables, *padded))
    real = video_mask | audio_mask
    np.testing.assert_allclose(longer[:, :S][real], out[real], atol=1e-6)


def test_a_padding_step_repeats_the_state(plain, sequences):
    variables, apply = plain
    forward = np.asarray(apply(variables, *sequences))[:, :, :H]
    # Row 1 ends after step 1; row 2 has nothing in steps 2 and 4.
    np.testing.assert_array_equal(forward[1, 2:], np.broadcast_to(forward[1, 1], (3, H)))
    np.testing.assert_array_equal(forward[2, 2], forward[2, 1])
    assert np.abs(forward[2, 3] - forward[2, 2]).max() > 1e-3


def test_a_learned_vector_stands_for_what_is_missing(plain, sequences):
    variables, apply = plain
    params = variables["params"]
    moved = jax.tree_util.tree_map_with_path(
        lambda path, x: x + 1 if "missing_audio" in str(path) else x, params
    )
    difference = np.abs(
        np.asarray(apply({"params": moved}, *sequences) - apply(variables, *sequences))
    )
    assert difference[1, 0].max() > 1e-3  # sound missing
    together = [np.ones((B, S), bool)] * 2
    np.testing.assert_array_equal(
        apply({"params": moved}, *sequences[:2], *together),
        apply(variables, *sequences[:2], *together),
    )


def test_forget_gates_start_open_and_recurrent_blocks_orthogonal(sequences):
    module = DualLSTM(H, bidirectional=False)
    params = jax.jit(module.init)(jax.random.key(0), *sequences)["params"]
    assert set(params) == {"forward"}
    cell = params["forward"]["cell"]
    np.testing.assert_array_equal(cell["bias"], np.r_[np.ones(H), np.zeros(5 * H)])
    blocks = np.split(np.asarray(cell["kernel_hidden"]), 6, axis=1)
    for block in blocks:
        np.testing.assert_allclose(block.T @ block, np.eye(H), atol=1e-5)
    assert np.abs(blocks[0] - blocks[1]).max() > 0.1
