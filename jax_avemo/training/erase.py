"""When identity is erased: before every validation, from the training clips' embeddings."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from jax_avemo.objectives.erasure import discriminant_head, erasing_projection
from jax_avemo.schema import Labels
from jax_avemo.training import hosts
from jax_avemo.training.state import evaluated_variables
from jax_avemo.training.step import TrainState

LAYER, HEAD = "identity_erasure", "emotion_head"
Embed = Callable[[Any], Float[np.ndarray, "N D"]]
"""Variables of the network -> z_e of its training clips, not varied."""


def with_fitted_erasure(
    state: TrainState, embed: Embed, labels: Sequence[Labels], emotions: Sequence[str]
) -> TrainState:
    """The state with the erasure that its averaged weights call for.

    The emotion head has learnt on z_e as it was. It is replaced by the linear discriminant of what
    is left, as certain on average as it was itself.

    Args:
      state: of a network that has the layer.
      embed: runs the network.
      labels: of the clips that `embed` reads; those that lack emotion or subject are left out.
      emotions: the network's, in their order.
    """
    layer, head = state.batch_stats[LAYER], state.average_params[HEAD]
    nothing_erased = state.replace(
        batch_stats={**state.batch_stats, LAYER: jax.tree.map(jax.numpy.zeros_like, layer)}
    )
    known = [row for row, label in enumerate(labels) if label.emotion and label.subject]
    z = embed(evaluated_variables(nothing_erased))[known].astype(np.float64)
    subjects = np.array([labels[row].subject for row in known])
    felt = np.array([emotions.index(labels[row].emotion) for row in known])

    def fit() -> dict[str, list[Any]]:
        mean, projection = erasing_projection(z, subjects, felt)
        rest = z - (z - mean) @ projection.T
        kernel, bias = discriminant_head(rest, felt, len(emotions))
        before = z @ np.asarray(head["kernel"], np.float64) + np.asarray(head["bias"], np.float64)
        as_certain = _spread(before, felt) / _spread(rest @ kernel + bias, felt)
        found = {
            "mean": mean,
            "projection": projection,
            "kernel": as_certain * kernel,
            "bias": as_certain * bias,
        }
        return {name: value.tolist() for name, value in found.items()}

    found = hosts.from_first(fit)

    def placed(old: Any) -> dict[str, Any]:
        return {
            name: jax.device_put(np.asarray(found[name], np.float32), old[name].sharding)
            for name in old
        }

    return state.replace(
        batch_stats={**state.batch_stats, LAYER: placed(layer)},
        average_params={**state.average_params, HEAD: placed(head)},
    )


def _spread(logits: np.ndarray, seen: np.ndarray) -> float:
    """Root mean square of a clip's logits, of the emotions that are there, about their mean."""
    logits = logits[:, np.unique(seen)]
    about = logits - logits.mean(axis=1, keepdims=True)
    return float(np.sqrt(np.mean(np.square(about)))) or 1.0
