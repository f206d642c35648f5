"""The network as evaluation, prediction and export run it: labels unseen, deterministic."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jax_avemo.models.avemo import AVEmo
from jax_avemo.runtime.compilation import PROGRAMS_KEPT
from jax_avemo.schema import UNKNOWN

INPUTS = ("video", "video_mask", "video_time", "audio", "audio_length")
"""What of a `schema.Batch` is read."""
UNCALIBRATED = 1.0

Network = Callable[..., dict[str, Array]]
Temperature = float | Float[Array, ""]
Temperatures = tuple[Temperature, Temperature, Temperature]
"""Of rows with video and audio, with video alone, with audio alone."""


def make_network(model: AVEmo) -> Network:
    """The function `(variables, inputs, temperatures) -> outputs`, pure, deterministic.

    Inputs are those of `INPUTS`, and `valid` of a `schema.Batch`; labels are not read. Outputs:
    `probabilities` [B, emotions], softmax(logits / T) with the temperature of the modalities that
    the row has (1 where none are given), `z`, `z_e`, and `z_i` where the network takes identity
    apart.
    """

    def network(
        variables: Any,
        inputs: Mapping[str, Any],
        temperatures: Temperatures = (UNCALIBRATED, UNCALIBRATED, UNCALIBRATED),
    ) -> dict[str, Array]:
        both, video_alone, audio_alone = temperatures
        rows = inputs["audio_length"].shape[0]
        batch = {name: inputs[name] for name in INPUTS}
        batch["valid"] = inputs.get("valid", jnp.ones(rows, bool))
        fused: Any = model.apply(variables, batch, train=False, method="fuse")
        unknown = jnp.full(rows, UNKNOWN, jnp.int32)
        halves: Any = model.apply(
            variables,
            fused.embedding,
            train=False,
            emotion=unknown,
            subject=unknown,
            method="separate",
        )
        seen = _none(rows) if fused.video_available is None else fused.video_available
        heard = _none(rows) if fused.audio_available is None else fused.audio_available
        alone = jnp.where(seen, video_alone, audio_alone)
        temperature = jnp.where(seen & heard, both, alone).astype(jnp.float32)
        logits = halves.emotion_logits.astype(jnp.float32) / temperature[:, None]
        outputs = {
            "probabilities": jax.nn.softmax(logits),
            "z": fused.embedding,
            "z_e": halves.emotion_embedding,
        }
        if halves.identity_embedding is not None:
            outputs["z_i"] = halves.identity_embedding
        return outputs

    return network


@functools.lru_cache(maxsize=PROGRAMS_KEPT)
def jitted_network(model: AVEmo) -> Network:
    """`make_network`, compiled once for all networks of this form, whatever their temperatures."""
    return jax.jit(make_network(model))


def temperatures_of(fitted: Mapping[str, float] | None) -> Temperatures:
    """Fitted temperatures by `evaluation.calibration.MODALITIES`; 1 where none was fitted."""
    found = fitted or {}
    both, video, audio = (
        float(found.get(name, UNCALIBRATED)) for name in ("video+audio", "video", "audio")
    )
    return both, video, audio


def _none(rows: Any) -> Array:
    return jnp.zeros(rows, bool)
