"""The Fourier transform of frames, by each device of those of its own rows."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Complex, Float

from jax_avemo.runtime.devices import ROWS


def rfft(frames: Float[Array, "B *T N"], size: int) -> Complex[Array, "B *T F"]:
    """`jnp.fft.rfft(frames, size)` along the last axis.

    XLA does not divide a Fourier transform: it would send the frames of all devices to each, which
    would transform them all. In `devices.shared_by_rows` each transforms its own.
    """
    transform = partial(jnp.fft.rfft, n=size)
    if ROWS not in jax.sharding.get_abstract_mesh().axis_names:
        return transform(frames)
    rows = PartitionSpec(ROWS)
    return jax.shard_map(transform, in_specs=rows, out_specs=rows)(frames)
