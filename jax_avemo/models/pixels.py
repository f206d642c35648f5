"""What the image network sees of a face crop: colour, and how bright each place is for its clip."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, UInt8

LUMINANCE = (0.299, 0.587, 0.114)
"""Of R, G, B (ITU-R BT.601)."""
LEAST_CONTRAST = 0.025
"""Added to a clip's standard deviation (of values in 0..1): a dark, flat clip stays flat."""


def standardise_luminance(
    colour: Float[Array, "B F H W 3"], frame_mask: Bool[Array, "B F"]
) -> Float[Array, "B F H W 1"]:
    """Luminance minus its mean, by its standard deviation, over a clip's real frames and pixels.

    Removes what lamp and camera do to a whole clip and keeps what moves within it.

    Args:
      colour: values in 0..1.
      frame_mask: True = real frame. Others count nowhere; a clip without any gives finite values.
    """
    weights = jnp.asarray(LUMINANCE, colour.dtype).reshape(1, 1, 1, 1, 3)
    luminance = (colour * weights).sum(axis=-1, keepdims=True)
    real = frame_mask[:, :, None, None, None].astype(colour.dtype)
    frames = real.sum(axis=(1, 2, 3, 4), keepdims=True)
    count = jnp.maximum(frames, 1.0) * (colour.shape[2] * colour.shape[3])
    mean = (luminance * real).sum(axis=(1, 2, 3, 4), keepdims=True) / count
    centred = luminance - mean
    variance = (centred**2 * real).sum(axis=(1, 2, 3, 4), keepdims=True) / count
    return centred / (jnp.sqrt(variance) + LEAST_CONTRAST)


def scale_pixels(
    video: UInt8[Array, "B F H W 3"],
    frame_mask: Bool[Array, "B F"],
    colour_mean: tuple[float, float, float],
    colour_deviation: tuple[float, float, float],
    standardised_luminance: bool,
) -> Float[Array, "B F H W channels"]:
    """The channels the image network reads: R, G, B and, when asked for, standardised luminance.

    Args:
      video: face crops.
      frame_mask: True = real frame.
      colour_mean, colour_deviation: what R, G, B (in 0..1) are standardised with, the same for all.
      standardised_luminance: adds a fourth channel. In a trial on unseen actors the image network
        learned nothing without it.
    """
    colour = video.astype(jnp.float32) / 255.0
    mean = jnp.asarray(colour_mean, colour.dtype).reshape(1, 1, 1, 1, 3)
    deviation = jnp.asarray(colour_deviation, colour.dtype).reshape(1, 1, 1, 1, 3)
    channels = (colour - mean) / deviation
    if standardised_luminance:
        luminance = standardise_luminance(colour, frame_mask)
        channels = jnp.concatenate([channels, luminance], axis=-1)
    return channels
