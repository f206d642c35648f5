"""Loss balancing: the weights of the tasks, emotion and identity, during training.

Adversaries are no tasks: the loss of a beaten adversary rises, and its weight would grow without
bound. The other losses keep the weights of the config.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

Scalars = dict[str, Float[Array, ""]]
State = dict[str, Any]
"""A pytree of arrays: it is checkpointed with the network."""

_TINY = 1e-12
_WEIGHT_LIMIT = 100.0


class Balancer(NamedTuple):
    """A pair of pure functions.

    `init() -> state`. `combine(state, losses, gradients) -> (weights, new_state)`, where
    `losses[task]` is the unweighted loss of this step and `gradients[task]` is dL_task/dW at W, the
    kernel of the last layer that produces z (only its Frobenius norm is used). The weights are
    those *before* this step's update (Chen 2018, algorithm 1), are constants to differentiation,
    and have one entry for each task; other entries of `losses` are ignored.
    """

    init: Callable[[], State]
    combine: Callable[[State, Scalars, dict[str, Array]], tuple[Scalars, State]]


def gradnorm(
    initial_losses: dict[str, float], *, alpha: float = 1.5, learning_rate: float = 0.025
) -> Balancer:
    """Tasks train at similar rates: a slow task, or one with a small gradient, gains weight.

        G_i = ||grad_W w_i L_i||_F = w_i ||dL_i/dW||_F
        r_i = (L_i / L_i(0)) / mean_j (L_j / L_j(0))
        L_grad(w) = sum_i | G_i - stop(mean_j G_j * r_i^alpha) |

    Chen et al., GradNorm, ICML 2018, equations 1 and 2. L_grad is differentiated in w alone, w has
    its own Adam, and is scaled to sum to the number of tasks after every update. w = exp(a) with a
    learned: in w itself an Adam step can cross zero and turn a loss into a reward, and clipping
    there would hold a task at the floor; a step in a multiplies w and leaves it positive.

    Args:
        initial_losses: L_i(0) by task, log(number of classes) for a classifier (a measured first
            loss would carry the luck of one batch).
        alpha: how hard training rates are pulled together; 0 = equal gradient norms.
        learning_rate: of Adam on a, so about the relative change of a weight a step.

    Raises:
        ValueError: an initial loss is not above 0.
    """
    for task, loss in initial_losses.items():
        if not loss > 0.0:
            raise ValueError(
                f"initial loss of {task!r} is {loss}, must be above 0 (a task needs two classes)"
            )
    optimizer = optax.adam(learning_rate)

    def init() -> State:
        log_weights = {task: jnp.zeros((), jnp.float32) for task in initial_losses}
        return {"log_weights": log_weights, "opt_state": optimizer.init(log_weights)}

    def combine(
        state: State, losses: Scalars, gradients: dict[str, Array]
    ) -> tuple[Scalars, State]:
        log_weights = state["log_weights"]
        norms = {task: _frobenius_norm(gradients[task]) for task in log_weights}
        rates = {
            task: jax.lax.stop_gradient(losses[task]) / initial_losses[task] for task in log_weights
        }
        gradient = jax.grad(_gradient_loss)(log_weights, norms, rates, alpha)
        updates, opt_state = optimizer.update(gradient, state["opt_state"], log_weights)
        moved = {task: log_weights[task] + updates[task] for task in log_weights}
        excess = jax.nn.logsumexp(jnp.stack(list(moved.values()))) - math.log(len(moved))
        new_state = {
            "log_weights": {task: value - excess for task, value in moved.items()},
            "opt_state": opt_state,
        }
        return _exponentials(log_weights, 1.0), new_state

    return Balancer(init, combine)


def _gradient_loss(
    log_weights: Scalars, norms: Scalars, rates: Scalars, alpha: float
) -> Float[Array, ""]:
    """L_grad of `gradnorm`: ||dL_i/dW|| in `norms`, L_i / L_i(0) in `rates`."""
    weighted = {task: jnp.exp(log_weights[task]) * norms[task] for task in log_weights}
    mean_norm = sum(weighted.values()) / len(weighted)
    mean_rate = sum(rates.values()) / len(rates)
    distances = []
    for task, norm in weighted.items():
        relative_rate = rates[task] / jnp.maximum(mean_rate, _TINY)
        target = jax.lax.stop_gradient(mean_norm * relative_rate**alpha)
        distances.append(jnp.abs(norm - target))
    return sum(distances, start=jnp.zeros((), jnp.float32))


def fixed(weights: dict[str, float]) -> Balancer:
    """Constant weights, by task."""

    def init() -> State:
        return {"weights": {task: jnp.float32(weight) for task, weight in weights.items()}}

    def combine(
        state: State, losses: Scalars, gradients: dict[str, Array]
    ) -> tuple[Scalars, State]:
        del losses, gradients
        return jax.lax.stop_gradient(state["weights"]), state

    return Balancer(init, combine)


def uncertainty(tasks: Iterable[str], *, learning_rate: float = 0.01) -> Balancer:
    """The weight of a task is the inverse of its learned noise variance.

        minimise over s:  sum_i exp(-s_i) L_i + s_i,   w_i = exp(-s_i),   s_i = log sigma_i^2

    Kendall, Gal, Cipolla, Multi-Task Learning Using Uncertainty, CVPR 2018, section 3.2. Its
    minimum in s is w_i = 1 / L_i. (The paper's classification form has s_i / 2, which doubles every
    weight alike: a learning rate, not a balance.) The gradient in s is 1 - exp(-s_i) L_i, so s is
    updated here by its own Adam rather than inside the network's loss. Weights are kept within
    [1/100, 100]: a loss that reaches 0 would otherwise earn an infinite one.
    """
    optimizer = optax.adam(learning_rate)
    limit = math.log(_WEIGHT_LIMIT)
    tasks = tuple(tasks)

    def init() -> State:
        log_variances = {task: jnp.zeros((), jnp.float32) for task in tasks}
        return {"log_variances": log_variances, "opt_state": optimizer.init(log_variances)}

    def combine(
        state: State, losses: Scalars, gradients: dict[str, Array]
    ) -> tuple[Scalars, State]:
        del gradients
        log_variances = state["log_variances"]
        weights = _exponentials(log_variances, -1.0)
        gradient = {
            task: 1.0 - weights[task] * jax.lax.stop_gradient(losses[task])
            for task in log_variances
        }
        updates, opt_state = optimizer.update(gradient, state["opt_state"], log_variances)
        moved = {
            task: jnp.clip(log_variances[task] + updates[task], -limit, limit)
            for task in log_variances
        }
        return weights, {"log_variances": moved, "opt_state": opt_state}

    return Balancer(init, combine)


BALANCERS: dict[str, Callable[[Any, Mapping[str, int]], Balancer]] = {
    "gradnorm": lambda objective, num_classes: gradnorm(
        {task: math.log(classes) for task, classes in num_classes.items()},
        alpha=objective.gradnorm_alpha,
        learning_rate=objective.loss_balancing_learning_rate,
    ),
    "fixed": lambda objective, num_classes: fixed(
        {"emotion": 1.0, "identity": objective.identity_weight}
    ),
    "uncertainty": lambda objective, num_classes: uncertainty(
        num_classes, learning_rate=objective.loss_balancing_learning_rate
    ),
}
"""By the name in `objective.loss_balancing`: (section `objective` of a config, number of classes of
each task) -> balancer."""


def build_balancer(objective: Any, num_classes: Mapping[str, int]) -> Balancer:
    """The balancer that `objective` names; a single task has weight 1.

    Args:
        objective: the section of a config.
        num_classes: by task, "emotion" and, if the network has it, "identity".
    """
    if len(num_classes) == 1:
        return fixed(dict.fromkeys(num_classes, 1.0))
    return BALANCERS[objective.loss_balancing](objective, num_classes)


def _exponentials(logarithms: Scalars, sign: float) -> Scalars:
    return {
        task: jax.lax.stop_gradient(jnp.exp(sign * value)) for task, value in logarithms.items()
    }


def _frobenius_norm(gradient: Array) -> Float[Array, ""]:
    return jax.lax.stop_gradient(jnp.sqrt(jnp.sum(jnp.square(gradient.astype(jnp.float32)))))
