"""Gradient accumulation: a batch goes through the network in parts, one after another."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

Pass = Callable[[Any, Any, PRNGKeyArray], tuple[Any, tuple[Any, Any]]]
"""(params, rows, key) -> (outputs, (context, statistics)); both with a row a clip."""


def accumulated_vjp(
    network: Pass, params: Any, rows: Any, key: PRNGKeyArray, accumulation_steps: int
) -> tuple[Any, Callable[[Any], tuple[Any]], tuple[Any, Any]]:
    """`jax.vjp(network, params, has_aux=True)` holding the activations of one part at a time.

    The outputs of all parts are brought together before anything is made of them, and each part is
    computed once more when its cotangents are known (Gao et al., Scaling Deep Contrastive Learning
    Batch Size under Memory Limited Setup, RepL4NLP 2021). So whatever follows sees the whole batch:
    losses that compare rows (orthogonality, HSIC), means over the rows that have a label, and the
    balancer's norms are those of the large batch, which adding up the gradients of small batches
    would not give. It costs one more forward pass.

    The result equals that of the whole batch exactly (but for rounding) where a row does not
    depend on the other rows, that is *with frozen batch-norm statistics*. In training every part
    is normalised by its own statistics, and `statistics` is their mean. Dropout draws other masks.

    Args:
      network: see `Pass`.
      params: differentiated.
      rows: arrays with the batch's rows as their first axis.
      key: for dropout; a part has its own.
      accumulation_steps: number of parts; the rows must be a multiple of it. 1 = plain `jax.vjp`.

    Returns:
      outputs, the function from their cotangents to `(gradient of params,)`, (context, statistics).
    """
    if accumulation_steps == 1:
        return jax.vjp(lambda p: network(p, rows, key), params, has_aux=True)
    split = functools.partial(_split, accumulation_steps=accumulation_steps)
    pieces = jax.tree.map(split, rows), jax.random.split(key, accumulation_steps)
    outputs, (context, statistics) = jax.lax.map(lambda piece: network(params, *piece), pieces)

    def pull_back(cotangents: Any) -> tuple[Any]:
        return (_gradient(network, params, pieces, jax.tree.map(split, cotangents)),)

    mean = jax.tree.map(lambda leaf: leaf.mean(axis=0), statistics)
    return jax.tree.map(_merge, outputs), pull_back, (jax.tree.map(_merge, context), mean)


def _gradient(network: Pass, params: Any, pieces: Any, cotangents: Any) -> Any:
    """The sum of the gradients of all parts, each computed again."""

    def add(total: Any, part: Any) -> tuple[Any, None]:
        piece, cotangent = part
        _, pull = jax.vjp(lambda p: network(p, *piece)[0], params)
        (gradient,) = pull(cotangent)
        return jax.tree.map(jnp.add, total, gradient), None

    total, _ = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), (pieces, cotangents))
    return total


def _split(leaf: jax.Array, accumulation_steps: int) -> jax.Array:
    """[B, ...] -> [parts, B / parts, ...]."""
    # Row r goes to part r mod parts: so every device has its share of every part already.
    leaf = jnp.asarray(leaf)
    shape = leaf.shape[0] // accumulation_steps, accumulation_steps, *leaf.shape[1:]
    return leaf.reshape(shape).swapaxes(0, 1)


def _merge(leaf: jax.Array) -> jax.Array:
    return leaf.swapaxes(0, 1).reshape(-1, *leaf.shape[2:])
