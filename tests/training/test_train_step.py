"""The step against plain differentiation of its loss; modality dropout; skipped steps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.batches import small_batch
from support.random_run import TOTAL_STEPS, random_state

from jax_avemo import config as settings
from jax_avemo.objectives import losses
from jax_avemo.runtime import devices
from jax_avemo.training import build
from jax_avemo.training.train_state import build_balancer
from jax_avemo.training.train_step import (
    drop_modalities,
    make_train_step,
    modality_dropout_rate,
    training_programs,
)

SUBJECTS, EMOTIONS = 3, 4
CHANGES = {"train.batch_size": 4, "model.dropout": 0.0, "model.functionals_dropout": 0.0}


@pytest.fixture(scope="module")
def world():
    config = settings.make_config("x", "tiny", CHANGES)
    model = build.build_model(config, EMOTIONS, SUBJECTS)
    batch = small_batch(config)
    mesh = devices.data_mesh()
    _, step = training_programs(config, model, TOTAL_STEPS, mesh)
    state = jax.device_put(random_state(config, model), devices.replicated(mesh))
    return config, model, devices.place_batch(batch, mesh), state, step


def copy(state):
    return jax.tree.map(jnp.copy, state)


def test_a_step_moves_every_trained_weight_and_counts(world):
    _, _, batch, state, step = world
    after, metrics = step(copy(state), batch, jax.random.key(0))
    after, _ = step(after, batch, jax.random.key(0))  # the first step's learning rate may be 0
    assert int(after.step) == 2
    assert int(metrics["skipped"]) == 0
    still = [
        jax.tree_util.keystr(path)
        for (path, new), old in zip(
            jax.tree_util.tree_leaves_with_path(after.params),
            jax.tree.leaves(state.params),
            strict=True,
        )
        if np.array_equal(new, old)
    ]
    assert still == []
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), after.batch_stats, state.batch_stats)
    assert all(jax.tree.leaves(moved))
    # Fitted between steps.
    jax.tree.map(np.testing.assert_array_equal, after.erasure, state.erasure)


def test_the_same_key_gives_the_same_step(world):
    _, _, batch, state, step = world
    one, _ = step(copy(state), batch, jax.random.key(3))
    other, _ = step(copy(state), batch, jax.random.key(3))
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, one.params, other.params)))


def test_a_step_that_is_not_finite_changes_nothing_but_the_counters(world):
    _, _, batch, state, step = world
    broken = dict(batch) | {"audio": jnp.full_like(batch["audio"], jnp.nan)}
    after, metrics = step(copy(state), broken, jax.random.key(0))
    assert int(metrics["skipped"]) == 1
    assert int(after.step) == 1
    for name in ("params", "batch_stats", "ema_params", "opt_state", "balancer_state", "erasure"):
        same = jax.tree.map(np.array_equal, getattr(after, name), getattr(state, name))
        assert all(jax.tree.leaves(same)), name


@pytest.mark.slow
def test_one_pass_gives_the_gradient_of_the_whole_loss(world):
    """Plain SGD through the step equals differentiating the sum of all terms at once."""
    _, model, batch, state, _ = world
    changes = {"train.modality_dropout": 0.0, "objective.identity_gradient_scale": 1.0}
    config = settings.make_config("x", "tiny", CHANGES | changes)
    objective = config.objective
    balancer = build_balancer(config, model)
    step = jax.jit(make_train_step(model, optax.sgd(1.0), balancer, config, 10))
    start = state.replace(
        step=jnp.int32(4),
        opt_state=optax.sgd(1.0).init(state.params),
        balancer_state=balancer.init(),
    )
    after, metrics = step(start, batch, jax.random.key(0))
    weights = {task: metrics[f"weight/{task}"] for task in ("emotion", "identity")}
    reversal = objective.reversal_strength * losses.reversal_schedule(4 / 10)
    valid, emotion, subject = batch["valid"], batch["emotion"], batch["subject"]

    def whole(params):
        out, _ = model.apply(
            {"params": params, "batch_stats": state.batch_stats},
            batch,
            train=True,
            reversal_strength=reversal,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(9)},
        )
        smooth = objective.label_smoothing
        entropy = losses.softmax_cross_entropy
        return (
            weights["emotion"] * entropy(out.decoupled.emotion_logits, emotion, valid, smooth)
            + weights["identity"] * entropy(out.decoupled.identity_logits, subject, valid)
            + objective.orthogonality_weight
            * losses.orthogonality(
                out.decoupled.emotion_embedding, out.decoupled.identity_embedding, valid
            )
            + entropy(out.decoupled.adversary_identity_logits, subject, valid)
            + entropy(out.decoupled.adversary_emotion_logits, emotion, valid)
            + objective.auxiliary_weight
            * entropy(out.fused.video_logits, emotion, valid & out.fused.video_available, smooth)
            + objective.auxiliary_weight
            * entropy(out.fused.audio_logits, emotion, valid & out.fused.audio_available, smooth)
        )

    expected = jax.jit(jax.grad(whole))(state.params)
    got = jax.tree.map(lambda old, new: old - new, state.params, after.params)
    scale = float(optax.global_norm(expected))
    for want, have in zip(jax.tree.leaves(expected), jax.tree.leaves(got), strict=True):
        np.testing.assert_allclose(have, want, atol=2e-5 * scale, rtol=2e-3)


def test_modality_dropout_never_takes_both_and_never_the_only_one():
    rows = 4000
    video = jnp.arange(rows) % 4 != 0
    audio = jnp.arange(rows) % 4 != 1
    left_video, left_audio = drop_modalities(jax.random.key(0), 0.4, video, audio)
    assert (left_video | left_audio).all()
    assert (left_video <= video).all()
    only_one = np.asarray(video ^ audio)
    np.testing.assert_array_equal(np.asarray(left_video)[only_one], np.asarray(video)[only_one])
    both = ~only_one
    assert abs(float((~left_video)[both].mean()) - 0.2) < 0.03
    assert abs(float((~left_audio)[both].mean()) - 0.2) < 0.03


def test_a_modality_that_stands_alone_is_never_dropped():
    config = settings.make_config("x", "cpu", {"train.modality_dropout": 0.4})
    assert modality_dropout_rate(config) == 0.4
    settings.apply_override(config, "model.modalities=audio")
    assert modality_dropout_rate(config) == 0.0
