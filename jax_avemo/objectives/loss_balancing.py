"""How the losses of several tasks are weighed against each other while they are learned.

Only real tasks (emotion, identity) belong here. An adversary that is being beaten has a rising
loss and would run away with the weight, so coupling terms keep scheduled constants elsewhere.
"""

import math
from collections.abc import Callable
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

    `init(tasks) -> state`. `combine(state, losses, gradients) -> (weights, new_state)`, where
    `losses[task]` is the unweighted loss of this step and `gradients[task]` is dL_task/dW at W, the
    kernel of the last layer that produces z (only its Frobenius norm is used). The weights are
    those *before* this step's update (Chen 2018, algorithm 1), are constants to differentiation,
    and have one entry for each of `tasks`; other entries of `losses` are ignored.
    """

    init: Callable[[tuple[str, ...]], State]
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
        ValueError: an initial loss is not above 0, or `init` is given other tasks.
    """
    for task, loss in initial_losses.items():
        if not loss > 0.0:
            raise ValueError(
                f"initial loss of {task!r} is {loss}, must be above 0 (a task needs two classes)"
            )
    optimizer = optax.adam(learning_rate)

    def init(tasks: tuple[str, ...]) -> State:
        _check_tasks(tasks, initial_losses, "initial_losses")
        log_weights = {task: jnp.zeros((), jnp.float32) for task in tasks}
        return {"log_weights": log_weights, "optimizer": optimizer.init(log_weights)}

    def combine(
        state: State, losses: Scalars, gradients: dict[str, Array]
    ) -> tuple[Scalars, State]:
        log_weights = state["log_weights"]
        norms = {task: _frobenius_norm(gradients[task]) for task in log_weights}
        rates = {
            task: jax.lax.stop_gradient(losses[task]) / initial_losses[task] for task in log_weights
        }
        mean_rate = sum(rates.values()) / len(rates)

        def gradient_loss(log_weights: Scalars) -> Float[Array, ""]:
            weighted = {task: jnp.exp(log_weights[task]) * norms[task] for task in log_weights}
            mean_norm = sum(weighted.values()) / len(weighted)
            distances = []
            for task, norm in weighted.items():
                relative_rate = rates[task] / jnp.maximum(mean_rate, _TINY)
                target = jax.lax.stop_gradient(mean_norm * relative_rate**alpha)
                distances.append(jnp.abs(norm - target))
            return sum(distances, start=jnp.zeros((), jnp.float32))

        slope = jax.grad(gradient_loss)(log_weights)
        updates, optimizer_state = optimizer.update(slope, state["optimizer"], log_weights)
        moved = {task: log_weights[task] + updates[task] for task in log_weights}
        excess = jax.nn.logsumexp(jnp.stack(list(moved.values()))) - math.log(len(moved))
        new_state = {
            "log_weights": {task: value - excess for task, value in moved.items()},
            "optimizer": optimizer_state,
        }
        return _exponentials(log_weights, 1.0), new_state

    return Balancer(init, combine)


def fixed(weights: dict[str, float]) -> Balancer:
    """The same weight for a task all through training.

    Raises:
        ValueError: `init` is given other tasks than `weights` has.
    """

    def init(tasks: tuple[str, ...]) -> State:
        _check_tasks(tasks, weights, "weights")
        return {"weights": {task: jnp.asarray(weights[task], jnp.float32) for task in tasks}}

    def combine(
        state: State, losses: Scalars, gradients: dict[str, Array]
    ) -> tuple[Scalars, State]:
        del losses, gradients
        return jax.lax.stop_gradient(state["weights"]), state

    return Balancer(init, combine)


def uncertainty(*, learning_rate: float = 0.01) -> Balancer:
    """A task's weight is the inverse of its learned noise variance.

        minimise over s:  sum_i exp(-s_i) L_i + s_i,   w_i = exp(-s_i),   s_i = log sigma_i^2

    Kendall, Gal, Cipolla, Multi-Task Learning Using Uncertainty, CVPR 2018, section 3.2. Its
    minimum in s is w_i = 1 / L_i. (The paper's classification form has s_i / 2, which doubles every
    weight alike: a learning rate, not a balance.) The slope in s is 1 - exp(-s_i) L_i, so s is
    updated here by its own Adam rather than inside the network's loss. Weights are kept within
    [1/100, 100]: a loss that reaches 0 would otherwise earn an infinite one.
    """
    optimizer = optax.adam(learning_rate)
    limit = math.log(_WEIGHT_LIMIT)

    def init(tasks: tuple[str, ...]) -> State:
        log_variances = {task: jnp.zeros((), jnp.float32) for task in tasks}
        return {"log_variances": log_variances, "optimizer": optimizer.init(log_variances)}

    def combine(
        state: State, losses: Scalars, gradients: dict[str, Array]
    ) -> tuple[Scalars, State]:
        del gradients
        log_variances = state["log_variances"]
        weights = _exponentials(log_variances, -1.0)
        slope = {
            task: 1.0 - weights[task] * jax.lax.stop_gradient(losses[task])
            for task in log_variances
        }
        updates, optimizer_state = optimizer.update(slope, state["optimizer"], log_variances)
        moved = {
            task: jnp.clip(log_variances[task] + updates[task], -limit, limit)
            for task in log_variances
        }
        return weights, {"log_variances": moved, "optimizer": optimizer_state}

    return Balancer(init, combine)


BALANCERS: dict[str, Callable[..., Balancer]] = {
    "gradnorm": gradnorm,
    "fixed": fixed,
    "uncertainty": uncertainty,
}


def _check_tasks(tasks: tuple[str, ...], given: dict[str, float], name: str) -> None:
    if set(tasks) != set(given):
        raise ValueError(f"{name} has {sorted(given)}, the tasks are {sorted(tasks)}")


def _exponentials(logarithms: Scalars, sign: float) -> Scalars:
    return {
        task: jax.lax.stop_gradient(jnp.exp(sign * value)) for task, value in logarithms.items()
    }


def _frobenius_norm(gradient: Array) -> Float[Array, ""]:
    return jax.lax.stop_gradient(jnp.sqrt(jnp.sum(jnp.square(gradient.astype(jnp.float32)))))
