"""One flipped bit anywhere in a stored checkpoint is found, or changed nothing that is read."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_avemo.training import checkpoints, checksums

STATE = {
    "params": {"kernel": jnp.arange(600.0).reshape(20, 30) / 7, "empty": jnp.zeros(40)},
    "half": jnp.arange(5, dtype=jnp.bfloat16),
    "step": jnp.int32(3),
}
ABOUT = {"config": {"train.epochs": 4, "pair": (1, 2)}, "validation": {"uar": 0.5}}


@pytest.fixture(scope="module")
def step(tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    with checkpoints.writing(run) as manager:
        checkpoints.save(manager, 3, STATE, ABOUT, 0.5)
    return run / "checkpoints/3"


def test_every_leaf_comes_back_by_name(step):
    found = checksums.read_state(step)
    wanted = checksums.named_leaves(STATE)
    assert set(found) == set(wanted) == {"params/kernel", "params/empty", "half", "step"}
    for name, leaf in wanted.items():
        assert found[name].dtype == leaf.dtype
        np.testing.assert_array_equal(found[name], np.asarray(leaf))
    assert checksums.read_about(step)["config"] == {"train.epochs": 4, "pair": [1, 2]}


def test_one_flipped_bit_in_any_file_is_found_or_without_effect(step, tmp_path, capfd):
    """Every copy has a name of its own: the storage remembers what it read of a path.

    The largest file, which holds the arrays, has bytes that nothing reads: it is hit all over.
    """
    wanted = checksums.named_leaves(STATE)
    about = checksums.read_about(step)
    rng = np.random.default_rng(0)
    files = sorted(path.relative_to(step) for path in step.rglob("*") if path.is_file())
    largest = max(files, key=lambda file: (step / file).stat().st_size)
    found = dict.fromkeys(map(str, files), 0)
    hit = [(file, rng.random()) for file in files]
    hit += [(largest, place) for place in np.linspace(0, 0.99, 7)]
    for number, (file, place) in enumerate(hit):
        copy = tmp_path / str(number)
        shutil.copytree(step, copy)
        data = bytearray((copy / file).read_bytes())
        data[int(place * len(data))] ^= 1 << rng.integers(8)
        (copy / file).write_bytes(data)
        try:
            arrays = checksums.read_state(copy)
            assert checksums.read_about(copy) == about
        except checksums.DamagedError:
            found[str(file)] += 1
            continue
        assert {n: a.tobytes() for n, a in arrays.items()} == {
            n: np.asarray(a).tobytes() for n, a in wanted.items()
        }
    for name in ("about/metadata", "metrics/metrics", "checksums/metadata"):
        assert found[name] == 1, name
    assert found[str(largest)] >= 4
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("name", ["metrics/metrics", "about", "checksums", "state"])
def test_what_is_gone_is_damage(step, tmp_path, name):
    copy = tmp_path / "copy"
    shutil.copytree(step, copy)
    shutil.rmtree(copy / name) if (copy / name).is_dir() else (copy / name).unlink()
    with pytest.raises(checksums.DamagedError):
        checksums.read_state(copy)


def test_sums_tell_types_shapes_and_signs_apart():
    values = [np.zeros(4, np.float32), np.zeros(4, np.int32), np.zeros((2, 2), np.float32)]
    values += [-np.zeros(4, np.float32), np.zeros(5, np.float32), jnp.zeros(4, jnp.bfloat16)]
    sums = [checksums.sums_of(checksums.on_host({"x": value}), {}, {}) for value in values]
    sums = [item["state"]["x"] for item in sums]
    assert len(set(sums)) == len(sums)
    assert checksums.sums_of(checksums.on_host(STATE), ABOUT, {}) == checksums.sums_of(
        jax.tree.map(np.asarray, STATE), dict(reversed(ABOUT.items())), {}
    )
