"""ResNeXt with coordinate attention: one vector for each face crop."""

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, DTypeLike, Float

from jax_avemo.models.layers.batch_norm import MaskedBatchNorm
from jax_avemo.models.video.coordinate_attention import CoordinateAttention
from jax_avemo.models.video.grouped_conv import GroupedConv, PointwiseConv


def max_pool(x: Float[Array, "N H W C"]) -> Float[Array, "N H2 W2 C"]:
    """3x3 maximum with stride 2; the padding of 1 is -inf, so H2 = ceil(H / 2), as PyTorch's.

    Rows first, then columns, as maxima of strided slices: XLA's gradient of a window reduction is
    slow on CPU. Where several values tie, the gradient is shared among them.
    """
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-jnp.inf)
    height, width = (x.shape[1] - 1) // 2, (x.shape[2] - 1) // 2
    first, second, third = (x[:, i : i + 2 * height - 1 : 2] for i in range(3))
    x = jnp.maximum(jnp.maximum(first, second), third)
    first, second, third = (x[:, :, i : i + 2 * width - 1 : 2] for i in range(3))
    return jnp.maximum(jnp.maximum(first, second), third)


class Bottleneck(nn.Module):
    """1x1, grouped 3x3, 1x1 with a shortcut (Xie et al., CVPR 2017, figure 3c).

    Coordinate attention stands after bn3 and before the addition, where its authors put it in
    ResNets.
    """

    width: int
    features: int
    groups: int
    stride: int
    coordinate_attention: bool
    attention_gate_bias: float
    residual_scale: float
    batch_norm_momentum: float
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, x: Float[Array, "N H W C"], mask: Bool[Array, " N"] | None, train: bool
    ) -> Float[Array, "N H2 W2 C2"]:
        def norm(name: str, x: Array, scale: float = 1.0) -> Array:
            scale_init = nn.initializers.constant(scale)
            layer = MaskedBatchNorm(self.batch_norm_momentum, scale_init=scale_init, name=name)
            return layer(x, mask, train)

        def pointwise(name: str, features: int, stride: int, x: Array) -> Array:
            return PointwiseConv(features, self.dtype, stride, name=name)(x)

        conv2 = GroupedConv(self.width, self.groups, self.stride, dtype=self.dtype, name="conv2")
        y = nn.relu(norm("bn1", pointwise("conv1", self.width, 1, x)))
        y = nn.relu(norm("bn2", conv2(y)))
        y = norm("bn3", pointwise("conv3", self.features, 1, y), self.residual_scale)
        if self.coordinate_attention:
            y = CoordinateAttention(
                gate_bias_init=self.attention_gate_bias,
                batch_norm_momentum=self.batch_norm_momentum,
                dtype=self.dtype,
                name="coordinate_attention",
            )(y, mask, train)

        if self.stride > 1 or x.shape[-1] != self.features:
            x = pointwise("downsample_conv", self.features, self.stride, x)
            x = norm("downsample_bn", x)
        return nn.relu(x + y)


class ResNeXt(nn.Module):
    """ResNeXt (Xie, Girshick, Dollar, Tu & He, CVPR 2017) on single images, globally averaged.

    Size `full` is ResNeXt50 32x4d with coordinate attention, 2048 features. Stage i (from 0) has a
    grouped convolution of groups * width_per_group * 2^i channels and stem_width * expansion * 2^i
    outputs. Without attention the parameters are those of torchvision's `resnext50_32x4d`, name by
    name (left theirs):

        conv1.weight [O, I, h, w]               conv1/kernel [h, w, I, O]
        bn1.{weight, bias}                      bn1/{scale, bias}
        bn1.{running_mean, running_var}         bn1/{mean, var} in `batch_stats`
        layer{s}.{b}.conv{1,3}.weight           layer{s}_{b}/conv{1,3}/kernel [I, O]
        layer{s}.{b}.conv2.weight               layer{s}_{b}/conv2/kernel [h, w, I / groups, O]
        layer{s}.{b}.bn{1,2,3}.*                layer{s}_{b}/bn{1,2,3}/*
        layer{s}.{b}.downsample.0.weight        layer{s}_{b}/downsample_conv/kernel [I, O]
        layer{s}.{b}.downsample.1.*             layer{s}_{b}/downsample_bn/*
        fc.*                                    absent

    Images are already scaled; any number of channels. Masked images count in no statistic. The
    result is float32 [N, features].
    """

    depths: tuple[int, ...]
    groups: int
    width_per_group: int
    stem_width: int
    stem_kernel: int
    expansion: int
    coordinate_attention: bool
    attention_gate_bias: float
    """See `CoordinateAttention`."""
    residual_scale: float
    """Initial scale of every bn3."""
    frozen_stages: int
    """1 = the stem, 2 = and the first stage, ...: running statistics stay and are used also in
    training, and no gradient goes there."""
    batch_norm_momentum: float
    dtype: DTypeLike
    remat: bool
    """Every block's activations are computed again in the backward pass, not kept."""

    @property
    def features(self) -> int:
        """The length of the vector that stands for an image."""
        return self.stem_width * self.expansion * 2 ** (len(self.depths) - 1)

    @nn.compact
    def __call__(
        self, images: Float[Array, "N H W C"], mask: Bool[Array, " N"] | None, train: bool
    ) -> Float[Array, "N D"]:
        # XLA's own convolution: im2col and a dot took 1.5 to 27 times as long forward, and with
        # the kernel's gradient 0.8 times (3x3) to 17 times (7x7) as long. Four runs on a shared
        # CPU, 3 and 4 input channels, 48 and 112 px.
        x = nn.Conv(
            self.stem_width,
            (self.stem_kernel, self.stem_kernel),
            strides=2,
            padding=self.stem_kernel // 2,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=nn.initializers.he_normal(),
            name="conv1",
        )(images)
        learns = train and self.frozen_stages < 1
        x = nn.relu(MaskedBatchNorm(self.batch_norm_momentum, name="bn1")(x, mask, learns))
        x = max_pool(x)
        if self.frozen_stages == 1:
            x = lax.stop_gradient(x)

        block = nn.remat(Bottleneck, static_argnums=(3,)) if self.remat else Bottleneck
        for stage, depth in enumerate(self.depths):
            for index in range(depth):
                x = block(
                    width=self.groups * self.width_per_group * 2**stage,
                    features=self.stem_width * self.expansion * 2**stage,
                    groups=self.groups,
                    stride=2 if stage > 0 and index == 0 else 1,
                    coordinate_attention=self.coordinate_attention,
                    attention_gate_bias=self.attention_gate_bias,
                    residual_scale=self.residual_scale,
                    batch_norm_momentum=self.batch_norm_momentum,
                    dtype=self.dtype,
                    name=f"layer{stage + 1}_{index}",
                )(x, mask, train and self.frozen_stages < stage + 2)
            if self.frozen_stages == stage + 2:
                x = lax.stop_gradient(x)
        return x.mean(axis=(1, 2), dtype=jnp.float32)
