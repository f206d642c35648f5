"""Where the erasure comes from: the training clips' embeddings, as if nothing were erased yet."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_avemo.objectives.erasure import discriminant_head, erasing_projection
from jax_avemo.schema import Labels
from jax_avemo.training import devices
from jax_avemo.training.erase import HEAD, LAYER, with_fitted_erasure
from jax_avemo.training.step import TrainState

D = 6
KERNEL = np.random.default_rng(9).normal(size=(D, 2))


def state_with(projection) -> TrainState:
    everywhere = devices.replicated(devices.data_mesh())
    layer = {"mean": jnp.ones(D), "projection": jnp.asarray(projection, jnp.float32)}
    stats = {"norm": {"mean": jnp.arange(3.0)}, LAYER: layer}
    stats = jax.tree.map(lambda leaf: jax.device_put(leaf, everywhere), stats)
    nothing = dict.fromkeys(("step", "params", "optimizer", "balancer", "skipped"), ())
    head = {"kernel": jnp.asarray(KERNEL, jnp.float32), "bias": jnp.zeros(2)}
    head = jax.tree.map(lambda leaf: jax.device_put(leaf, everywhere), head)
    return TrainState(**nothing, batch_stats=stats, average_params={"weights": 1, HEAD: head})


def shapes(state):
    return jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype, leaf.sharding),
        (state.batch_stats, state.average_params[HEAD]),
    )


def test_what_was_erased_before_does_not_matter_and_unknown_clips_are_left_out():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(40, D)).astype(np.float32)
    subjects, emotions = ["a", "b", "c", "d"] * 10, ["x"] * 20 + ["y"] * 20
    labels = [
        Labels(key=str(row), emotion=emotion, subject=subject)
        for row, (emotion, subject) in enumerate(zip(emotions, subjects, strict=True))
    ]
    labels[3] = Labels(key="3", emotion="", subject="d")
    labels[7] = Labels(key="7", emotion="x", subject="")
    seen = []

    def embed(variables):
        seen.append(jax.device_get(variables))
        return z

    known = [row for row in range(40) if row not in (3, 7)]
    felt = np.array([" xy".index(emotions[row]) - 1 for row in known])
    mean, projection = erasing_projection(z[known], np.array(subjects)[known], felt)
    rest = z[known] - (z[known] - mean) @ projection.T
    kernel, bias = discriminant_head(rest, felt, 2)
    for before in (np.zeros((D, D)), rng.normal(size=(D, D))):
        state = state_with(before)
        after = with_fitted_erasure(state, embed, labels, ("x", "y"))
        np.testing.assert_array_equal(seen[-1]["batch_stats"][LAYER]["projection"], 0)
        assert seen[-1]["params"]["weights"] == 1
        np.testing.assert_allclose(after.batch_stats[LAYER]["mean"], mean, rtol=1e-6)
        np.testing.assert_allclose(
            after.batch_stats[LAYER]["projection"], projection, rtol=1e-5, atol=1e-7
        )
        head = after.average_params[HEAD]
        factor = float(head["kernel"][0, 0] / kernel[0, 0])
        np.testing.assert_allclose(head["kernel"], factor * kernel, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(head["bias"], factor * bias, rtol=1e-4, atol=1e-6)
        old, new = z[known] @ KERNEL, rest @ np.asarray(head["kernel"]) + np.asarray(head["bias"])
        spread = [np.square(x[:, 0] - x[:, 1]).mean() for x in (old, new)]
        assert spread[0] == pytest.approx(spread[1], rel=1e-4)
        np.testing.assert_array_equal(after.batch_stats["norm"]["mean"], np.arange(3.0))
        assert shapes(after) == shapes(state)
