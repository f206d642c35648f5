"""The task encoders of emotion and identity, and their adversaries."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


@jax.custom_vjp
def gradient_reversal(
    x: Float[Array, "*dims"], strength: Float[Array, ""] | float
) -> Float[Array, "*dims"]:
    """Identity forwards; backwards the gradient times -strength (Ganin & Lempitsky 2015).

    What stands above learns to minimise its loss, what stands below to maximise it. `strength` may
    change from step to step without a new compilation and has no gradient of its own.
    """
    del strength
    return x


def _reversal_forward(x: Array, strength: Array | float) -> tuple[Array, Array | float]:
    return x, strength


def _reversal_backward(strength: Array | float, gradient: Array) -> tuple[Array, Array]:
    strength = jnp.asarray(strength)
    return -strength.astype(gradient.dtype) * gradient, jnp.zeros_like(strength)


gradient_reversal.defvjp(_reversal_forward, _reversal_backward)


def one_hot(labels: Int[Array, " B"], classes: int) -> Float[Array, "B classes"]:
    """One-hot rows; zeros for an unknown label (-1)."""
    return jax.nn.one_hot(labels, classes)


class TaskEncoder(nn.Module):
    """What of z one task needs: LayerNorm(W_2 gelu(W_1 dropout(LayerNorm(z)) + b_1) + b_2).

    The last normalisation gives embeddings of equal length, so that neither coupling terms nor
    probes can be satisfied by shrinking one.
    """

    width: int
    """Of the embedding."""
    hidden: int
    dropout: float

    @nn.compact
    def __call__(self, z: Float[Array, "B Z"], train: bool) -> Float[Array, "B E"]:
        """The task's embedding."""
        z = nn.LayerNorm(name="norm")(z)
        z = nn.Dropout(self.dropout, deterministic=not train)(z)
        z = nn.gelu(nn.Dense(self.hidden, name="hidden")(z))
        return nn.LayerNorm(name="output_norm")(nn.Dense(self.width, name="output")(z))


class Adversary(nn.Module):
    """Reads from an embedding what should not be in it: a classifier with one hidden layer.

    The marginal form sees z alone. Where emotion and actor depend on each other, a z that is
    independent of the actor must have lost emotion (Zhao et al. 2019; Tachet des Combes et al.
    2020): the conditional form sees [z, onehot(y), z (x) onehot(y)] with y the label that z is
    *meant* to carry, so that only what z tells beyond y can be punished. With y unknown (-1) the
    condition is zeros. Reverse the gradient of z before, with `gradient_reversal`.
    """

    classes: int
    """Of the label it tries to read."""
    hidden: int
    condition_classes: int
    """Of y; 0 = marginal."""

    @nn.compact
    def __call__(
        self, z: Float[Array, "B E"], condition: Int[Array, " B"] | None = None
    ) -> Float[Array, "B classes"]:
        """Logits; `condition` None = every y unknown."""
        if self.condition_classes:
            if condition is None:
                y = jnp.zeros((z.shape[0], self.condition_classes), z.dtype)
            else:
                y = one_hot(condition, self.condition_classes).astype(z.dtype)
            outer = z[:, :, None] * y[:, None, :]
            z = jnp.concatenate([z, y, outer.reshape(*z.shape[:1], -1)], axis=-1)
        z = nn.relu(nn.Dense(self.hidden, name="hidden")(z))
        return nn.Dense(self.classes, name="output")(z)
