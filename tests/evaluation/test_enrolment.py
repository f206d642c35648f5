"""The mean of a person's other clips, and the heads of centred embeddings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.tiny_network import MODEL, make_batch, random_variables

from jax_avemo.evaluation.enrolment import make_centred_heads, mean_of_other_clips

SUBJECTS = np.array(["a", "a", "b", "a", "b", "a"])
TAKES = np.array(["1", "1", "2", "3", "4", "5"])


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_all_other_takes_of_the_person_and_never_the_clip_itself():
    z = np.random.default_rng(1).normal(size=(6, 4))
    means = mean_of_other_clips(z, SUBJECTS, TAKES, 9, rng())
    np.testing.assert_allclose(means[0], z[[3, 5]].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(means[1], z[[3, 5]].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(means[3], z[[0, 1, 5]].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(means[2], z[4], atol=1e-6)


def test_one_clip_is_one_of_the_others_at_random():
    z = np.eye(6)
    drawn = [mean_of_other_clips(z, SUBJECTS, TAKES, 1, np.random.default_rng(n)) for n in range(9)]
    chosen = {int(means[3].argmax()) for means in drawn}
    assert chosen == {0, 1, 5}
    assert all((means.sum(axis=1) == 1).all() for means in drawn)


def test_a_person_with_one_take_is_refused():
    with pytest.raises(ValueError, match="subject b has a single take"):
        mean_of_other_clips(np.zeros((3, 2)), SUBJECTS[:3], np.array(["1", "2", "3"]), 1, rng())


def test_the_heads_read_z_less_the_persons_mean_plus_the_mean_of_all():
    model = MODEL.clone(person_centred=True)
    batch = make_batch()
    variables = random_variables(model, batch)
    overall = variables["batch_stats"]["embedding_mean"]["mean"]
    z = np.random.default_rng(2).normal(size=(len(batch["valid"]), len(overall))).astype("float32")
    heads = make_centred_heads(model)
    separate = jax.jit(lambda v, x: model.apply(v, x, train=False, method="separate"))
    plain = separate(variables, jnp.asarray(z))
    probabilities, z_e = heads(variables, z + 3.0, 3.0 + np.tile(overall, (len(z), 1)))
    np.testing.assert_allclose(z_e, plain.emotion_embedding, atol=1e-4)
    logits = np.asarray(plain.emotion_logits, np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)
