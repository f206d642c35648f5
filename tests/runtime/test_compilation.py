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
