"""Temporal alignment: two sequences come to the same steps by time, never by index."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jax_avemo.models.layers.attention import masked_softmax


def step_times(duration: Float[Array, " B"], steps: int) -> Float[Array, "B S"]:
    """Centres, in seconds, of `steps` equal parts of each clip's real duration.

    t_s = (s + 1/2) * duration / S
    """
    parts = (jnp.arange(steps, dtype=duration.dtype) + 0.5) / steps
    return duration[:, None] * parts[None, :]


def align(
    sequence: Float[Array, "B T D"],
    times: Float[Array, "B T"],
    mask: Bool[Array, "B T"],
    step_times: Float[Array, "B S"],
    width_seconds: Float[Array, " B"] | Float[Array, ""] | float,
    max_gap_seconds: Float[Array, " B"] | Float[Array, ""] | float,
) -> tuple[Float[Array, "B S D"], Bool[Array, "B S"]]:
    """The sequence as it is around each step, and which steps it says anything about.

        aligned_s = sum_t w_st x_t,   w_s = softmax_{real t}( -((times_t - t_s) / width)^2 / 2 )

    Gaussian weights over real elements only, so the nearest element dominates and elements that
    are equally near share. A step is masked, and zero, when no real element lies within
    `max_gap_seconds` of it. Moving both clocks by the same amount changes nothing; padding changes
    nothing, whatever it contains. Pure: no parameters.

    Args:
      sequence: what is to be aligned.
      times: seconds, when each element is.
      mask: True = real element.
      step_times: seconds, when each step is.
      width_seconds: standard deviation of the Gaussian, of all clips or of each.
      max_gap_seconds: furthest distance at which an element still speaks for a step.
    """
    real = mask[:, None, :]
    away = jnp.where(real, times[:, None, :] - step_times[:, :, None], 0.0)  # B S T
    width = jnp.broadcast_to(jnp.asarray(width_seconds, away.dtype), away.shape[:1])
    gap = jnp.broadcast_to(jnp.asarray(max_gap_seconds, away.dtype), away.shape[:1])
    near = real & (jnp.abs(away) <= gap[:, None, None])
    step_mask = near.any(axis=-1)
    logits = -0.5 * (away / width[:, None, None]) ** 2
    weights = masked_softmax(logits, jnp.broadcast_to(real, logits.shape))
    weights = jnp.where(step_mask[..., None], weights, 0.0).astype(sequence.dtype)
    return jnp.einsum("bst,btd->bsd", weights, jnp.where(mask[..., None], sequence, 0.0)), step_mask
