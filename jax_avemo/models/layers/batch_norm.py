"""Batch normalisation over real rows only (Ioffe & Szegedy, ICML 2015)."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import Initializer
from jaxtyping import Array, Bool, Float

EPSILON = 1e-5


def masked_moments(
    x: Float[Array, "... C"], mask: Bool[Array, "..."] | None
) -> tuple[Float[Array, " C"], Float[Array, " C"], Float[Array, ""]]:
    """Mean, biased variance and number of the real values of every channel, in float32.

    `mask` has the shape of x's first axes and holds for all the axes between them and the
    channels. Without a single real row mean and variance are 0 and so is the number.
    """
    x = x.astype(jnp.float32)
    values_per_channel = x.size // x.shape[-1]
    if mask is None:
        count = jnp.float32(values_per_channel)
    else:
        _check_mask(x.shape, mask.shape)
        count = jnp.sum(mask, dtype=jnp.float32) * (values_per_channel // mask.size)
    divisor = jnp.maximum(count, 1.0)

    def total(values: Array) -> Array:
        if mask is None:
            return values.sum(tuple(range(x.ndim - 1)))
        # Masked after the sum over what a mask's element stands for: no pass over all values.
        within = values.sum(tuple(range(mask.ndim, x.ndim - 1)))
        return jnp.where(mask[..., None], within, 0.0).sum(tuple(range(mask.ndim)))

    mean = total(x) / divisor
    # d var / d mean = -2 sum(x - mean) / n = 0: stopping it there spares the backward pass a
    # reduction. Two passes, because E[x^2] - mean^2 cancels in float32.
    centre = jnp.broadcast_to(jax.lax.stop_gradient(mean), x.shape)
    variance = total(jnp.square(x - centre)) / divisor
    return mean, variance, count


def _check_mask(shape: Sequence[int], mask_shape: Sequence[int]) -> None:
    if tuple(mask_shape) != tuple(shape[: len(mask_shape)]) or len(mask_shape) >= len(shape):
        raise ValueError(f"mask {tuple(mask_shape)} is not the first axes of x {tuple(shape)}")


class MaskedBatchNorm(nn.Module):
    """y = (x - mean) / sqrt(var + EPSILON) * scale + bias (Ioffe & Szegedy, ICML 2015).

    Training takes mean and (biased) variance from the rows whose mask is True, so a padding row
    changes neither the outputs nor the gradients of a real one, and moves the running averages
    by `running = momentum * running + (1 - momentum) * batch`, with the unbiased variance
    n / (n - 1) as PyTorch does (PyTorch's `momentum` is one minus this one). A batch without any
    real row leaves them as they are and is normalised with them. Statistics are float32 whatever
    the dtype of x; the result has x's dtype.
    """

    momentum: float
    scale_init: Initializer = nn.initializers.ones

    @nn.compact
    def __call__(
        self, x: Float[Array, "... C"], mask: Bool[Array, "..."] | None, train: bool
    ) -> Float[Array, "... C"]:
        channels = (x.shape[-1],)
        scale = self.param("scale", self.scale_init, channels, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, channels, jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, channels, jnp.float32)

        mean, variance = running_mean.value, running_var.value
        if train:
            batch_mean, batch_variance, count = masked_moments(x, mask)
            mean = jnp.where(count > 0, batch_mean, mean)
            variance = jnp.where(count > 0, batch_variance, variance)
            if not self.is_initializing():
                step = jnp.where(count > 0, 1.0 - self.momentum, 0.0)
                unbiased = batch_variance * count / jnp.maximum(count - 1.0, 1.0)
                running_mean.value += step * (batch_mean - running_mean.value)
                running_var.value += step * (unbiased - running_var.value)

        # Folded into one multiplication and one addition per value.
        gain = scale * jax.lax.rsqrt(variance + EPSILON)
        offset = jnp.broadcast_to(bias - mean * gain, x.shape)
        return (x.astype(jnp.float32) * jnp.broadcast_to(gain, x.shape) + offset).astype(x.dtype)
