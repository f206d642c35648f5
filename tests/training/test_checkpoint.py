import jax.numpy as jnp
import numpy as np
import pytest

from jax_avemo.errors import UserError
from jax_avemo.training import checkpoint


def save_all(run, uars):
    manager = checkpoint.open_checkpoints(run)
    for step, uar in enumerate(uars, start=1):
        state = {"weights": jnp.arange(4.0) * step, "step": jnp.int32(step)}
        checkpoint.save(manager, step, state, {"step": step}, uar)
        manager.wait_until_finished()
    return manager


def test_the_best_and_the_latest_are_kept(tmp_path):
    manager = save_all(tmp_path, [0.2, 0.6, 0.4, 0.5])
    assert sorted(manager.all_steps()) == [2, 4]
    assert checkpoint.best_step(manager, tmp_path) == 2


def test_nan_and_unevaluated_never_displace_the_best(tmp_path):
    manager = save_all(tmp_path, [0.2, float("nan"), None])
    assert checkpoint.best_step(manager, tmp_path) == 1
    assert 3 in manager.all_steps()


def test_another_manager_restores_state_and_story(tmp_path):
    save_all(tmp_path, [0.5, 0.1]).close()
    manager = checkpoint.open_checkpoints(tmp_path, read_only=True)
    like = {"weights": jnp.zeros(4), "step": jnp.int32(0)}
    state = checkpoint.restore(manager, 2, like)
    np.testing.assert_array_equal(state["weights"], np.arange(4) * 2)
    assert int(state["step"]) == 2
    assert checkpoint.read_about(manager, 1) == {"step": 1}


def test_a_folder_without_checkpoints_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no checkpoints in"):
        checkpoint.open_checkpoints(tmp_path, read_only=True)
    manager = checkpoint.open_checkpoints(tmp_path)
    with pytest.raises(UserError, match="train it first"):
        checkpoint.best_step(manager, tmp_path)
