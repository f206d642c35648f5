"""Identity and coupling gradients at z, scaled by `objective.identity_gradient_scale`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.batches import small_batch

from jax_avemo import config as settings
from jax_avemo.data.pipeline import LabelIndex
from jax_avemo.runtime import devices
from jax_avemo.training import build
from jax_avemo.training.train_state import build_balancer
from jax_avemo.training.train_step import make_train_step, prepare_training

pytestmark = pytest.mark.slow  # a compiled step
INDEX = LabelIndex(tuple("abcd"), tuple("123"))
HEADS = (
    "emotion_encoder",
    "emotion_head",
    "identity_encoder",
    "identity_head",
    "identity_adversary",
    "emotion_adversary",
)


@pytest.fixture(scope="module")
def moves():
    """By scale: change of the parameters under plain SGD, metrics, state of the balancer."""
    return {scale: jax.device_get(one_step(scale)) for scale in (0.0, 0.5, 1.0)}


def one_step(scale: float):
    changes = {"train.batch_size": 4, "objective.identity_gradient_scale": scale}
    config = settings.make_config("x", "tiny", changes)
    model = build.build_model(config, len(INDEX.emotions), len(INDEX.subjects))
    state, _ = prepare_training(config, model, 10, devices.data_mesh())
    balancer = build_balancer(config, model)
    state = state.replace(
        step=jnp.int32(4),
        opt_state=optax.sgd(1.0).init(state.params),
        balancer_state=balancer.init(),
    )
    batch = devices.place_batch(small_batch(config), devices.data_mesh())
    step = jax.jit(make_train_step(model, optax.sgd(1.0), balancer, config, 10))
    new, metrics = step(state, batch, jax.random.key(0))
    change = jax.tree.map(jnp.subtract, new.params, state.params)
    return change, metrics, new.balancer_state


def trunk(params):
    return jax.tree.leaves({name: of for name, of in params.items() if name not in HEADS})


def largest(leaves) -> float:
    return max(float(np.abs(leaf).max()) for leaf in leaves)


def test_the_trunk_moves_by_that_share_of_what_identity_and_coupling_ask_for(moves):
    none, half, whole = (trunk(moves[share][0]) for share in (0.0, 0.5, 1.0))
    asked = [b - a for a, b in zip(none, whole, strict=True)]
    assert largest(asked) > 0.1 * largest(whole)
    for got, start, of_identity in zip(half, none, asked, strict=True):
        np.testing.assert_allclose(got, start + 0.5 * of_identity, atol=1e-4 * largest(whole))


@pytest.mark.parametrize("name", HEADS)
def test_the_heads_move_all_the_same(moves, name):
    assert largest(jax.tree.leaves(moves[1.0][0][name])) > 0
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        moves[0.0][0][name],
        moves[1.0][0][name],
    )


def test_losses_and_task_weights_do_not_see_the_share(moves):
    for share in (0.0, 0.5):
        for name, value in moves[1.0][1].items():
            if name != "gradient_norm":
                np.testing.assert_allclose(moves[share][1][name], value, rtol=1e-5, err_msg=name)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7),
            moves[share][2],
            moves[1.0][2],
        )
