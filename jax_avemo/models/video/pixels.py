"""The channels of a face crop: colour, luminance standardised over the clip, local contrast."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

LUMINANCE = (0.299, 0.587, 0.114)
"""Of R, G, B (ITU-R BT.601)."""
LEAST_CONTRAST = 0.025
"""Added to a standard deviation (of values in 0..1): what is dark and flat stays flat."""
NEIGHBOURHOOD = 0.1
"""Standard deviation of the Gaussian neighbourhood of local contrast, a share of the side."""
CHANNELS = ("colour", "luminance", "contrast")


def luminance_of(colour: Float[Array, "B F H W 3"]) -> Float[Array, "B F H W"]:
    """Luminance of R, G, B."""
    # Written out: a reduction over three values that lie side by side is slow on CPU.
    red, green, blue = (colour[..., channel] for channel in range(3))
    return LUMINANCE[0] * red + LUMINANCE[1] * green + LUMINANCE[2] * blue


def local_contrast(luminance: Float[Array, "B F H W"]) -> Float[Array, "B F H W"]:
    """Luminance minus its local mean, by its local standard deviation, frame by frame.

    What light from one side, skin, hair and background do over more than a neighbourhood is gone;
    creases, lids, brows and lips stay. Local contrast normalisation (Jarrett et al., ICCV 2009;
    Tan and Triggs, IEEE TIP 2010, for faces in difficult light). At a border the neighbourhood is
    cut off, not padded.
    """
    down, across = (
        jnp.asarray(_neighbourhood(size), luminance.dtype) for size in luminance.shape[2:]
    )

    def smooth(x: Array) -> Array:
        return jnp.einsum("hi,bfij,wj->bfhw", down, x, across)

    mean = smooth(luminance)
    variance = jnp.maximum(smooth(luminance**2) - mean**2, 0.0)
    return (luminance - mean) / (jnp.sqrt(variance + 1e-8) + LEAST_CONTRAST)


def _neighbourhood(size: int) -> np.ndarray:
    """Gaussian weights [size, size]; each row sums to 1."""
    place = np.arange(size)
    distance = (place[:, None] - place[None]) / (NEIGHBOURHOOD * size)
    weights = np.exp(-0.5 * distance**2)
    return weights / weights.sum(axis=1, keepdims=True)


def standardise_luminance(
    colour: Float[Array, "B F H W 3"], frame_mask: Bool[Array, "B F"]
) -> Float[Array, "B F H W 1"]:
    """Luminance minus its mean, by its standard deviation, over a clip's real frames and pixels.

    Removes what lamp and camera do to a whole clip and keeps what moves within it.

    Args:
      colour: values in 0..1.
      frame_mask: True = real frame. Others count nowhere; a clip without any gives finite values.
    """
    luminance = luminance_of(colour)[..., None]
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
    channels: tuple[str, ...],
) -> Float[Array, "B F H W channels"]:
    """The channels the image network reads.

    Args:
      video: face crops.
      frame_mask: True = real frame.
      colour_mean, colour_deviation: what R, G, B (in 0..1) are standardised with, the same for all.
      channels: some of CHANNELS, in their order: "colour" (R, G, B), "luminance" standardised over
        the clip, "contrast" (local). In trials on unseen actors the image network learned next to
        nothing from colour alone.
    """
    colour = video.astype(jnp.float32) / 255.0
    found = []
    if "colour" in channels:
        mean = jnp.asarray(colour_mean, colour.dtype).reshape(1, 1, 1, 1, 3)
        deviation = jnp.asarray(colour_deviation, colour.dtype).reshape(1, 1, 1, 1, 3)
        found.append((colour - mean) / deviation)
    if "luminance" in channels:
        found.append(standardise_luminance(colour, frame_mask))
    if "contrast" in channels:
        found.append(local_contrast(luminance_of(colour))[..., None])
    return jnp.concatenate(found, axis=-1)
