"""The ordinary LSTM over one masked sequence: for one modality, or as the dual cell's rival."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jax_avemo.models.lstm.dual_lstm import (
    Carry,
    forget_bias,
    normalise_blocks,
    orthogonal_blocks,
    run_steps,
)


def lstm_cell(
    params: Mapping[str, Any],
    carry: Carry,
    projected: Float[Array, "B 4*H"],
    real: Bool[Array, " B"],
) -> Carry:
    """One step of an LSTM (Hochreiter & Schmidhuber 1997; Gers et al. 2000), masked.

        f, i, o = sigmoid(W [x_t; h] + b),   g = tanh(W_g [x_t; h] + b_g)
        c' = f * c + i * g,   h' = o * tanh(c')

    What the dual cell becomes when one modality is never there. Steps that are not real leave the
    state as it is. Layer norm as in `dual_lstm_cell`.

    Args:
      params: `kernel_hidden` [H, 4H], `bias` [4H], and for layer norm `gain` [4H], `cell_gain` [H],
        `cell_bias` [H].
      carry: h, c.
      projected: the input's share of the pre-activations.
      real: False = padding step.
    """
    hidden, cell = carry
    pre = projected + hidden @ params["kernel_hidden"]
    if "gain" in params:
        pre = normalise_blocks(pre, 4) * params["gain"][None]
    pre = pre + params["bias"][None]
    width = hidden.shape[-1]
    f, i, o = jnp.split(nn.sigmoid(pre[:, : 3 * width]), 3, axis=-1)
    new_cell = f * cell + i * jnp.tanh(pre[:, 3 * width :])
    read = new_cell
    if "cell_gain" in params:
        read = normalise_blocks(read, 1) * params["cell_gain"][None] + params["cell_bias"][None]
    new_hidden = o * jnp.tanh(read)
    return jnp.where(real[:, None], new_hidden, hidden), jnp.where(real[:, None], new_cell, cell)


class LSTMCell(nn.Module):
    """Owns what `lstm_cell` needs in every step."""

    width: int
    layer_norm: bool = False

    @nn.compact
    def __call__(
        self, carry: Carry, projected: Float[Array, "B 4*H"], real: Bool[Array, " B"]
    ) -> tuple[Carry, Float[Array, "B H"]]:
        """The new carry, and its h."""
        H, N = self.width, 4 * self.width
        params = {
            "kernel_hidden": self.param("kernel_hidden", orthogonal_blocks, (H, N)),
            "bias": self.param("bias", forget_bias(H), (N,)),
        }
        if self.layer_norm:
            ones, zeros = nn.initializers.ones, nn.initializers.zeros
            params["gain"] = self.param("gain", ones, (N,))
            params["cell_gain"] = self.param("cell_gain", ones, (H,))
            params["cell_bias"] = self.param("cell_bias", zeros, (H,))
        carry = lstm_cell(params, carry, projected, real)
        return carry, carry[0]


class SequenceLSTM(nn.Module):
    """An LSTM over one sequence, one way or both; the cell is `lstm_cell`."""

    width: int
    """H, of one direction."""
    bidirectional: bool = True
    layer_norm: bool = False
    unroll: int = 1

    @nn.compact
    def __call__(
        self, x: Float[Array, "B S D"], mask: Bool[Array, "B S"]
    ) -> Float[Array, "B S width"]:
        """h of every step: [B, S, width], or twice that when bidirectional."""
        x = jnp.where(mask[..., None], x, 0.0)
        outputs = []
        for direction in ("forward", "backward") if self.bidirectional else ("forward",):
            projected = nn.Dense(4 * self.width, use_bias=False, name=f"{direction}_input")(x)
            zeros = jnp.zeros((x.shape[0], self.width), projected.dtype)
            steps, backward = x.shape[1], direction == "backward"
            if self.unroll >= steps > 1:
                one = LSTMCell(self.width, self.layer_norm, name=f"{direction}_cell")

                def step(
                    carry: Carry, s: int, one: LSTMCell = one, projected: Array = projected
                ) -> tuple[Carry, Array]:
                    return one(carry, projected[:, s], mask[:, s])

                outputs.append(run_steps(step, (zeros, zeros), steps, backward))
                continue
            cell = nn.scan(
                LSTMCell,
                variable_broadcast="params",
                split_rngs={"params": False},
                in_axes=1,
                out_axes=1,
                reverse=backward,
                unroll=self.unroll,
            )(self.width, self.layer_norm, name=f"{direction}_cell")
            outputs.append(cell((zeros, zeros), projected, mask)[1])
        return jnp.concatenate(outputs, axis=-1)


class ConcatenatedLSTM(nn.Module):
    """`DualLSTM` replaced by an ordinary LSTM that reads [video; audio] as one sequence.

    An ablation: one input gate and one candidate for both modalities. A missing one is zeros.
    """

    width: int
    bidirectional: bool = True
    layer_norm: bool = False
    unroll: int = 1

    @nn.compact
    def __call__(
        self,
        video: Float[Array, "B S Dv"],
        audio: Float[Array, "B S Da"],
        video_mask: Bool[Array, "B S"],
        audio_mask: Bool[Array, "B S"],
    ) -> Float[Array, "B S width"]:
        """h of every step: [B, S, width], or twice that when bidirectional."""
        video = jnp.where(video_mask[..., None], video, 0.0)
        audio = jnp.where(audio_mask[..., None], audio, 0.0)
        both = jnp.concatenate([video, audio], axis=-1)
        lstm = SequenceLSTM(
            self.width, self.bidirectional, self.layer_norm, self.unroll, name="lstm"
        )
        return lstm(both, video_mask | audio_mask)
