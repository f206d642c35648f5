import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_avemo.runtime.devices import data_mesh, replicated, split_by_rows
from jax_avemo.runtime.errors import UserError
from jax_avemo.training import checkpoints

LIKE = {"weights": jnp.zeros(4), "step": jnp.int32(0)}


def save_all(run, uars):
    manager = checkpoints.open_checkpoints(run)
    for step, uar in enumerate(uars, start=1):
        state = {"weights": jnp.arange(4.0) * step, "step": jnp.int32(step)}
        checkpoints.save(manager, step, state, {"step": step}, uar)
        checkpoints.finish(manager)
    return manager


def test_the_best_and_the_latest_are_kept(tmp_path):
    manager = save_all(tmp_path, [0.2, 0.6, 0.4, 0.5])
    assert sorted(manager.all_steps()) == [2, 4]
    assert checkpoints.best_step(manager, tmp_path) == 2


def test_nan_and_unevaluated_never_displace_the_best(tmp_path):
    manager = save_all(tmp_path, [0.2, float("nan"), None])
    assert checkpoints.best_step(manager, tmp_path) == 1
    assert 3 in manager.all_steps()


def test_another_manager_restores_state_and_story(tmp_path):
    save_all(tmp_path, [0.5, 0.1]).close()
    manager = checkpoints.open_checkpoints(tmp_path, read_only=True)
    state = checkpoints.restore(manager, 2, LIKE)
    np.testing.assert_array_equal(state["weights"], np.arange(4) * 2)
    assert int(state["step"]) == 2
    assert checkpoints.read_about(manager, 1) == {"step": 1}


def test_a_folder_without_checkpoints_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no checkpoints in"):
        checkpoints.open_checkpoints(tmp_path, read_only=True)
    manager = checkpoints.open_checkpoints(tmp_path)
    with pytest.raises(UserError, match="train it first"):
        checkpoints.best_step(manager, tmp_path)


def test_what_is_restored_lies_where_it_is_wanted(tmp_path):
    manager = save_all(tmp_path, [0.5])
    mesh = data_mesh()
    like = {
        "weights": jax.device_put(jnp.zeros(4), split_by_rows(mesh)),
        "step": jax.ShapeDtypeStruct((), jnp.int32, sharding=replicated(mesh)),
    }
    state = checkpoints.restore(manager, 1, like)
    assert {name: leaf.sharding for name, leaf in state.items()} == {
        name: leaf.sharding for name, leaf in like.items()
    }
    np.testing.assert_array_equal(state["weights"], np.arange(4))


def test_another_network_is_one_line(tmp_path):
    manager = save_all(tmp_path, [0.5])
    with pytest.raises(UserError, match="another shape .weights and 0 others"):
        checkpoints.restore(manager, 1, LIKE | {"weights": jnp.zeros(5)})
    with pytest.raises(UserError, match="another shape .more and 0 others"):
        checkpoints.restore(manager, 1, LIKE | {"more": jnp.zeros(5)})


def flip(run, step, file="state"):
    """One bit in the middle of the largest file below `file` of a checkpoint."""
    place = run / "checkpoints" / str(step) / file
    files = [path for path in ([place] if place.is_file() else place.rglob("*")) if path.is_file()]
    path = max(files, key=lambda path: path.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


FILES = ["state", "about/metadata", "metrics/metrics", "checksums/metadata"]


@pytest.mark.parametrize("file", FILES)
def test_training_goes_on_from_the_step_before_and_says_so(tmp_path, capfd, file):
    save_all(tmp_path, [0.6, 0.4]).close()
    flip(tmp_path, 2, file)
    manager = checkpoints.open_checkpoints(tmp_path)
    state = checkpoints.restore_latest(manager, LIKE)
    assert int(state["step"]) == 1
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 1
    assert re.search(
        r"checkpoints/2 is damaged \(.+\) and is deleted; going on from step 1$", said[0]
    )
    assert list(manager.all_steps()) == [1]
    checkpoints.save(manager, 2, state, {"step": 2}, 0.7)  # its step can be made again
    checkpoints.finish(manager)
    assert checkpoints.best_step(manager, tmp_path) == 2


@pytest.mark.parametrize("file", FILES)
def test_reading_is_refused_and_the_whole_step_named(tmp_path, file):
    save_all(tmp_path, [0.4, 0.6, 0.5]).close()
    flip(tmp_path, 2, file)

    def read():
        manager = checkpoints.open_checkpoints(tmp_path, read_only=True)
        step = checkpoints.best_step(manager, tmp_path)
        assert checkpoints.read_about(manager, step) == {"step": 2}
        checkpoints.restore(manager, step, LIKE)

    with pytest.raises(UserError) as caught:
        read()
    message = str(caught.value)
    assert "checkpoints/2 is damaged (" in message
    assert message.endswith(f"step 3 is whole; delete {tmp_path}/checkpoints/2 to use that")
    assert "\n" not in message


def test_when_none_is_whole_nothing_is_deleted(tmp_path):
    save_all(tmp_path, [0.4, 0.3]).close()
    flip(tmp_path, 1)
    flip(tmp_path, 2)
    manager = checkpoints.open_checkpoints(tmp_path)
    with pytest.raises(UserError, match="no other is whole; delete .*checkpoints and train again"):
        checkpoints.restore_latest(manager, LIKE)
    assert sorted(manager.all_steps()) == [1, 2]


def test_without_checkpoints_there_is_nothing_to_go_on_from(tmp_path):
    assert checkpoints.restore_latest(checkpoints.open_checkpoints(tmp_path), LIKE) is None
