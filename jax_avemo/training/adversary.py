"""How close the adversaries come to their best answer before the encoders hear from them."""

from collections.abc import Callable
from typing import Any

import jax
import optax
from jaxtyping import Array

NAMES = ("identity_adversary", "emotion_adversary")
"""The adversaries' parameters, as `AVEmo` names them."""


def adversaries_of(params: Any) -> dict[str, Any]:
    """The adversaries' part of the network's parameters."""
    return {name: params[name] for name in NAMES}


def respond(
    loss: Callable[[Any], Array],
    params: Any,
    optimizer: optax.GradientTransformation,
    optimizer_state: optax.OptState,
    updates: int,
) -> tuple[Any, optax.OptState]:
    """The adversaries after so many `updates` of their own; nothing else moves.

    The coupling is a game: min over the encoders of max over the adversaries of -L(encoders,
    adversaries). Gradient reversal (Ganin and Lempitsky, ICML 2015, equations 4 to 6) takes one
    step of both at once, so the encoders need only run away from where the adversaries stand now.
    Here the adversaries take k - 1 steps before the step of all, as the discriminator takes k for
    one of the generator (Goodfellow et al., Generative Adversarial Nets, NIPS 2014, algorithm 1):
    it "being maintained near its optimal solution", the encoders' gradient is about that of
    max over the adversaries of -L.

    Unlike there, all k steps see the same batch: new embeddings would cost a pass of the trunk.

    Args:
      loss: of the adversaries' parameters (as `adversaries_of` gives them), all else constant.
      params: of the whole network.
      optimizer, optimizer_state: of the adversaries alone.
      updates: how many, at least 1; one compiled loop.

    Returns:
      The whole network's parameters, and the optimiser's state.
    """

    def update(carry: Any, _: None) -> tuple[Any, None]:
        adversaries, memory = carry
        moves, memory = optimizer.update(jax.grad(loss)(adversaries), memory, adversaries)
        return (optax.apply_updates(adversaries, moves), memory), None

    start = adversaries_of(params), optimizer_state
    (adversaries, optimizer_state), _ = jax.lax.scan(update, start, length=updates)
    return {**params, **adversaries}, optimizer_state
