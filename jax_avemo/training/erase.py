"""When identity is erased: before every validation, from the training clips' embeddings."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from jax_avemo.objectives.erasure import erasing_projection
from jax_avemo.schema import Labels
from jax_avemo.training import hosts
from jax_avemo.training.state import evaluated_variables
from jax_avemo.training.step import TrainState

LAYER = "identity_erasure"
Embed = Callable[[Any], Float[np.ndarray, "N D"]]
"""Variables of the network -> z_e of its training clips, not varied."""


def with_fitted_erasure(state: TrainState, embed: Embed, labels: Sequence[Labels]) -> TrainState:
    """The state with the erasure that its averaged weights call for.

    Args:
      state: of a network that has the layer.
      embed: runs the network.
      labels: of the clips that `embed` reads; those that lack emotion or subject are left out.
    """
    layer = state.batch_stats[LAYER]
    nothing_erased = state.replace(
        batch_stats={**state.batch_stats, LAYER: jax.tree.map(jax.numpy.zeros_like, layer)}
    )
    z = embed(evaluated_variables(nothing_erased))
    known = np.array([bool(label.emotion and label.subject) for label in labels])
    subjects = np.array([label.subject for label in labels])[known]
    emotions = np.array([label.emotion for label in labels])[known]

    def fit() -> list[Any]:
        return [found.tolist() for found in erasing_projection(z[known], subjects, emotions)]

    mean, projection = hosts.from_first(fit)
    new = {"mean": np.float32(mean), "projection": np.float32(projection)}
    placed = jax.tree.map(lambda value, old: jax.device_put(value, old.sharding), new, dict(layer))
    return state.replace(batch_stats={**state.batch_stats, LAYER: placed})
