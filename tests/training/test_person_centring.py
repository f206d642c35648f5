"""Person-centred embeddings against a loop, and the emotion loss that they add to the step."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.batches import small_batch
from support.tiny_network import random_variables

from jax_avemo import config as settings
from jax_avemo.objectives import losses
from jax_avemo.training import build
from jax_avemo.training.objective import TrunkContext, TrunkOutputs, head_losses
from jax_avemo.training.person_centring import mean_of_others
from jax_avemo.training.train_state import example_batch

SUBJECTS = jnp.array([0, 1, 0, -1, 0, 1, 2, -1])
VALID = jnp.array([True, True, True, True, False, True, True, True])


def by_loop(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    means, there = np.zeros_like(z), np.zeros(len(z), bool)
    for row, (subject, valid) in enumerate(zip(SUBJECTS, VALID, strict=True)):
        others = [
            other
            for other in range(len(z))
            if other != row and SUBJECTS[other] == subject and VALID[other]
        ]
        if valid and subject >= 0 and others:
            means[row], there[row] = z[others].mean(axis=0), True
    return means, there


def test_the_mean_is_that_of_the_subjects_other_real_clips():
    z = np.random.default_rng(0).normal(size=(8, 5))
    means, there = mean_of_others(jnp.asarray(z, jnp.float32), SUBJECTS, VALID)
    expected, expected_there = by_loop(z)
    np.testing.assert_array_equal(there, expected_there)
    np.testing.assert_allclose(means, expected, atol=1e-6)
    assert there.tolist() == [True, True, True, False, False, True, False, False]


def test_padding_reaches_neither_means_nor_gradients():
    z = np.random.default_rng(1).normal(size=(8, 5)).astype(np.float32)
    spoilt = jnp.asarray(z).at[4].set(np.inf)

    def total(z):
        return jnp.sum(jnp.sin(mean_of_others(z, SUBJECTS, VALID)[0][:3]))

    np.testing.assert_array_equal(total(spoilt), total(jnp.asarray(z)))
    gradient = jax.grad(total)(spoilt)
    assert np.isfinite(gradient).all()
    # A clip reaches the others of its person, not itself.
    expected = np.zeros_like(z)
    expected[0], expected[2] = np.cos(z[2]), np.cos(z[0])
    expected[[0, 2]] = np.stack([np.cos(z[0]), np.cos(z[2])])
    expected[5] = np.cos(z[5])
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_emotion_loss_is_that_share_of_the_centred_loss(share):
    changes = {
        "train.batch_size": 4,
        "model.dropout": 0.0,
        "model.modalities": ("audio",),
        "model.person_centred": True,
        "objective.person_centred_weight": share,
    }
    config = settings.make_config("x", "tiny", changes)
    model = build.build_model(config, 4, 3)
    variables = random_variables(model, example_batch(config))
    params = variables["params"]
    batch = jax.tree.map(jnp.asarray, small_batch(config)) | {"subject": jnp.array([1, 1, 2, -1])}
    rng = np.random.default_rng(2)
    z = jnp.asarray(rng.normal(size=(4, config.model.fused_width)), jnp.float32)
    mean = jnp.asarray(rng.normal(size=config.model.fused_width), jnp.float32)
    stats = {**variables["batch_stats"], "embedding_mean": {"mean": mean}}
    trunk = TrunkOutputs(z, None, None)
    context = TrunkContext(z, None, None)
    heads = jax.jit(partial(head_losses, model, config.objective))
    values, _ = heads(batch, context, jnp.float32(0.0), jax.random.key(0), stats, params, trunk)

    @jax.jit
    def entropy(embedding):
        found = model.apply({"params": params}, embedding, train=True, method="separate")
        return losses.softmax_cross_entropy(
            found.emotion_logits, batch["emotion"], batch["valid"], config.objective.label_smoothing
        )

    # The first two clips are of one person, the third has no other clip, the last nobody's.
    centred = jnp.stack([z[0] - z[1] + mean, z[1] - z[0] + mean, z[2], z[3]])
    expected = (1 - share) * entropy(z) + share * entropy(centred)
    np.testing.assert_allclose(values.emotion, expected, rtol=1e-5)
