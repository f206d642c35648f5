"""The audio network: 1-D residual convolutions over time, then self-attention."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, DTypeLike, Float

from jax_avemo.models.layers.attention import SelfAttention, time_encoding
from jax_avemo.models.layers.batch_norm import MaskedBatchNorm
from jax_avemo.models.video.grouped_conv import PointwiseConv

BLOCK_STRIDE = 2


def zero_padding(x: Float[Array, "B T C"], mask: Bool[Array, "B T"]) -> Float[Array, "B T C"]:
    """x with every step that is not real set to 0."""
    return jnp.where(mask[:, :, None], x, 0)


class TemporalBlock(nn.Module):
    """Two convolutions over time, the first with stride 2, and a 1x1 shortcut.

    Step t of the result is centred on step 2 t of the input and is real if that one is.
    """

    features: int
    kernel_size: int
    dropout: float
    batch_norm_momentum: float
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T C"], mask: Bool[Array, "B T"], train: bool
    ) -> tuple[Float[Array, "B T2 C2"], Bool[Array, "B T2"]]:
        # XLA's convolution: shifted matrix products were 0.6 to 1.5 times as fast with gradients
        # and never faster without (four runs on a shared CPU, kernels of 3 and 5, 96 to 128
        # channels).
        def conv(name: str, kernel_size: int, stride: int, x: Array) -> Array:
            return nn.Conv(
                self.features,
                (kernel_size,),
                strides=stride,
                padding=kernel_size // 2,
                use_bias=False,
                dtype=self.dtype,
                kernel_init=nn.initializers.he_normal(),
                name=name,
            )(x)

        def norm(name: str, x: Array) -> Array:
            return MaskedBatchNorm(self.batch_norm_momentum, name=name)(x, strided_mask, train)

        strided_mask = mask[:, ::BLOCK_STRIDE]
        x = zero_padding(x, mask)  # or a padding step would reach real ones through the kernel
        y = nn.relu(norm("bn1", conv("conv1", self.kernel_size, BLOCK_STRIDE, x)))
        y = norm("bn2", conv("conv2", 3, 1, zero_padding(y, strided_mask)))
        shortcut = PointwiseConv(self.features, self.dtype, BLOCK_STRIDE, name="shortcut")(x)
        x = nn.relu(norm("shortcut_bn", shortcut) + y)
        return nn.Dropout(self.dropout, deterministic=not train)(x), strided_mask


class AudioNetwork(nn.Module):
    """1-D residual convolutions over time, then self-attention with positions.

    A block for every entry of `widths` halves the number of steps, so step t' of the result is
    centred on frame t' * stride, stride = 2^len(widths), and is real if that frame is. Positions
    are the sines and cosines of `time_encoding` with a learned gain per channel.
    `self_attention=False` leaves attention and positions out. Padding steps reach nothing, and
    are 0 in the result.
    """

    widths: tuple[int, ...]
    kernel_size: int
    width: int
    heads: int
    dropout: float
    self_attention: bool
    hop_seconds: float
    """Between two frames of the input: positions are times, whatever the frame rate."""
    batch_norm_momentum: float
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, features: Float[Array, "B T C"], mask: Bool[Array, "B T"], train: bool
    ) -> tuple[Float[Array, "B T2 D"], Bool[Array, "B T2"], int]:
        stride = BLOCK_STRIDE ** len(self.widths)
        x = features.astype(self.dtype)
        for index, width in enumerate(self.widths):
            x, mask = TemporalBlock(
                width,
                self.kernel_size,
                self.dropout,
                self.batch_norm_momentum,
                self.dtype,
                name=f"block{index + 1}",
            )(x, mask, train)
        x = PointwiseConv(self.width, use_bias=True, dtype=self.dtype, name="projection")(x)
        if self.self_attention:
            # Small beside the content, as a learned table's usual start (sd 0.02) is.
            gain_init = nn.initializers.constant(0.03)
            gain = self.param("position_gain", gain_init, (self.width,), jnp.float32)
            step_times = jnp.arange(x.shape[1], dtype=jnp.float32) * stride * self.hop_seconds
            positions = time_encoding(step_times, self.width) * gain[None]
            x = x + positions.astype(self.dtype)[None]
            x = SelfAttention(self.heads, dropout=0.0, name="attention")(x, mask, train)
        x = nn.LayerNorm(dtype=self.dtype, name="norm")(x)
        return zero_padding(x, mask), mask, stride
