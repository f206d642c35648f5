"""When each embedding loses the other's label: before every validation, from the training clips."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from jax_avemo.data.pipeline import LabelIndex
from jax_avemo.erasure.fit import discriminant_head, erasing_projection
from jax_avemo.runtime import multihost
from jax_avemo.schema import Labels
from jax_avemo.training.train_state import evaluated_variables
from jax_avemo.training.train_step import TrainState

Embed = Callable[[Any], Mapping[str, Float[np.ndarray, "N D"]]]
"""Variables of the network -> z_e and z_i of its training clips, not varied."""
SIDES = {"z_e": ("identity_erasure", "emotion_head"), "z_i": ("emotion_erasure", "identity_head")}
"""Of each embedding: the layer that erases, and the head that reads what is left."""


def with_fitted_erasure(
    state: TrainState, embed: Embed, labels: Sequence[Labels], index: LabelIndex
) -> TrainState:
    """The state with the erasures that its averaged weights call for.

    The heads have learnt on the embeddings as they were. Each is replaced by the linear
    discriminant of what is left, as certain on average as it was itself.

    Args:
      state: of a network that has the layers.
      embed: runs the network.
      labels: of the clips that `embed` reads; those that lack emotion or subject are left out.
      index: their numbers.
    """
    stats, params = dict(state.batch_stats), dict(state.average_params)
    for layer, _ in SIDES.values():
        stats[layer] = jax.tree.map(jax.numpy.zeros_like, stats[layer])
    embedded = embed(evaluated_variables(state.replace(batch_stats=stats)))
    emotions = np.array([index.emotion(label.emotion) for label in labels])
    subjects = np.array([index.subject(label.subject) for label in labels])
    known = (emotions >= 0) & (subjects >= 0)
    asked = {
        "z_e": (emotions[known], subjects[known], len(index.emotions)),
        "z_i": (subjects[known], emotions[known], len(index.subjects)),
    }
    for name, (layer, head) in SIDES.items():
        fit = functools.partial(_fit, embedded[name][known], *asked[name], params[head])
        found = multihost.from_first(fit)
        stats[layer] = _placed(found, stats[layer])
        params[head] = _placed(found, params[head])
    return state.replace(batch_stats=stats, average_params=params)


def _fit(
    z: Float[np.ndarray, "N D"],
    labels: Int[np.ndarray, " N"],
    erased: Int[np.ndarray, " N"],
    classes: int,
    head: Mapping[str, Any],
) -> dict[str, list[Any]]:
    z = z.astype(np.float64)
    mean, projection = erasing_projection(z, erased, labels)
    rest = z - (z - mean) @ projection.T
    kernel, bias = discriminant_head(rest, labels, classes)
    before = z @ np.asarray(head["kernel"], np.float64) + np.asarray(head["bias"], np.float64)
    as_certain = _spread(before, labels) / _spread(rest @ kernel + bias, labels)
    return {
        "mean": mean.tolist(),
        "projection": projection.tolist(),
        "kernel": (as_certain * kernel).tolist(),
        "bias": (as_certain * bias).tolist(),
    }


def _placed(found: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: jax.device_put(np.asarray(found[name], np.float32), old[name].sharding)
        for name in old
    }


def _spread(logits: Float[np.ndarray, "N K"], seen: Int[np.ndarray, " N"]) -> float:
    """Root mean square of a clip's logits, of the classes that are there, about their mean."""
    logits = logits[:, np.unique(seen)]
    about = logits - logits.mean(axis=1, keepdims=True)
    return float(np.sqrt(np.mean(np.square(about)))) or 1.0
