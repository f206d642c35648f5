"""Linear concept erasure as a layer, and its fitted arrays in a training state."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

COLLECTION = "erasure"
"""Collection of a network's variables that holds the arrays of `LinearErasure`."""


class LinearErasure(nn.Module):
    """z - P (z - m), with m and P of the collection `erasure` (see `erasure.fit`).

    Both are zeros, which change nothing, until they are fitted.
    """

    @nn.compact
    def __call__(self, z: Float[Array, "B D"]) -> Float[Array, "B D"]:
        """The embedding less its component along P."""
        width = z.shape[-1]
        mean = self.variable(COLLECTION, "mean", jnp.zeros, (width,), jnp.float32)
        projection = self.variable(COLLECTION, "projection", jnp.zeros, (width, width), jnp.float32)
        erased = (z.astype(jnp.float32) - mean.value[None]) @ projection.value.T
        return z - erased.astype(z.dtype)


class ErasureState(struct.PyTreeNode):
    """Fitted erasures of a network; all zeros = not fitted."""

    layers: Any
    """The network's collection `erasure`."""
    emotion_head: Any
    """Kernel and bias of the discriminant of erased z_e, which is evaluated in place of the trained
    emotion head."""
    fitted: Any
    """Boolean scalar. False: the trained emotion head is evaluated."""


def unfitted(layers: Any, emotion_head: Any) -> ErasureState:
    """The state before the first fit, with the shapes of these arrays."""
    layers, head = jax.tree.map(jnp.zeros_like, (layers, emotion_head))
    return ErasureState(layers, head, jnp.bool_(False))


def evaluated_head(erasure: ErasureState, trained_head: Any) -> Any:
    """The fitted emotion head, or the trained one before the first fit."""
    return jax.tree.map(
        lambda fitted, trained: jnp.where(erasure.fitted, fitted, trained),
        erasure.emotion_head,
        trained_head,
    )
