"""What one recurrent cell remembers of two aligned sequences: the dual-sequence LSTM."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jax_avemo.models.lstm.dual_scan import scan_steps

BLOCKS = 6
"""Pre-activations of a step, in this order: f, i_v, i_a, o, g_v, g_a."""

Carry = tuple[Float[Array, "B H"], Float[Array, "B H"]]
"""Hidden state h and cell state c."""


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


def normalise_blocks(x: Float[Array, "B N"], blocks: int) -> Float[Array, "B N"]:
    """Each of `blocks` equal parts of the last axis to zero mean and unit variance."""
    parts = x.reshape(x.shape[0], blocks, -1)
    parts = parts - parts.mean(axis=-1, keepdims=True)
    scale = lax.rsqrt(jnp.mean(parts**2, axis=-1, keepdims=True) + 1e-6)
    return (parts * scale).reshape(x.shape)


def project(
    params: Mapping[str, Any],
    video: Float[Array, "B S Dv"],
    audio: Float[Array, "B S Da"],
    video_mask: Bool[Array, "B S"],
    audio_mask: Bool[Array, "B S"],
) -> Float[Array, "B S N"]:
    """The inputs' share of every step's pre-activations, N = 6H: two products for all steps.

    The first two axes may be in either order.

    A learned vector stands for a missing modality. g_v does not see the sound, nor g_a the picture.
    """
    video = jnp.where(video_mask[..., None], video, params["missing_video"][None, None])
    audio = jnp.where(audio_mask[..., None], audio, params["missing_audio"][None, None])
    from_video = video @ params["kernel_video"]  # f, i_v, i_a, o, g_v
    from_audio = audio @ params["kernel_audio"]  # f, i_v, i_a, o, g_a
    gates = from_video.shape[-1] // 5 * 4
    return jnp.concatenate(
        [
            from_video[..., :gates] + from_audio[..., :gates],
            from_video[..., gates:],
            from_audio[..., gates:],
        ],
        axis=-1,
    )


def dual_lstm_cell(
    params: Mapping[str, Any],
    carry: Carry,
    projected: Float[Array, "B 6*H"],
    video_real: Bool[Array, " B"],
    audio_real: Bool[Array, " B"],
) -> Carry:
    """One step of the dual-sequence LSTM (Wang et al., ICASSP 2020, arXiv 1910.08874), masked.

        f, i_v, i_a, o = sigmoid(W [v_t; a_t; h] + b)
        g_v = tanh(W_v [v_t; h] + b_v)
        g_a = tanh(W_a [a_t; h] + b_a)
        c' = f * c + m_v * i_v * g_v + m_a * i_a * g_a
        h' = o * tanh(c')

    m_v and m_a say which modality is real in this step. Where neither is, h' = h and c' = c. With
    `layer_norm` parameters each of the six pre-activations is normalised before gain and bias are
    applied, and c' before its tanh (Ba et al. 2016); the paper's authors batch-normalise there.

    Args:
      params: `kernel_hidden` [H, 6H], `bias` [6H], and for layer norm `gain` [6H], `cell_gain` [H],
        `cell_bias` [H].
      carry: h, c.
      projected: the inputs' share of the pre-activations, from `project`.
      video_real: m_v.
      audio_real: m_a.
    """
    hidden, cell = carry
    pre = projected + hidden @ params["kernel_hidden"]
    if "gain" in params:
        pre = normalise_blocks(pre, BLOCKS) * params["gain"][None]
    pre = pre + params["bias"][None]
    width = hidden.shape[-1]
    f, i_v, i_a, o = jnp.split(nn.sigmoid(pre[:, : 4 * width]), 4, axis=-1)
    g_v, g_a = jnp.split(jnp.tanh(pre[:, 4 * width :]), 2, axis=-1)
    m_v, m_a = video_real[:, None], audio_real[:, None]
    new_cell = f * cell + jnp.where(m_v, i_v * g_v, 0.0) + jnp.where(m_a, i_a * g_a, 0.0)
    read = new_cell
    if "cell_gain" in params:
        read = normalise_blocks(read, 1) * params["cell_gain"][None] + params["cell_bias"][None]
    new_hidden = o * jnp.tanh(read)
    real = m_v | m_a
    return jnp.where(real, new_hidden, hidden), jnp.where(real, new_cell, cell)


def run_steps(
    cell: Callable[[Any, int], tuple[Any, Float[Array, "B H"]]],
    carry: Any,
    steps: int,
    backward: bool,
) -> Float[Array, "B S H"]:
    """`cell(carry, step)` for every step in its order, written out; outputs by step."""
    outputs: list[Any] = [None] * steps
    for step in reversed(range(steps)) if backward else range(steps):
        carry, outputs[step] = cell(carry, step)
    return jnp.stack(outputs, axis=1)


class DualLSTMCell(nn.Module):
    """Owns what `dual_lstm_cell` needs in every step."""

    width: int
    layer_norm: bool = False

    def setup(self) -> None:
        H, N = self.width, BLOCKS * self.width
        self.kernel_hidden = self.param("kernel_hidden", orthogonal_blocks, (H, N))
        self.bias = self.param("bias", forget_bias(H), (N,))
        if self.layer_norm:
            ones, zeros = nn.initializers.ones, nn.initializers.zeros
            self.gain = self.param("gain", ones, (N,))
            self.cell_gain = self.param("cell_gain", ones, (H,))
            self.cell_bias = self.param("cell_bias", zeros, (H,))

    def __call__(
        self,
        carry: Carry,
        projected: Float[Array, "B 6*H"],
        video_real: Bool[Array, " B"],
        audio_real: Bool[Array, " B"],
    ) -> tuple[Carry, Float[Array, "B H"]]:
        """The new carry, and its h."""
        params = {"kernel_hidden": self.kernel_hidden, "bias": self.bias}
        if self.layer_norm:
            params |= {"gain": self.gain, "cell_gain": self.cell_gain, "cell_bias": self.cell_bias}
        carry = dual_lstm_cell(params, carry, projected, video_real, audio_real)
        return carry, carry[0]


class DualLSTMDirection(nn.Module):
    """One pass over the steps, from the first to the last or back."""

    width: int
    video_width: int
    audio_width: int
    backward: bool = False
    layer_norm: bool = False
    unroll: int = 1

    def setup(self) -> None:
        kernel, zeros = nn.initializers.lecun_normal(), nn.initializers.zeros
        columns = (BLOCKS - 1) * self.width
        self.kernel_video = self.param("kernel_video", kernel, (self.video_width, columns))
        self.kernel_audio = self.param("kernel_audio", kernel, (self.audio_width, columns))
        self.missing_video = self.param("missing_video", zeros, (self.video_width,))
        self.missing_audio = self.param("missing_audio", zeros, (self.audio_width,))
        self.cell = DualLSTMCell(self.width, self.layer_norm)

    def input_parameters(self) -> dict[str, Array]:
        """What `project` takes of this direction."""
        return {
            "kernel_video": self.kernel_video,
            "kernel_audio": self.kernel_audio,
            "missing_video": self.missing_video,
            "missing_audio": self.missing_audio,
        }

    def __call__(
        self,
        video: Float[Array, "B S Dv"],
        audio: Float[Array, "B S Da"],
        video_mask: Bool[Array, "B S"],
        audio_mask: Bool[Array, "B S"],
    ) -> Float[Array, "B S H"]:
        """h of every step, one step after the other."""
        projected = project(self.input_parameters(), video, audio, video_mask, audio_mask)
        zeros = jnp.zeros((video.shape[0], self.width), projected.dtype)
        steps = video.shape[1]
        if self.unroll >= steps > 1:

            def written_out(carry: Carry, s: int) -> tuple[Carry, Array]:
                return self.cell(carry, projected[:, s], video_mask[:, s], audio_mask[:, s])

            return run_steps(written_out, (zeros, zeros), steps, self.backward)
        scan = nn.scan(
            lambda cell, carry, *given: cell(carry, *given),
            variable_broadcast="params",
            split_rngs={"params": False},
            in_axes=1,
            out_axes=1,
            reverse=self.backward,
            unroll=self.unroll,
        )
        return scan(self.cell, (zeros, zeros), projected, video_mask, audio_mask)[1]


class DualLSTM(nn.Module):
    """The dual-sequence LSTM over aligned steps, one way or both; the cell is `dual_lstm_cell`.

    A step is real when either modality is; other steps leave the state as it is and repeat the
    last output. The forget gate's bias starts at 1, recurrent blocks start orthogonal.
    """

    width: int
    """H, of one direction."""
    bidirectional: bool = True
    """Two cells with parameters of their own; outputs side by side, forward first."""
    layer_norm: bool = False
    unroll: int = 1
    """1 = `scan_steps`, which trains fastest and has no layer norm; else steps an iteration of
    `nn.scan`'s loop. With all steps or more there is no loop in the program, which exporters need
    and which predicts faster than that loop; parameters are the same."""
    reference: bool = False
    """Through `nn.scan` and differentiated by JAX: what `scan_steps` is tested against."""

    @nn.compact
    def __call__(
        self,
        video: Float[Array, "B S Dv"],
        audio: Float[Array, "B S Da"],
        video_mask: Bool[Array, "B S"],
        audio_mask: Bool[Array, "B S"],
    ) -> Float[Array, "B S width"]:
        """h of every step: [B, S, width], or twice that when bidirectional."""
        widths = video.shape[-1], audio.shape[-1]
        directions = [
            DualLSTMDirection(
                self.width, *widths, backward, self.layer_norm, self.unroll, name=direction
            )
            for direction, backward in (("forward", False), ("backward", True))
            if self.bidirectional or not backward
        ]
        given = (video, audio, video_mask, audio_mask)
        if self.unroll > 1 or self.layer_norm or self.reference:
            return jnp.concatenate([direction(*given) for direction in directions], axis=-1)
        return _scan_together(directions, *given)


def _scan_together(
    directions: Sequence[DualLSTMDirection],
    video: Array,
    audio: Array,
    video_mask: Array,
    audio_mask: Array,
) -> Array:
    """What the directions give, by `scan_steps`: fast, without layer norm."""
    in_time = [jnp.swapaxes(x, 0, 1) for x in (video, audio, video_mask, audio_mask)]
    given = [[x[::-1] for x in in_time] if d.backward else in_time for d in directions]
    outputs = scan_steps(
        tuple(d.cell.kernel_hidden for d in directions),
        tuple(
            project(d.input_parameters(), *of) + d.cell.bias[None, None]
            for d, of in zip(directions, given, strict=True)
        ),
        tuple(of[2] for of in given),
        tuple(of[3] for of in given),
    )
    ordered = [h[::-1] if d.backward else h for d, h in zip(directions, outputs, strict=True)]
    return jnp.swapaxes(jnp.concatenate(ordered, axis=-1), 0, 1)
