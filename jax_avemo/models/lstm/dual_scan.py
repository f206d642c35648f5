"""How the dual-sequence LSTM's steps are run and differentiated fast: its gradient by hand.

Differentiating the scan adds the recurrent kernel's gradient [H, 6H] up step by step. Here the
backward scan leaves the slopes of all pre-activations, and one matrix product over all steps
makes the kernel's gradient of them. Both directions share a loop: a fifth less time than two, on
2 cores (docs/notes/performance.md).
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax.linen import sigmoid
from jax import lax
from jaxtyping import Array, Bool, Float

State = tuple[Array, Array]
"""Of one direction in one step: h and c, or their slopes; [B, H]."""


@jax.custom_vjp
def scan_steps(
    kernels: tuple[Float[Array, "H N"], ...],
    pre_activations: tuple[Float[Array, "S B N"], ...],
    video_real: tuple[Bool[Array, "S B"], ...],
    audio_real: tuple[Bool[Array, "S B"], ...],
) -> tuple[Float[Array, "S B H"], ...]:
    """h of every step of `dual_lstm.dual_lstm_cell` without layer norm, from zeros; N = 6H.

    Every argument has an element for each direction, whose steps come in its own order.

    Args:
      kernels: the cells' `kernel_hidden`.
      pre_activations: all of them but the hidden state's share.
      video_real, audio_real: which modality is real.
    """
    return _forward(kernels, pre_activations, video_real, audio_real)[0]


def _forward(
    kernels: tuple[Array, ...],
    pre_activations: tuple[Array, ...],
    video_real: tuple[Array, ...],
    audio_real: tuple[Array, ...],
) -> tuple[tuple[Array, ...], Any]:
    def step(states: list[State], given: Any) -> tuple[list[State], Any]:
        kept = [_step(*of) for of in zip(kernels, states, *given, strict=True)]
        return [state for state, _ in kept], kept

    states = [
        (jnp.zeros((pre.shape[1], kernel.shape[0]), pre.dtype),) * 2
        for kernel, pre in zip(kernels, pre_activations, strict=True)
    ]
    kept: Any
    _, kept = lax.scan(step, states, (pre_activations, video_real, audio_real))
    outputs = tuple(hidden for (hidden, _), _ in kept)
    return outputs, (kernels, video_real, audio_real, kept)


def _step(
    kernel: Array, state: State, pre: Array, video: Array, audio: Array
) -> tuple[State, tuple[Array, Array]]:
    """The next state; gates and candidates."""
    hidden, cell = state
    width = kernel.shape[0]
    pre = pre + hidden @ kernel
    gates = sigmoid(pre[:, : 4 * width])
    candidates = jnp.tanh(pre[:, 4 * width :])
    f, i_v, i_a, o = jnp.split(gates, 4, axis=-1)
    g_v, g_a = jnp.split(candidates, 2, axis=-1)
    m_v, m_a = video[:, None], audio[:, None]
    new = f * cell + jnp.where(m_v, i_v * g_v, 0.0) + jnp.where(m_a, i_a * g_a, 0.0)
    real = m_v | m_a
    state = jnp.where(real, o * jnp.tanh(new), hidden), jnp.where(real, new, cell)
    return state, (gates, candidates)


def _backward(residuals: Any, slopes: tuple[Array, ...]) -> tuple:
    kernels, video_real, audio_real, kept = residuals

    def step(states: list[State], given: Any) -> tuple[list[State], Any]:
        found = [_step_back(*of) for of in zip(kernels, states, *given, strict=True)]
        return [state for state, _ in found], tuple(d_pre for _, d_pre in found)

    before = [(_shift(hidden), _shift(cell)) for (hidden, cell), _ in kept]
    given = (
        slopes,
        video_real,
        audio_real,
        [cell for _, cell in before],
        [jnp.tanh(cell) for (_, cell), _ in kept],
        [activations for _, activations in kept],
    )
    states = [(jnp.zeros_like(slope[0]),) * 2 for slope in slopes]
    d_pre: Any
    _, d_pre = lax.scan(step, states, given, reverse=True)
    d_kernels = tuple(
        jnp.einsum("sbh,sbn->hn", hidden, slope)
        for (hidden, _), slope in zip(before, d_pre, strict=True)
    )
    return d_kernels, d_pre, None, None


def _step_back(
    kernel: Array,
    state: State,
    slope: Array,
    video: Array,
    audio: Array,
    cell: Array,
    read: Array,
    activations: tuple[Array, Array],
) -> tuple[State, Array]:
    """The slopes of the state before, and of the pre-activations; `read` is tanh of the new cell.

    Of a step in which nothing is real `read` is another's, and reaches nothing.
    """
    d_hidden, d_cell = state
    gates, candidates = activations
    m_v, m_a = video[:, None], audio[:, None]
    real = m_v | m_a
    f, i_v, i_a, o = jnp.split(gates, 4, axis=-1)
    g_v, g_a = jnp.split(candidates, 2, axis=-1)
    d_hidden = d_hidden + slope
    d_out = jnp.where(real, d_hidden, 0.0)
    d_new = jnp.where(real, d_cell + d_out * o * (1.0 - read * read), 0.0)
    d_v, d_a = jnp.where(m_v, d_new, 0.0), jnp.where(m_a, d_new, 0.0)
    d_gates = jnp.concatenate([d_new * cell, d_v * g_v, d_a * g_a, d_out * read], axis=-1)
    d_candidates = jnp.concatenate([d_v * i_v, d_a * i_a], axis=-1)
    d_pre = jnp.concatenate(
        [d_gates * gates * (1.0 - gates), d_candidates * (1.0 - candidates * candidates)],
        axis=-1,
    )
    d_hidden = jnp.where(real, 0.0, d_hidden) + d_pre @ kernel.T
    return (d_hidden, jnp.where(real, d_new * f, d_cell)), d_pre


def _shift(of_steps: Array) -> Array:
    """What was there before each step: zeros before the first."""
    return jnp.concatenate([jnp.zeros_like(of_steps[:1]), of_steps[:-1]])


scan_steps.defvjp(_forward, _backward)
