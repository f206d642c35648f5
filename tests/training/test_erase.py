"""Where erasures come from: the training clips' embeddings, as if nothing were erased yet."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_avemo.data.pipeline import LabelIndex
from jax_avemo.erasure.fit import discriminant_head, erasing_projection
from jax_avemo.runtime import devices
from jax_avemo.schema import Labels
from jax_avemo.training.erase import SIDES, with_fitted_erasure
from jax_avemo.training.train_step import TrainState

D = 6
INDEX = LabelIndex(("x", "y"), ("a", "b", "c", "d"))
CLASSES = {"z_e": 2, "z_i": 4}
RNG = np.random.default_rng(9)
KERNELS = {name: RNG.normal(size=(D, classes)) for name, classes in CLASSES.items()}
EMBEDDED = {name: RNG.normal(size=(40, D)).astype(np.float32) for name in CLASSES}
EMBEDDED["z_e"][:, 0] += 5 * (np.arange(40) % 4)  # subjects
EMBEDDED["z_i"][:, 1] += 5 * (np.arange(40) // 20)  # emotions


def state_with(projection) -> TrainState:
    stats, params = {"norm": {"mean": np.arange(3.0)}}, {"weights": 1.0}
    for name, (layer, head) in SIDES.items():
        stats[layer] = {"mean": np.ones(D), "projection": projection}
        params[head] = {"kernel": KERNELS[name], "bias": np.zeros(CLASSES[name])}
    everywhere = devices.replicated(devices.data_mesh())
    stats, params = jax.tree.map(
        lambda leaf: jax.device_put(jnp.asarray(leaf, jnp.float32), everywhere), (stats, params)
    )
    nothing = dict.fromkeys(("step", "params", "optimizer", "balancer", "skipped"), ())
    return TrainState(**nothing, batch_stats=stats, average_params=params)


def shapes(state):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.sharding), state)


@pytest.fixture
def labels() -> list[Labels]:
    pairs = zip(["x"] * 20 + ["y"] * 20, ["a", "b", "c", "d"] * 10, strict=True)
    found = [Labels(key="", emotion=emotion, subject=subject) for emotion, subject in pairs]
    found[3] = Labels(key="", emotion="", subject="d")
    found[7] = Labels(key="", emotion="x", subject="")
    return found


@pytest.mark.parametrize("before", [np.zeros((D, D)), RNG.normal(size=(D, D))])
def test_what_was_erased_before_does_not_matter_and_unknown_clips_are_left_out(before, labels):
    seen = []

    def embed(variables):
        seen.append(jax.device_get(variables))
        return EMBEDDED

    state = state_with(before)
    after = with_fitted_erasure(state, embed, labels, INDEX)
    assert seen[0]["params"]["weights"] == 1
    known = [row for row in range(40) if row not in (3, 7)]
    emotions = np.array([INDEX.emotion(labels[row].emotion) for row in known])
    subjects = np.array([INDEX.subject(labels[row].subject) for row in known])
    for name, own, other in (("z_e", emotions, subjects), ("z_i", subjects, emotions)):
        layer, head = SIDES[name]
        np.testing.assert_array_equal(seen[0]["batch_stats"][layer]["projection"], 0)
        z = EMBEDDED[name][known]
        mean, projection = erasing_projection(z, other, own)
        found = jax.device_get(after.batch_stats[layer])
        np.testing.assert_allclose(found["mean"], mean, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(found["projection"], projection, rtol=1e-4, atol=1e-6)
        assert np.linalg.matrix_rank(projection, tol=1e-6) >= 1
        rest = z - (z - mean) @ projection.T
        kernel, bias = discriminant_head(rest, own, CLASSES[name])
        found = jax.device_get(after.average_params[head])
        factor = found["kernel"][0, 0] / kernel[0, 0]
        np.testing.assert_allclose(found["kernel"], factor * kernel, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(found["bias"], factor * bias, rtol=1e-3, atol=1e-5)
        spread = [
            x.var(axis=1).mean()
            for x in (z @ KERNELS[name], rest @ found["kernel"] + found["bias"])
        ]
        assert spread[0] == pytest.approx(spread[1], rel=1e-3)
    np.testing.assert_array_equal(after.batch_stats["norm"]["mean"], np.arange(3.0))
    assert shapes(after) == shapes(state)
