"""The embeddings of the last steps: their order, what the step keeps, and what it does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_step import small_batch

from jax_avemo import config as settings
from jax_avemo.data.pipeline import LabelIndex
from jax_avemo.training import build, devices
from jax_avemo.training.memory_bank import empty_bank, newest, with_batch
from jax_avemo.training.state import describe_state, prepare_state

INDEX = LabelIndex(tuple("abcd"), tuple("123"))
ROWS = 6
RIDGE = {"train.batch_size": 4, "objective.coupling": "ridge", "objective.bank_rows": ROWS}


def prepared(prepare, changes):
    config = settings.make_config("x", "tiny", changes)
    model = build.build_model(config, len(INDEX.emotions), len(INDEX.subjects))
    schedule = build.Schedule(total_steps=10, warmup_steps=0, steps_between_evaluations=5)
    return config, prepare(config, model, INDEX, schedule, devices.data_mesh())


def test_the_newest_rows_stand_first_and_the_oldest_go():
    bank = empty_bank(3, 2)
    assert (bank["subject"] == -1).all()
    for number in (1, 2):
        batch = {
            "z_e": jnp.full((2, 2), 1.0 * number),
            "z_i": jnp.full((2, 2), -1.0 * number),
            "emotion": jnp.full(2, number),
            "subject": jnp.full(2, 10 * number),
        }
        both = with_batch(bank, batch)
        assert both["z_e"].shape == (5, 2)
        bank = newest(both, 3)
    np.testing.assert_array_equal(bank["z_e"][:, 0], [2, 2, 1])
    np.testing.assert_array_equal(bank["z_i"][:, 0], [-2, -2, -1])
    np.testing.assert_array_equal(bank["emotion"], [2, 2, 1])
    np.testing.assert_array_equal(bank["subject"], [20, 20, 10])


@pytest.mark.slow
def test_a_step_remembers_its_batch_and_a_skipped_one_nothing():
    config, (state, step) = prepared(prepare_state, RIDGE)
    batch = small_batch(config)
    batch["valid"][1] = False
    batch = devices.place_batch(batch, devices.data_mesh())
    key = jax.random.key(0)
    emotion, subject = np.array(batch["emotion"]), np.array(batch["subject"])
    state, metrics = step(state, batch, key)
    first = jax.tree.map(np.asarray, state.bank)
    emotion[1] = subject[1] = -1
    np.testing.assert_array_equal(first["emotion"], [*emotion, -1, -1])
    np.testing.assert_array_equal(first["subject"], [*subject, -1, -1])
    assert first["z_e"].shape == (ROWS, config.model.embedding_width)
    assert np.any(first["z_e"][[0, 2, 3]], axis=1).all()
    assert not np.any(first["z_e"][4:])
    assert 0 <= metrics["loss/ridge_identity"] <= 1
    assert 0 <= metrics["loss/ridge_emotion"] <= 1
    assert not [name for name in metrics if name.endswith(("z_e", "z_i"))]

    broken = dict(batch) | {"audio": jnp.full_like(batch["audio"], jnp.nan)}
    state, metrics = step(state, broken, key)
    assert int(metrics["skipped"]) == 1
    jax.tree.map(np.testing.assert_array_equal, state.bank, first)

    state, _ = step(state, batch, key)
    np.testing.assert_array_equal(state.bank["z_e"][4:], first["z_e"][:2])


@pytest.mark.parametrize("changes", [{}, RIDGE | {"model.decouple": False}])
def test_other_couplings_remember_nothing(changes):
    """So checkpoints have the leaves they always had."""
    _, state = prepared(describe_state, changes)
    assert state.bank == ()
