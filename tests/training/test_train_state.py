"""The erasure of a state: fitted to the training clips, the same however often it is fitted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_avemo.data.pipeline import LabelIndex
from jax_avemo.erasure.fit import discriminant_head, erasing_projection
from jax_avemo.erasure.layer import ErasureState
from jax_avemo.runtime import devices
from jax_avemo.schema import Labels
from jax_avemo.training.train_state import TrainState, evaluated_variables, with_fitted_erasure

D = 6
INDEX = LabelIndex(("x", "y"), ("a", "b", "c", "d"))
RNG = np.random.default_rng(9)
KERNEL = RNG.normal(size=(D, 2))
EMBEDDED = {name: RNG.normal(size=(40, D)).astype(np.float32) for name in ("z_e", "z_i")}
EMBEDDED["z_e"][:, 0] += 5 * (np.arange(40) % 4)  # subjects
EMBEDDED["z_i"][:, 1] += 5 * (np.arange(40) // 20)  # emotions


def state_with(projection, fitted: bool) -> TrainState:
    params = {
        "norm": {"scale": np.arange(3.0)},
        "emotion_head": {"kernel": KERNEL, "bias": np.zeros(2)},
    }
    arrays = {"mean": np.ones(D), "projection": projection}
    erasure = ErasureState(
        layers={"identity_erasure": arrays, "emotion_erasure": arrays},
        emotion_head={"kernel": np.ones((D, 2)), "bias": np.ones(2)},
        fitted=np.bool_(fitted),
    )
    nothing = dict.fromkeys(("step", "params", "opt_state", "balancer_state", "skipped_steps"), ())
    state = TrainState(
        **nothing, batch_stats={"mean": np.arange(3.0)}, ema_params=params, erasure=erasure
    )
    everywhere = devices.replicated(devices.data_mesh())
    return jax.tree.map(
        lambda leaf: jax.device_put(
            jnp.asarray(leaf, bool if leaf.dtype == bool else jnp.float32), everywhere
        ),
        state,
    )


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
def test_earlier_erasures_do_not_matter_and_unknown_clips_are_left_out(before, labels):
    seen = []

    def embed(variables):
        seen.append(jax.device_get(variables))
        return EMBEDDED

    state = state_with(before, fitted=bool(before.any()))
    after = with_fitted_erasure(state, embed, labels, INDEX)
    known = [row for row in range(40) if row not in (3, 7)]
    emotions = np.array([INDEX.emotion(labels[row].emotion) for row in known])
    subjects = np.array([INDEX.subject(labels[row].subject) for row in known])
    for name, layer, own, other in (
        ("z_e", "identity_erasure", emotions, subjects),
        ("z_i", "emotion_erasure", subjects, emotions),
    ):
        np.testing.assert_array_equal(seen[0]["erasure"][layer]["projection"], 0)
        mean, projection = erasing_projection(EMBEDDED[name][known], other, own)
        found = jax.device_get(after.erasure.layers[layer])
        np.testing.assert_allclose(found["mean"], mean, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(found["projection"], projection, rtol=1e-4, atol=1e-6)
        assert np.linalg.matrix_rank(projection, tol=1e-6) >= 1
    z = EMBEDDED["z_e"][known]
    mean, projection = erasing_projection(z, subjects, emotions)
    rest = z - (z - mean) @ projection.T
    kernel, bias = discriminant_head(rest, emotions, 2)
    head = jax.device_get(after.erasure.emotion_head)
    factor = head["kernel"][0, 0] / kernel[0, 0]
    np.testing.assert_allclose(head["kernel"], factor * kernel, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(head["bias"], factor * bias, rtol=1e-3, atol=1e-5)
    trained, fitted = (
        logits.var(axis=1).mean() for logits in (z @ KERNEL, rest @ head["kernel"] + head["bias"])
    )
    assert trained == pytest.approx(fitted, rel=1e-3)
    assert shapes(after) == shapes(state)
    for part in ("ema_params", "batch_stats"):
        jax.tree.map(np.testing.assert_array_equal, getattr(after, part), getattr(state, part))
    variables = evaluated_variables(after)
    jax.tree.map(np.testing.assert_array_equal, variables["params"]["emotion_head"], head)
    assert variables["erasure"] is after.erasure.layers


def test_a_fit_does_not_depend_on_how_often_there_was_one(labels):
    """Between fits the averaged parameters move, as in training, and come back."""
    state = state_with(np.zeros((D, D)), fitted=False)
    once = with_fitted_erasure(state, lambda _: EMBEDDED, labels, INDEX)
    again = once
    for factor in (2.0, 0.5, 1.0):
        moved = jax.tree.map(lambda leaf, f=factor: f * leaf, state.ema_params)
        again = with_fitted_erasure(
            again.replace(ema_params=moved), lambda _: EMBEDDED, labels, INDEX
        )
    jax.tree.map(
        np.testing.assert_array_equal, evaluated_variables(again), evaluated_variables(once)
    )
