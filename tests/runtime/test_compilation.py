"""Traces are read back for what they were made for, and for nothing else."""

import dataclasses
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_avemo import config as settings
from jax_avemo.data.pipeline import LabelIndex
from jax_avemo.runtime import compilation, devices
from jax_avemo.runtime.compilation import kept_trace
from jax_avemo.training import build
from jax_avemo.training.train_state import _programs, example_batch, prepare_state


@pytest.fixture(name="folder")
def _folder(tmp_path):
    before = jax.config.values["jax_compilation_cache_dir"]
    compilation.keep_compiled_programs(str(tmp_path))
    yield tmp_path / "traced"
    jax.config.update("jax_compilation_cache_dir", before)


def run(*given, decided_by: str = "a", name: str = "f"):
    """What a later process would do: its outcome, and how often Python ran the function."""
    ran = []

    def function(tree, key):
        ran.append(True)
        noise = jax.random.normal(key, tree["x"].shape)
        return {"sum": tree["x"] * 2 + noise, "both": (tree["x"].mean(), [tree["n"] + 1])}

    plain = jax.jit(function)(*given)
    ran.clear()
    function.__qualname__ = name
    found = jax.jit(kept_trace(function, decided_by))(*given)
    jax.tree.map(np.testing.assert_array_equal, found, plain)
    return len(ran)


def arguments(rows: int = 3):
    return {"x": jnp.arange(rows, dtype=jnp.float32), "n": jnp.int32(4)}, jax.random.key(5)


def test_a_later_process_does_not_run_the_function(folder):
    assert run(*arguments()) == 1
    assert run(*arguments()) == 0
    assert len(list(folder.iterdir())) == 1


def test_another_setting_shape_type_name_or_source_is_traced_anew(folder, monkeypatch):
    tree, key = arguments()
    assert run(tree, key) == 1
    assert run(tree, key, decided_by="b") == 1
    assert run(tree, key, name="g") == 1
    assert run(*arguments(rows=4)) == 1
    assert run(tree | {"x": tree["x"].astype(jnp.float16)}, key) == 1
    assert run(tree | {"other": tree["x"]}, key) == 1
    monkeypatch.setattr(compilation, "_environment", lambda: "edited")
    assert run(tree, key) == 1
    assert len(list(folder.iterdir())) == 7


def test_the_environment_says_what_the_code_is(monkeypatch, tmp_path):
    def environment() -> str:
        compilation._code.cache_clear()
        return compilation._environment()

    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("one = 1\n")
    monkeypatch.setattr(compilation.jax_avemo, "__file__", str(package / "__init__.py"))
    before = environment()
    assert environment() == before
    jax.config.update("jax_default_matmul_precision", "highest")
    try:
        assert compilation._environment() != before  # an option can change within a process
    finally:
        jax.config.update("jax_default_matmul_precision", None)
    assert compilation._environment() == before
    (package / "__init__.py").write_text("one = 2\n")
    assert environment() != before
    (package / "__init__.py").write_text("one = 1\n")
    monkeypatch.setattr(compilation.metadata, "version", lambda name: "0")
    assert environment() != before
    compilation._code.cache_clear()


@pytest.mark.parametrize("keep", [0, 10, -1])
def test_a_damaged_file_is_traced_anew(folder, keep):
    run(*arguments())
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:keep])
    assert run(*arguments()) == 1
    assert file.read_bytes() == whole


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="Linux tells its mappings")
def test_programs_are_forgotten_before_their_mappings_run_out(monkeypatch):
    def mappings() -> int:
        return Path("/proc/self/maps").read_bytes().count(b"\n")

    def work(x):
        return sum(jnp.sin(k + jnp.sort(x)).sum() for k in range(30))

    function = jax.jit(work)
    jax.clear_caches()
    before = mappings()
    first = function(jnp.arange(8.0))
    compiled = mappings()
    assert compiled > before
    compilation.make_room_for_programs()
    assert function._cache_size() == 1
    monkeypatch.setattr(compilation, "MOST_OF_THE_MAPPINGS", 0.0)
    compilation.make_room_for_programs()
    assert function._cache_size() == 0
    assert mappings() < compiled
    np.testing.assert_array_equal(function(jnp.arange(8.0)), first)


def test_where_programs_are_not_kept_no_trace_is():
    assert not jax.config.values["jax_compilation_cache_dir"]
    assert [run(*arguments()), run(*arguments())] == [1, 1]


def test_a_folder_that_cannot_be_written_costs_only_time(folder):
    folder.write_text("a file where the folder would be")
    assert [run(*arguments()), run(*arguments())] == [1, 1]


def test_the_traces_used_longest_ago_go_first(folder, monkeypatch):
    monkeypatch.setattr(compilation, "TRACES_KEPT", 2)
    for age, name in ((30, "a"), (20, "b")):
        run(*arguments(), decided_by=name)
        newest = max(folder.iterdir(), key=lambda file: file.stat().st_mtime)
        then = newest.stat().st_mtime - 60 * age
        os.utime(newest, (then, then))
    assert run(*arguments(), decided_by="a") == 0  # and is the newest now
    assert run(*arguments(), decided_by="c") == 1
    assert len(list(folder.iterdir())) == 2
    assert [run(*arguments(), decided_by=name) for name in "ab"] == [0, 1]


def test_what_a_kept_trace_makes_can_meet_a_batch_of_all_devices(folder):
    """Without a placement it would be bound to the first device."""
    mesh = devices.data_mesh()
    everywhere = devices.replicated(mesh)
    batch = devices.place_batch(np.arange(4.0, dtype=np.float32), mesh)

    def make(key):
        return {"w": jax.random.normal(key, ())}

    def apply(variables, x):
        return {"y": variables["w"] * x}

    for _ in range(2):  # made, then read
        made = jax.jit(kept_trace(make), out_shardings=everywhere)(jax.random.key(0))
        found = jax.jit(kept_trace(apply), out_shardings=everywhere)(made, batch)
        expected = jax.random.normal(jax.random.key(0), ()) * np.arange(4.0, dtype=np.float32)
        np.testing.assert_allclose(found["y"], expected, rtol=1e-6)
        assert found["y"].sharding.is_fully_replicated
    assert len(list(folder.iterdir())) == 2


@pytest.mark.slow
def test_training_by_kept_traces_is_the_same_to_the_bit(folder):
    config = settings.make_config("x", "tiny", {"train.batch_size": 4})
    index = LabelIndex(tuple("abcd"), tuple("123"))
    model = build.build_model(config, 4, 3)
    mesh = devices.data_mesh()
    assert mesh.size == 2
    schedule = build.Schedule(total_steps=10, warmup_steps=0, steps_between_evaluations=5)
    batch = devices.place_batch(example_batch(config, rows=4), mesh)

    def train():
        _programs.cache_clear()
        state, step = prepare_state(config, model, index, schedule, mesh)
        for _ in range(3):
            state, metrics = step(state, batch, jax.random.key(1))
        return state, metrics

    made = train()
    read = train()
    assert len(list(folder.iterdir())) == 2
    jax.config.update("jax_compilation_cache_dir", None)
    without = train()
    for other in (read, without):
        jax.tree.map(np.testing.assert_array_equal, made, other)
    assert jax.tree.leaves(made[0])[0].sharding.is_fully_replicated


def test_a_network_says_everything_that_decides_what_it_computes():
    model = build.build_model(settings.make_config("x", "cpu"), 8, 12)
    assert "0x" not in repr(model)  # an address would differ from process to process
    fields = [field.name for field in dataclasses.fields(model)]
    hidden = {"parent", "name"}
    assert all(f" {name} = " in repr(model) for name in fields if name not in hidden)
