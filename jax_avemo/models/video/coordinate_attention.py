"""Coordinate attention (Hou, Zhou & Feng, CVPR 2021)."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, DTypeLike, Float

from jax_avemo.models.layers.batch_norm import MaskedBatchNorm
from jax_avemo.models.video.grouped_conv import PointwiseConv

REDUCTION, LEAST_WIDTH = 32, 8
"""As the authors have them."""


def hard_swish(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """x * relu6(x + 3) / 6 (Howard et al., ICCV 2019)."""
    return x * jnp.clip(x + 3.0, 0.0, 6.0) / 6.0


class CoordinateAttention(nn.Module):
    """Coordinate attention (Hou, Zhou & Feng, CVPR 2021, arXiv 2103.02907, equations 4 to 8).

    f = hswish(BN(W_1 [mean over W of x ; mean over H of x])), one vector for every row and one
    for every column, of width max(LEAST_WIDTH, C // REDUCTION); f is split again into f_h and f_w;
    a_h = sigmoid(W_h f_h) [B, H, C], a_w = sigmoid(W_w f_w) [B, W, C];
    y[b, i, j] = x[b, i, j] * a_h[b, i] * a_w[b, j].

    Both maps are sown as `height_attention` and `width_attention` under `intermediates`. Parameter
    names are the authors': conv1, bn1, conv_h, conv_w. `gate_bias_init` is where the biases of
    conv_h and conv_w start: 0 as published (both sigmoids 1/2, so a residual branch starts at a
    quarter of its size), 2 nearly open (0.88).
    """

    gate_bias_init: float
    batch_norm_momentum: float
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], mask: Bool[Array, " B"] | None, train: bool
    ) -> Float[Array, "B H W C"]:
        height, channels = x.shape[1], x.shape[3]
        width = max(LEAST_WIDTH, channels // REDUCTION)
        rows = x.mean(axis=2, dtype=jnp.float32)
        columns = x.mean(axis=1, dtype=jnp.float32)

        f = jnp.concatenate([rows, columns], axis=1).astype(self.dtype)  # B, H + W, C
        f = PointwiseConv(width, use_bias=True, dtype=self.dtype, name="conv1")(f)
        f = MaskedBatchNorm(momentum=self.batch_norm_momentum, name="bn1")(f, mask, train)
        f = hard_swish(f)

        def gate(name: str, f: Array) -> Array:
            bias_init = nn.initializers.constant(self.gate_bias_init)
            conv = PointwiseConv(
                channels, use_bias=True, dtype=self.dtype, bias_init=bias_init, name=name
            )
            return nn.sigmoid(conv(f))

        a_h = gate("conv_h", f[:, :height])
        a_w = gate("conv_w", f[:, height:])
        self.sow("intermediates", "height_attention", a_h)
        self.sow("intermediates", "width_attention", a_w)
        return x * a_w[:, None, :, :] * a_h[:, :, None, :]
