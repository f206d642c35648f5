"""Grouped 3x3 and 1x1 convolutions, computed as is fastest on each platform.

XLA's CPU backend has no good grouped convolution: the kernel's gradient takes 683 to 3183 ms where
the dense one takes 3 to 11, and a 1x1 convolution trains at half the speed of the same matrix
product. A GPU does the grouped one well (docs/notes/performance.md); a TPU was not measured. The
parameters are the same everywhere, in the shapes that PyTorch uses up to a transposition.
"""

import functools
from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.initializers import Initializer
from jax import lax
from jaxtyping import Array, DTypeLike, Float

Formulation = Literal["auto", "merged", "native"]

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def grouped_conv(
    x: Float[Array, "N H W Cin"],
    kernel: Float[Array, "3 3 CinG Cout"],
    groups: int,
    stride: int = 1,
    formulation: Formulation = "auto",
) -> Float[Array, "N H2 W2 Cout"]:
    """3x3 convolution in `groups` independent groups of channels, padding 1 on both sides.

    Output group g (Cout / groups channels) sees input group g (Cin / groups channels) only, as
    in Xie et al., CVPR 2017; H2 = ceil(H / stride). `formulation`: "native" is XLA's grouped
    convolution; "merged" makes dense block-diagonal convolutions of neighbouring groups; "auto"
    takes merged on CPU and native elsewhere, decided when the program is lowered, so one export
    serves all platforms.
    """
    if x.shape[-1] != kernel.shape[2] * groups or kernel.shape[3] % groups:
        raise ValueError(
            f"{groups} groups do not fit channels {x.shape[-1]} and kernel {kernel.shape}"
        )
    return FORMULATIONS[formulation](x, kernel, groups, stride)


def _native(x: Array, kernel: Array, groups: int, stride: int) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((1, 1), (1, 1)),
        dimension_numbers=_DIMENSIONS,
        feature_group_count=groups,
    )


def _merged(x: Array, kernel: Array, groups: int, stride: int) -> Array:
    width_in, width_out = kernel.shape[2], kernel.shape[3] // groups
    merged = merged_groups(groups, width_in)
    blocks = groups // merged
    # [3, 3, block, group in block, in, group in block, out]: zero off the diagonal of groups.
    # Built inside the step, so the parameter keeps its grouped shape and autodiff its gradient.
    dense = jnp.einsum(
        "hwibmo,mn->bhwnimo",
        kernel.reshape(3, 3, width_in, blocks, merged, width_out),
        jnp.eye(merged, dtype=kernel.dtype),
    ).reshape(blocks, 3, 3, merged * width_in, merged * width_out)
    convolve = _by_phases if stride == 2 else functools.partial(_native, groups=1, stride=stride)
    parts = zip(jnp.split(x, blocks, axis=-1), jnp.split(dense, blocks), strict=True)
    # Split, not indexed: the gradient of an index is a sum of one whole padded array a block.
    return jnp.concatenate([convolve(part, kernels.squeeze(0)) for part, kernels in parts], axis=-1)


def _by_phases(x: Array, kernel: Array) -> Array:
    """3x3 convolution with stride 2 and padding 1 as a 2x2 one of stride 1 over cells of 2x2 px.

    A cell is its four pixels' channels side by side (space to depth); the kernel is a 4x4 one,
    the first row and column of which are zero. 16/9 of the multiplications, but XLA's CPU
    backend takes long over the input's gradient of a strided convolution.
    """
    rows, height, width, channels = x.shape
    x = jnp.pad(x, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
    cells = x.reshape(rows, -(-height // 2), 2, -(-width // 2), 2, channels)
    cells = cells.transpose(0, 1, 3, 2, 4, 5).reshape(*cells.shape[:2], cells.shape[3], -1)
    kernel = jnp.pad(kernel, ((1, 0), (1, 0), (0, 0), (0, 0)))
    kernel = kernel.reshape(2, 2, 2, 2, channels, -1).transpose(0, 2, 1, 3, 4, 5)
    return lax.conv_general_dilated(
        cells,
        kernel.reshape(2, 2, 4 * channels, -1),
        (1, 1),
        ((1, 0), (1, 0)),
        dimension_numbers=_DIMENSIONS,
    )


def merged_groups(groups: int, width: int) -> int:
    """How many neighbouring groups make one dense block: blocks are 16 to 32 channels wide.

    Measured best for group widths 4, 8, 16 and 32: 4, 2, 2 and 1 groups.
    """
    wanted = max(1, 16 // width) if width < 16 else max(1, 32 // width)
    return next(merged for merged in range(min(wanted, groups), 0, -1) if groups % merged == 0)


def _auto(x: Array, kernel: Array, groups: int, stride: int) -> Array:
    return lax.platform_dependent(
        x,
        kernel,
        cpu=lambda x, kernel: _merged(x, kernel, groups, stride),
        default=lambda x, kernel: _native(x, kernel, groups, stride),
    )


FORMULATIONS: dict[Formulation, Callable[[Array, Array, int, int], Array]] = {
    "auto": _auto,
    "merged": _merged,
    "native": _native,
}


def pointwise_conv(
    x: Float[Array, "N ... Cin"], kernel: Float[Array, "Cin Cout"], stride: int = 1
) -> Float[Array, "N ... Cout"]:
    """1x1 convolution without padding over any number of spatial axes, as one matrix product.

    2.0 times as fast in training and 1.3 times in inference as XLA's convolution on CPU. With a
    stride it is XLA's convolution elsewhere: on a GPU, XLA fuses the product with the strided
    slice before it and with what the slice reads, and its compiler aborts ("Check failed:
    subdim_size_accumulator == dim_size", jaxlib 0.11.2).
    """
    if stride == 1:
        return _product(x, kernel)
    return lax.platform_dependent(
        x,
        kernel,
        cpu=lambda x, kernel: _product(_every(stride, x), kernel),
        default=lambda x, kernel: _strided_pointwise(x, kernel, stride),
    )


def _product(x: Array, kernel: Array) -> Array:
    return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], kernel.shape[-1])


def _every(stride: int, x: Array) -> Array:
    return x[(slice(None), *[slice(None, None, stride)] * (x.ndim - 2))]


def _strided_pointwise(x: Array, kernel: Array, stride: int) -> Array:
    spatial = x.ndim - 2
    letters = "HWD"[:spatial]
    return lax.conv_general_dilated(
        x,
        kernel.reshape(*(1,) * spatial, *kernel.shape),
        (stride,) * spatial,
        "VALID",
        dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
    )


class GroupedConv(nn.Module):
    """`grouped_conv` with its parameter, kernel [3, 3, Cin / groups, features]."""

    features: int
    groups: int
    stride: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "N H W Cin"]) -> Float[Array, "N H2 W2 Cout"]:
        shape = (3, 3, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape, jnp.float32)
        return grouped_conv(
            x.astype(self.dtype), kernel.astype(self.dtype), self.groups, self.stride
        )


class PointwiseConv(nn.Module):
    """`pointwise_conv` with its parameters: kernel [Cin, features] and a bias."""

    features: int
    dtype: DTypeLike
    stride: int = 1
    use_bias: bool = False
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: Float[Array, "N ... Cin"]) -> Float[Array, "N ... Cout"]:
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape, jnp.float32)
        y = pointwise_conv(x.astype(self.dtype), kernel.astype(self.dtype), self.stride)
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,), jnp.float32)
            y = y + jnp.broadcast_to(bias.astype(self.dtype), y.shape)
        return y
