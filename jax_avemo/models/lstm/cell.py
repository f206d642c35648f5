"""The masked LSTM cell of one or two aligned sequences, and its run over the steps."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Carry = tuple[Float[Array, "B H"], Float[Array, "B H"]]
"""Hidden state h and cell state c."""


def lstm_cell(
    params: Mapping[str, Any],
    carry: Carry,
    projected: Float[Array, "B N"],
    real: Bool[Array, "B M"],
) -> Carry:
    """One step of an LSTM that reads M aligned sequences x_k, masked.

        f, i_1, ..., i_M, o = sigmoid(W [x_1; ...; x_M; h] + b)
        g_k = tanh(W_k [x_k; h] + b_k)
        c' = f * c + sum_k m_k * i_k * g_k
        h' = o * tanh(c')

    M = 2 is the dual-sequence LSTM (Wang et al., ICASSP 2020, arXiv 1910.08874), M = 1 the ordinary
    one (Hochreiter & Schmidhuber 1997; Gers et al. 2000). Where no sequence is real, h' = h and
    c' = c.

    Args:
      params: `kernel_hidden` [H, N] and `bias` [N], N = (2 + 2 M) H.
      carry: h, c.
      projected: the inputs' part of the pre-activations, in the order f, i_k, o, g_k.
      real: m_k.
    """
    hidden, cell = carry
    sequences = real.shape[1]
    pre = projected + hidden @ params["kernel_hidden"] + params["bias"][None]
    gates = (2 + sequences) * hidden.shape[1]
    f, *i, o = jnp.split(nn.sigmoid(pre[:, :gates]), 2 + sequences, axis=-1)
    g = jnp.split(jnp.tanh(pre[:, gates:]), sequences, axis=-1)
    m = [real[:, k, None] for k in range(sequences)]
    new_cell = f * cell
    for k in range(sequences):
        new_cell += jnp.where(m[k], i[k] * g[k], 0.0)
    new_hidden = o * jnp.tanh(new_cell)
    any_real = real.any(axis=1, keepdims=True)
    return jnp.where(any_real, new_hidden, hidden), jnp.where(any_real, new_cell, cell)


def orthogonal_blocks(
    key: Array, shape: tuple[int, int], dtype: Any = jnp.float32
) -> Float[Array, "H columns"]:
    """A recurrent kernel of square blocks side by side, each orthogonal by itself."""
    width, columns = shape
    keys = jax.random.split(key, columns // width)
    orthogonal = nn.initializers.orthogonal()
    return jnp.concatenate([orthogonal(k, (width, width), dtype) for k in keys], axis=1)


def forget_bias(width: int) -> nn.initializers.Initializer:
    """Zeros, but one for the forget gate (the first block): Jozefowicz et al. 2015."""

    def initialise(key: Array, shape: tuple[int], dtype: Any = jnp.float32) -> Float[Array, " N"]:
        del key
        return jnp.zeros(shape, dtype).at[:width].set(1)

    return initialise


class LSTMCell(nn.Module):
    """`lstm_cell` with its parameters."""

    width: int
    """H."""
    sequences: int
    """M."""

    @nn.compact
    def __call__(
        self, carry: Carry, projected: Float[Array, "B N"], real: Bool[Array, "B M"]
    ) -> tuple[Carry, Float[Array, "B H"]]:
        """The new carry, and its h."""
        columns = (2 + 2 * self.sequences) * self.width
        params = {
            "kernel_hidden": self.param("kernel_hidden", orthogonal_blocks, (self.width, columns)),
            "bias": self.param("bias", forget_bias(self.width), (columns,)),
        }
        carry = lstm_cell(params, carry, projected, real)
        return carry, carry[0]


def run_cell(
    cell: LSTMCell,
    projected: Float[Array, "B S N"],
    real: Bool[Array, "B S M"],
    *,
    backward: bool,
) -> Float[Array, "B S H"]:
    """h of every step, from the first step to the last or back, from zeros.

    Through `nn.scan`. A gradient by hand, with the recurrent kernel's as one product over all
    steps, trained in 2.2 ms instead of 3.0, of a step of 130 ms.
    """
    scan = nn.scan(
        lambda cell, carry, *given: cell(carry, *given),
        variable_broadcast="params",
        split_rngs={"params": False},
        in_axes=1,
        out_axes=1,
        reverse=backward,
    )
    zeros = jnp.zeros((projected.shape[0], cell.width), projected.dtype)
    return scan(cell, (zeros, zeros), projected, real)[1]
