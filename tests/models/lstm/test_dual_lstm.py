"""The dual-sequence LSTM against a literal transcription of its equations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from support.numpy_reference import assert_gradients

from jax_avemo.models.lstm.cell import lstm_cell
from jax_avemo.models.lstm.dual_lstm import DualLSTM, project

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
    module = DualLSTM(H, bidirectional=True)
    return random_parameters(module), jax.jit(module.apply)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def direction_reference(p, video, audio, video_mask, audio_mask, order):
    """The equations of `lstm_cell`, one clip and step at a time, in float64."""
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
            pre = [x + bias for x, bias in zip(pre, b, strict=True)]
            f, i_v, i_a, o = map(sigmoid, pre[:4])
            g_v, g_a = np.tanh(pre[4]), np.tanh(pre[5])
            if m_v or m_a:
                c = f * c + m_v * i_v * g_v + m_a * i_a * g_a
                h = o * np.tanh(c)
            out[n, t] = h
    return out


def test_outputs_are_the_equations_in_both_directions(plain, sequences):
    variables, apply = plain
    params = variables["params"]
    forward = direction_reference(params["forward"], *sequences, range(S))
    backward = direction_reference(params["backward"], *sequences, range(S - 1, -1, -1))
    expected = np.concatenate([forward, backward], -1)
    np.testing.assert_allclose(apply(variables, *sequences), expected, atol=1e-5)


def test_the_scans_gradient_is_the_equations_finite_difference(plain, sequences):
    """Both directions, every kind of mask, through all steps."""
    variables, _ = plain
    video, audio, *masks = sequences
    weights = np.random.default_rng(4).normal(size=(B, S, 2 * H))

    def loss(params, video, audio):
        forward = direction_reference(params["forward"], video, audio, *masks, range(S))
        backward = direction_reference(
            params["backward"], video, audio, *masks, range(S - 1, -1, -1)
        )
        return (weights * np.concatenate([forward, backward], -1)).sum()

    def ours(params, video, audio):
        out = DualLSTM(H, bidirectional=True).apply({"params": params}, video, audio, *masks)
        return (jnp.asarray(weights, jnp.float32) * out).sum()

    point = (variables["params"], video, audio)
    assert_gradients(loss, quick_jit(jax.grad(ours, argnums=(0, 1, 2)))(*point), *point)


def test_nn_scan_is_a_python_loop_over_the_cell(plain, sequences):
    variables, apply = plain
    params = variables["params"]
    cell, real = jax.jit(lstm_cell), np.stack([VIDEO_MASK, AUDIO_MASK], axis=-1)
    looped = []
    for direction, order in (("forward", range(S)), ("backward", range(S - 1, -1, -1))):
        projected = project(params[direction], *sequences)
        carry, steps = (jnp.zeros((B, H)), jnp.zeros((B, H))), [None] * S
        for t in order:
            carry = cell(params[direction]["cell"], carry, projected[:, t], real[:, t])
            steps[t] = carry[0]
        looped.append(jnp.stack(steps, 1))
    np.testing.assert_allclose(jnp.concatenate(looped, -1), apply(variables, *sequences), atol=1e-6)


def test_what_is_missing_gets_no_gradient_and_everything_else_does(plain, sequences):
    variables, apply = plain
    video, audio, *masks = sequences
    gradient = quick_jit(
        jax.grad(lambda p, v, a: (apply(p, v, a, *masks) ** 2).sum(), argnums=(0, 1, 2))
    )
    of_params, of_video, of_audio = gradient(variables, video, audio)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(of_params))
    assert not np.any(np.asarray(of_video)[~VIDEO_MASK])
    assert not np.any(np.asarray(of_audio)[~AUDIO_MASK])


def test_the_cell_has_the_gradient_of_its_finite_differences():
    rng = np.random.default_rng(2)
    with jax.enable_x64(True):
        params = {
            "kernel_hidden": rng.normal(size=(H, 6 * H)) / 2,
            "bias": rng.normal(size=6 * H),
        }
        carry = rng.normal(size=(4, H)), rng.normal(size=(4, H))
        projected = rng.normal(size=(4, 6 * H))
        real = jnp.array([[1, 1], [1, 0], [0, 1], [0, 0]], bool)

        @jax.jit
        def cell(params, carry, projected):
            return lstm_cell(params, carry, projected, real)

        check_grads(cell, (params, carry, projected), order=1, modes=["rev"])


def test_padding_steps_and_missing_modalities_change_nothing(plain, sequences):
    variables, apply = plain
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
