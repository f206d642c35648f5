"""Overlapping frames of a signal, from slices of whole hops, without a gather."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def overlapping_frames(
    audio: Float[Array, "B N"], width: int, hop: int, window: np.ndarray | None = None
) -> Float[Array, "B T width"]:
    """Frame t holds `width` samples around sample t * hop, zeros outside; T = 1 + N // hop.

    `window` [width] is multiplied before the slices are joined: a pass less over all frames.
    """
    frame_count = 1 + audio.shape[1] // hop
    slices = -(-width // hop)
    before = width // 2
    after = max(0, (frame_count + slices - 1) * hop - before - audio.shape[1])
    padded = jnp.pad(audio, ((0, 0), (before, after)))[:, : (frame_count + slices - 1) * hop]
    hops = padded.reshape(audio.shape[0], -1, hop)
    parts = []
    for index in range(slices):
        part = hops[:, index : index + frame_count, : width - index * hop]
        if window is not None:
            part = part * window[index * hop : (index + 1) * hop][None, None]
        parts.append(part)
    return jnp.concatenate(parts, axis=-1)
