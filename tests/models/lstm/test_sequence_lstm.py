"""The ordinary LSTM against the dual one, of which it is a special case, and its masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_avemo.models.lstm.dual_lstm import DualLSTM
from jax_avemo.models.lstm.sequence_lstm import ConcatenatedLSTM, SequenceLSTM

B, S, D, H = 2, 4, 3, 5
MASK = np.array([[1, 1, 0, 1], [1, 1, 0, 0]], bool)


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(B, S, D)).astype(np.float32)


@pytest.fixture(scope="module")
def lstm():
    module = SequenceLSTM(H, bidirectional=True)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((B, S, D)), jnp.asarray(MASK))
    rng = np.random.default_rng(1)
    variables = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32) / 2, shapes)
    return variables, jax.jit(module.apply)


def test_it_is_the_dual_cell_of_one_modality(lstm, x):
    """Gates f, i, o and g take the places of f, i_v, o and g_v; sound is never there."""
    variables, apply = lstm
    rng = np.random.default_rng(2)

    def spread(x, axis):
        """f, i, o, g -> f, i_v, i_a, o, g_v, g_a, with anything for i_a and g_a."""
        f, i, o, g = np.split(np.asarray(x), 4, axis)
        return np.concatenate(
            [f, i, rng.normal(size=f.shape), o, g, rng.normal(size=f.shape)], axis
        )

    dual = {}
    for direction in ("forward", "backward"):
        cell = variables["params"][f"{direction}_cell"]
        kernel = spread(variables["params"][f"{direction}_input"]["kernel"], 1)
        dual[direction] = {
            "kernel_video": kernel[:, : 5 * H],
            "kernel_audio": rng.normal(size=(2, 5 * H)),
            "missing_video": rng.normal(size=D),
            "missing_audio": np.zeros(2),
            "cell": {k: spread(v, -1) for k, v in cell.items()},
        }
    dual = jax.tree.map(lambda a: np.asarray(a, np.float32), dual)
    nothing = np.zeros((B, S, 2), np.float32), np.zeros((B, S), bool)
    expected = jax.jit(DualLSTM(H, bidirectional=True).apply)(
        {"params": dual}, x, nothing[0], MASK, nothing[1]
    )
    np.testing.assert_allclose(apply(variables, x, MASK), expected, atol=1e-6)


def test_padding_steps_change_nothing(lstm, x):
    variables, apply = lstm
    out = np.asarray(apply(variables, x, MASK))
    np.testing.assert_array_equal(apply(variables, np.where(MASK[..., None], x, np.nan), MASK), out)
    np.testing.assert_array_equal(out[1, 2:, :H], np.broadcast_to(out[1, 1, :H], (2, H)))


def test_the_concatenated_lstm_reads_zeros_for_a_missing_modality(x):
    module = ConcatenatedLSTM(H, bidirectional=False)
    audio, everything = x[:, ::-1], np.ones((B, S), bool)
    variables = jax.jit(module.init)(jax.random.key(0), x, audio, MASK, everything)
    apply = jax.jit(module.apply)
    out = apply(variables, x, audio, MASK, everything)
    assert out.shape == (B, S, H)
    zeroed = np.where(MASK[..., None], x, 0.0)
    np.testing.assert_array_equal(out, apply(variables, zeroed, audio, everything, everything))
    spoilt = np.where(MASK[..., None], x, np.nan)
    np.testing.assert_array_equal(out, apply(variables, spoilt, audio, MASK, everything))
