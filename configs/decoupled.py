"""The headline experiment: the decoupled network on the synthetic corpus.

    python -m jax_avemo.main --config=configs/decoupled.py[:SIZE]

`DECOUPLED` is what the headline changes of `default.py` and of a size. With nothing prepared it
makes the synthetic demo corpus, prepares it, trains on 12 actors, selects the model on 4 and
evaluates on 8 that were never seen. SIZE is `cpu` or `full` (chosen by what the machine has) or
`tiny`. Cost at `cpu`: 8 to 16 minutes on 2 cores. README has the comparisons.
"""

from typing import Any

from ml_collections import ConfigDict

from jax_avemo.config import AUTO, make_config

DECOUPLED: dict[str, Any] = {
    # Most of the emotion loss is taken on z less the mean of the person's other clips.
    "model.person_centred": True,
    "train.clips_per_subject": 8,
    # A z_e of 8 numbers has hardly room for more than emotion, and none for an erasure.
    "model.embedding_width": 8,
    "model.erasure": False,
    # No table shows a significant gain by coupling. So the identity encoder reads z and changes
    # nothing of it, and there is nothing to balance.
    "model.adversary": "none",
    "objective.orthogonality_weight": 0.0,
    "objective.loss_balancing": "fixed",
}


def get_config(size: str = AUTO) -> ConfigDict:
    """The config at one size."""
    return make_config("decoupled", size, DECOUPLED)
