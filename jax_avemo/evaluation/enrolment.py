"""Enrolment: embeddings centred on other, unlabelled clips of the same person."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

from jax_avemo.models.avemo import AVEmo
from jax_avemo.schema import UNKNOWN

CLIPS = (1, 4, 8, 16)
"""Numbers of enrolment clips that are reported, beside 0: z as it is."""
DRAWS = 5
"""Draws of the enrolment clips, over which a figure is averaged."""
CentredHeads = Callable[[Any, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""(variables, z [N, Z], mean of z over other clips of each clip's person [N, Z]) ->
probabilities [N, emotions], z_e [N, E]."""


def mean_of_other_clips(
    z: Float[np.ndarray, "N Z"],
    subjects: Shaped[np.ndarray, " N"],
    takes: Shaped[np.ndarray, " N"],
    clips: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, "N Z"]:
    """Of every clip, the mean of z over `clips` other clips of its subject, drawn at random.

    A clip is never enrolled for itself, nor another clip of its take. A subject with fewer other
    clips is enrolled with all of them. No emotion is looked at.

    Raises:
      ValueError: a subject has but one take.
    """
    means = np.empty_like(z, dtype=np.float32)
    _, person = np.unique(subjects, return_inverse=True)
    of_person = np.split(np.argsort(person, kind="stable"), np.cumsum(np.bincount(person))[:-1])
    for row in range(len(z)):
        clips_of_person = of_person[person[row]]
        others = clips_of_person[takes[clips_of_person] != takes[row]]
        if len(others) == 0:
            raise ValueError(f"subject {subjects[row]} has a single take: nothing to enrol with")
        chosen = rng.choice(others, min(clips, len(others)), replace=False)
        means[row] = z[chosen].mean(axis=0)
    return means


def make_centred_heads(model: AVEmo) -> CentredHeads:
    """The heads of embeddings that are centred on a person's other clips (`AVEmo.centre`)."""

    @jax.jit
    def heads(variables: Any, z: jax.Array, means: jax.Array) -> tuple[jax.Array, jax.Array]:
        centred: Any = model.apply(variables, z, means, method="centre")
        unknown = jnp.full(len(z), UNKNOWN)
        found: Any = model.apply(
            variables, centred, train=False, emotion=unknown, subject=unknown, method="separate"
        )
        logits = found.emotion_logits.astype(jnp.float32)
        return jax.nn.softmax(logits), found.emotion_embedding

    def of_arrays(
        variables: Any, z: Float[np.ndarray, "N Z"], means: Float[np.ndarray, "N Z"]
    ) -> tuple[np.ndarray, np.ndarray]:
        probabilities, z_e = heads(variables, jnp.asarray(z), jnp.asarray(means))
        return np.asarray(probabilities), np.asarray(z_e)

    return of_arrays
