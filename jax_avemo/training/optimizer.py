"""The optimizer: AdamW, its learning-rate schedule, and the moving average of parameters."""

import re
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int

Tree = TypeVar("Tree")


def learning_rate_schedule(peak: float, warmup_steps: int, total_steps: int) -> optax.Schedule:
    """Linear warm-up, then cosine decay to 0 at the end.

        lr(t) = peak (t + 1) / warmup                                 t < warmup
        lr(t) = peak (1 + cos(pi (t - warmup) / (total - warmup))) / 2    t >= warmup

    The warm-up starts at peak / warmup, not at 0, so that the first step is not lost.

    Raises:
        ValueError: warmup_steps is not in [0, total_steps).
    """
    if not 0 <= warmup_steps < total_steps:
        raise ValueError(f"warmup_steps {warmup_steps} must be in [0, total_steps {total_steps})")

    def schedule(count: Int[Array, ""] | int) -> Float[Array, ""]:
        step = jnp.asarray(count, jnp.float32)
        rising = (step + 1.0) / max(warmup_steps, 1)
        decayed = jnp.clip((step - warmup_steps) / (total_steps - warmup_steps), 0.0, 1.0)
        falling = 0.5 * (1.0 + jnp.cos(jnp.pi * decayed))
        return peak * jnp.where(step < warmup_steps, rising, falling)

    return schedule


def build_optimizer(
    learning_rate: optax.Schedule,
    *,
    weight_decay: float,
    max_grad_norm: float,
    b2: float = 0.99,
    layer_decay: float = 1.0,
    frozen_stages: int = 0,
) -> optax.GradientTransformationExtraArgs:
    """AdamW with clipping by the global norm.

    Loshchilov and Hutter, Decoupled Weight Decay Regularization, ICLR 2019. The decay is on kernels
    (more than one axis) only: not on biases, norm scales or single vectors.

    `update` takes a keyword `finite`, a boolean scalar (default True): where it is False the
    optimizer's state stays as it was, and the updates mean nothing.

    Args:
        learning_rate: see `learning_rate_schedule`.
        weight_decay: multiplied by the learning rate, as in the paper.
        max_grad_norm: largest global L2 norm of the gradient; 0 = not clipped.
        b2: Adam's second-moment decay; 0.99 forgets faster than 0.999, which suits short training.
        layer_decay, frozen_stages: see `layer_rate`; the weights' decay is scaled alike.

    Raises:
        ValueError: max_grad_norm is below 0.
    """
    if not max_grad_norm >= 0.0:
        raise ValueError(f"max_grad_norm {max_grad_norm} must be 0 (not clipped) or above")

    optimizer = optax.chain(
        optax.clip_by_global_norm(max_grad_norm) if max_grad_norm else optax.identity(),
        optax.chain(
            _adam(b2),
            optax.add_decayed_weights(weight_decay, _is_kernel),
            _unless_skipped(optax.scale_by_learning_rate(learning_rate)),
        ),
    )
    if layer_decay < 1.0 or frozen_stages:

        def scale(updates: optax.Updates, params: optax.Params | None = None) -> optax.Updates:
            del params
            return jax.tree_util.tree_map_with_path(
                lambda path, u: u * layer_rate(path, updates, layer_decay, frozen_stages), updates
            )

        optimizer = optax.chain(optimizer, optax.stateless(scale))
    return optimizer


def _adam(b2: float, b1: float = 0.9, epsilon: float = 1e-8) -> optax.GradientTransformation:
    """`optax.scale_by_adam`, its updates made of the moments that are kept.

    Optax makes moments and updates of the old moments and the gradient. XLA then computes every
    moment twice and copies the old ones, which it overwrites while somebody still reads them: with
    the average of the weights 28 ms at size `cpu` and 159 at `full`, 21 and 112 like this.
    """
    moments = _unless_skipped(optax.scale_by_adam(b1=b1, b2=b2, eps=epsilon))

    def update(
        gradient: optax.Updates,
        state: optax.ScaleByAdamState,
        params: optax.Params | None = None,
        **finite: Any,
    ) -> tuple[optax.Updates, optax.ScaleByAdamState]:
        _, kept = moments.update(gradient, state, params, **finite)
        mean = optax.tree.bias_correction(kept.mu, b1, kept.count)
        square = optax.tree.bias_correction(kept.nu, b2, kept.count)
        return jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + epsilon), mean, square), kept

    return optax.GradientTransformationExtraArgs(moments.init, update)


def _unless_skipped(inner: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """`inner`, whose state stays as it was where `finite` is False."""

    def update(
        updates: optax.Updates,
        state: optax.OptState,
        params: optax.Params | None = None,
        *,
        finite: Bool[Array, ""] | bool = True,
    ) -> tuple[optax.Updates, optax.OptState]:
        updates, after = inner.update(updates, state, params)
        return updates, keep(finite, after, state)

    return optax.GradientTransformationExtraArgs(inner.init, update)


def keep(finite: Bool[Array, ""] | bool, after: Tree, before: Tree) -> Tree:
    """`after`, or `before` where the step is skipped, computed once for all who read it."""
    kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), after, before)
    return lax.optimization_barrier(kept)


def layer_rate(
    path: tuple[Any, ...], parameters: Any, layer_decay: float, frozen_stages: int
) -> float:
    """The learning rate of the parameter at `path`, as a share of the schedule's.

    Stage s of the face network's S + 1 (0 = stem, then the ResNeXt's S) has
    layer_decay^(S + 1 - s), or 0 when frozen (s < frozen_stages); everything else has 1. Early
    layers of a trained network are general and should move little (Howard and Ruder, ULMFiT, ACL
    2018, section 3.2; Clark et al., ELECTRA, ICLR 2020, appendix A).
    """
    names = [str(key.key) for key in path if hasattr(key, "key")]
    if not names or names[0] != "video_network":
        return 1.0
    stages = 1 + max(map(_stage, parameters["video_network"]))
    stage = _stage(names[1])
    return 0.0 if stage < frozen_stages else layer_decay ** (stages - stage)


def _stage(name: str) -> int:
    """layer2_0 -> 2; the stem's conv1 and bn1 -> 0."""
    found = re.match(r"layer(\d+)_", name)
    return int(found[1]) if found else 0


def ema(old: Tree, new: Tree, decay: float, step: Int[Array, ""] | int) -> Tree:
    """Moving average of parameters: old d + new (1 - d), d = min(decay, (1 + t)/(10 + t)).

    The warm-up of d is that of tf.train.ExponentialMovingAverage: without it the random first
    weights stay in the average for 1 / (1 - decay) steps. t counts from 0.
    """
    count = jnp.asarray(step, jnp.float32)
    kept = jnp.minimum(decay, (1.0 + count) / (10.0 + count))

    def average(before: Array, after: Array) -> Array:
        return (kept * before + (1.0 - kept) * after).astype(before.dtype)

    return jax.tree.map(average, old, new)


def _is_kernel(parameters: optax.Params) -> optax.Params:
    return jax.tree.map(lambda leaf: leaf.ndim > 1, parameters)
