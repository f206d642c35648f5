"""Running mean of rows over the batches of training."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jax_avemo.models.layers.batch_norm import masked_moments

MOMENTUM = 0.99


class RunningMean(nn.Module):
    """m = MOMENTUM m + (1 - MOMENTUM) mean(x), over the rows whose mask is True; zeros at first.

    A batch without such a row leaves m as it is. m has no gradient.
    """

    @nn.compact
    def __call__(
        self, x: Float[Array, "B D"], mask: Bool[Array, " B"], train: bool
    ) -> Float[Array, " D"]:
        """m before this batch; training moves it."""
        mean = self.variable("batch_stats", "mean", jnp.zeros, x.shape[-1:], jnp.float32)
        before = mean.value
        if train and not self.is_initializing():
            batch_mean, _, count = masked_moments(x, mask)
            mean.value += jnp.where(count > 0, 1.0 - MOMENTUM, 0.0) * (batch_mean - before)
        return before
