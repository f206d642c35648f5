"""Person-centred embeddings: z less the mean of the person's other clips."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def mean_of_others(
    z: Float[Array, "B Z"], subjects: Int[Array, " B"], valid: Bool[Array, " B"]
) -> tuple[Float[Array, "B Z"], Bool[Array, " B"]]:
    """Of every row, the mean of z over the *other* rows of its subject; and whether there is one.

        m_a = sum_b s_ab z_b / sum_b s_ab,    s_ab = 1 if b is another valid row of a's subject

    Args:
      z: embeddings of a batch.
      subjects: below 0 = unknown: such rows have no others and are nobody's others.
      valid: False = padding row, likewise.

    Returns:
      The means, zeros where there is none; True where there is one.
    """
    known = valid & (subjects >= 0)
    same = (subjects[:, None] == subjects[None, :]) & known[:, None] & known[None, :]
    others = jnp.where(jnp.eye(len(z), dtype=bool), False, same).astype(jnp.float32)
    count = others.sum(axis=1)
    safe = jnp.where(known[:, None], z, 0.0)  # 0 * inf of a padding row would be NaN
    return (others @ safe) / jnp.maximum(count, 1.0)[:, None], count > 0
