"""The embeddings of the last steps, for couplings that a batch is too small for."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from jax_avemo.schema import UNKNOWN

Bank = dict[str, Array]
"""`z_e`, `z_i` [M, E], `emotion`, `subject` [M] (-1: nothing stands there yet, or unknown)."""


def empty_bank(rows: int, width: int) -> Bank:
    """Nothing remembered yet."""
    return {
        "z_e": jnp.zeros((rows, width)),
        "z_i": jnp.zeros((rows, width)),
        "emotion": jnp.full(rows, UNKNOWN, jnp.int32),
        "subject": jnp.full(rows, UNKNOWN, jnp.int32),
    }


def with_batch(bank: Bank, batch: dict[str, Any]) -> Bank:
    """The batch's rows and behind them all that is remembered."""
    return {name: jnp.concatenate([batch[name], bank[name]]) for name in bank}


def newest(bank: Bank, rows: int) -> Bank:
    """The first, which are the newest, so many rows."""
    return {name: values[:rows] for name, values in bank.items()}
