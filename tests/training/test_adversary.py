"""The adversaries' own updates: against a plain loop, inside the step, and what they are for."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_step import small_batch

from jax_avemo import config as settings
from jax_avemo.data.pipeline import LabelIndex
from jax_avemo.objectives import losses
from jax_avemo.training import build, devices
from jax_avemo.training.adversary import NAMES, adversaries_of, respond
from jax_avemo.training.state import describe_state, prepare_state
from jax_avemo.training.step import make_train_step, tasks

EMOTIONS, SUBJECTS, STEPS, RATE = 4, 3, 4, 0.02
INDEX = LabelIndex(tuple("abcd"), tuple("123"))
SMALL = {"train.batch_size": 4, "model.dropout": 0.0, "train.modality_dropout": 0.0}
SEVERAL = {"objective.adversary_steps": STEPS, "objective.adversary_learning_rate": RATE}


def prepared(changes):
    config = settings.make_config("x", "tiny", SMALL | changes)
    model = build.build_model(config, EMOTIONS, SUBJECTS)
    schedule = build.Schedule(total_steps=10, warmup_steps=0, steps_between_evaluations=5)
    return config, model, *prepare_state(config, model, INDEX, schedule, devices.data_mesh())


@pytest.fixture(scope="module")
def batch():
    batch = small_batch(settings.make_config("x", "tiny", SMALL))
    batch["valid"][1] = False
    return devices.place_batch(batch, devices.data_mesh())


@pytest.fixture(scope="module")
def world():
    return prepared(SEVERAL)


def copy(state):
    return jax.tree.map(jnp.copy, state)


def same(one, other) -> bool:
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, one, other)))


def test_every_update_is_adams_on_the_loss_and_all_else_stays():
    """Against a plain loop over optax, over two calls, so that the memory goes on."""
    rng = np.random.default_rng(0)
    params = {name: {"w": jnp.asarray(rng.normal(size=(3, 2)), jnp.float32)} for name in NAMES}
    params["emotion_encoder"] = {"w": jnp.ones(2)}
    optimizer = optax.adam(0.1)

    def loss(adversaries):
        first, second = (adversaries[name]["w"] for name in NAMES)
        return jnp.sum(jnp.square(first - 1.0)) + jnp.sum(jnp.cos(second))

    expected = adversaries_of(params)
    memory = optimizer.init(expected)
    got, got_memory = params, memory
    for count in (3, 2):
        got, got_memory = respond(loss, got, optimizer, got_memory, count)
    for _ in range(5):
        moves, memory = optimizer.update(jax.grad(loss)(expected), memory)
        expected = optax.apply_updates(expected, moves)
    assert same(got["emotion_encoder"], params["emotion_encoder"])
    assert got.keys() == params.keys()
    for have, want in zip(
        jax.tree.leaves((adversaries_of(got), got_memory)),
        jax.tree.leaves((expected, memory)),
        strict=True,
    ):
        np.testing.assert_allclose(have, want, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_step_goes_ahead_with_the_adversaries_and_then_moves_all(world, batch):
    """Plain SGD: the step of one, taken where a hand-written loop left the adversaries."""
    config, model, state, _ = world
    objective = build.build_objective(config, 10)
    balancer = build.build_balancer(config, EMOTIONS, SUBJECTS)
    start = state.replace(
        step=jnp.int32(4),
        optimizer=optax.sgd(1.0).init(state.params),
        balancer=balancer.init(tasks(objective)),
    )
    step = jax.jit(make_train_step(model, optax.sgd(1.0), balancer, objective))
    once = type(objective)(**(vars(objective) | {"adversary_steps": 1}))
    step_of_one = jax.jit(make_train_step(model, optax.sgd(1.0), balancer, once))
    after, metrics = step(start, batch, jax.random.key(0))

    out, _ = jax.jit(
        lambda params: model.apply(
            {"params": params, "batch_stats": state.batch_stats},
            batch,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(9)},
        )
    )(state.params)

    @jax.jit
    @jax.grad
    def gradient(adversaries):
        identity = model.apply(
            {"params": adversaries},
            out.emotion_embedding,
            batch["emotion"],
            method=lambda m, z, y: m.identity_adversary(z, y),
        )
        emotion = model.apply(
            {"params": adversaries},
            out.identity_embedding,
            batch["subject"],
            method=lambda m, z, y: m.emotion_adversary(z, y),
        )
        entropy = losses.softmax_cross_entropy
        return entropy(identity, batch["subject"], batch["valid"]) + entropy(
            emotion, batch["emotion"], batch["valid"]
        )

    adam = optax.adam(RATE)
    ahead = adversaries_of(state.params)
    memory = adam.init(ahead)
    for _ in range(STEPS - 1):
        moves, memory = adam.update(gradient(ahead), memory)
        ahead = optax.apply_updates(ahead, moves)
    begun = start.replace(params={**state.params, **ahead})
    expected, expected_metrics = step_of_one(begun, batch, jax.random.key(0))
    for have, want in zip(
        jax.tree.leaves((after.params, after.adversary_optimizer, metrics)),
        jax.tree.leaves((expected.params, memory, expected_metrics)),
        strict=True,
    ):
        np.testing.assert_allclose(have, want, rtol=2e-3, atol=2e-5)
    before, _ = step_of_one(start, batch, jax.random.key(0))
    assert not np.allclose(
        before.params["emotion_encoder"]["output"]["kernel"],
        after.params["emotion_encoder"]["output"]["kernel"],
        rtol=1e-3,
        atol=1e-6,
    )


@pytest.mark.slow
def test_steps_go_on_from_a_copy_to_the_bit_and_skip_what_is_not_finite(world, batch):
    _, _, state, step = world
    key = jax.random.key(0)
    one, _ = step(copy(state), batch, key)
    saved = jax.tree.map(np.asarray, one)
    moved = jax.tree.leaves(saved.adversary_optimizer)
    assert int(moved[0]) == STEPS - 1
    assert all(np.any(leaf) for leaf in moved)
    broken = dict(batch) | {"audio": jnp.full_like(batch["audio"], jnp.nan)}
    after, metrics = step(copy(one), broken, key)
    assert int(metrics["skipped"]) == 1
    assert same(after.replace(step=one.step, skipped=one.skipped), saved)
    two, _ = step(one, batch, key)
    resumed = jax.device_put(saved, devices.replicated(devices.data_mesh()))
    again, _ = step(resumed, batch, key)
    assert same(two, again)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        SEVERAL | {"objective.coupling": "hsic"},
        SEVERAL | {"model.decouple": False},
    ],
)
def test_where_none_goes_ahead_there_is_nothing_to_remember(changes):
    """So checkpoints have the leaves they always had."""
    config = settings.make_config("x", "tiny", SMALL | changes)
    assert build.build_objective(config, 10).adversary_optimizer is None


def test_one_step_leaves_the_state_without_memory():
    config = settings.make_config("x", "tiny", SMALL)
    model = build.build_model(config, EMOTIONS, SUBJECTS)
    schedule = build.Schedule(total_steps=10, warmup_steps=0, steps_between_evaluations=5)
    state = describe_state(config, model, INDEX, schedule, devices.data_mesh())
    assert state.adversary_optimizer == ()
    names = [jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_leaves_with_path(state)]
    assert not [name for name in names if "adversary_optimizer" in name]
