"""The compilation cache and the memory mappings of compiled programs."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_avemo.runtime import compilation


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


def test_a_home_that_cannot_be_written_costs_the_cache_and_one_note(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    before = jax.config.values["jax_compilation_cache_dir"]
    try:
        for _ in range(2):
            compilation.keep_compiled_programs("")
        assert jax.config.values["jax_compilation_cache_dir"] is None
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"note: {tmp_path}/file/.cache/jax_avemo/compiled can't be written")
        compilation.keep_compiled_programs(str(tmp_path / "cache"))
        assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path / "cache")
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
