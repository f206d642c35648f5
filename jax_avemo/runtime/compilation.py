"""Which programs outlive a process: what XLA compiled, and what JAX traced to have it compiled."""

import functools
import hashlib
import os
import platform
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
from jax import export

import jax_avemo
from jax_avemo.runtime.files import write_atomic

PROGRAMS_KEPT = 32
"""Of how many networks a process keeps the programs at most: a cross-validation comes back to
each. Their memory mappings may allow fewer (`make_room_for_programs`)."""
MOST_OF_THE_MAPPINGS = 0.5
"""Which share of the memory mappings that Linux allows a process its programs may take."""
TRACES_KEPT = 100
"""On disk, a megabyte each; those used longest ago go first."""
_TRACED_BY = ("jax", "jaxlib", "flax", "optax", "numpy", "jaxtyping")
_DIGEST_BYTES = 32


def keep_compiled_programs(folder: str) -> None:
    """Turn on JAX's persistent compilation cache; '' = the user's cache folder.

    What `kept_trace` traces is kept below it.
    """
    if not folder:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = str(home / "jax_avemo" / "compiled")
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def make_room_for_programs() -> None:
    """Forget all compiled programs when they take too many of this process's memory mappings.

    XLA's CPU backend maps every kernel by itself: a network that was trained and evaluated takes
    8,000 of the 65,530 mappings that Linux allows, and before long the compiler kills the process
    ("LLVM compilation error: Cannot allocate memory"; seen at the seventh network). What is
    forgotten is read from disk again.
    """
    try:
        allowed = int(Path("/proc/sys/vm/max_map_count").read_text())
        taken = Path("/proc/self/maps").read_bytes().count(b"\n")
    except OSError:
        return  # not Linux
    if taken > MOST_OF_THE_MAPPINGS * allowed:
        jax.clear_caches()


def kept_trace(function: Callable[..., Any], *decided_by: object) -> Callable[..., Any]:
    """`function`, for `jax.jit`: later processes read what this one traced.

    Tracing a training step runs the whole network's Python, on one core: half of the time to the
    first step of a run whose programs are compiled. Its outcome, a StableHLO module of
    `jax.export`, is kept instead, under everything that it depends on. No trace is kept where
    programs are not (`keep_compiled_programs`).

    Args:
      function: of any trees of arrays; what it returns is made of dict, list, tuple and None.
      decided_by: everything but the code and the arguments' shapes that decides what `function`
        computes, with a `repr` that says all of it.
    """

    def traced(*arguments: Any) -> Any:
        folder = jax.config.values["jax_compilation_cache_dir"]
        if not folder:
            return function(*arguments)
        leaves, structure = jax.tree.flatten(arguments)
        shapes = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]
        named = (function.__qualname__, *decided_by, structure, shapes, _environment())
        name = hashlib.sha256("\0".join(map(repr, named)).encode()).hexdigest()
        path = Path(folder) / "traced" / name
        if (program := _read(path)) is None:
            exported = export.export(
                jax.jit(lambda *x: function(*jax.tree.unflatten(structure, x)))
            )
            program = bytes(exported(*shapes).serialize())
            _write(path, program)
        # Read back even where it was just made, so that every run computes by the same module.
        return export.deserialize(bytearray(program)).call(*leaves)

    return traced


def _environment() -> str:
    """Versions, options and sources that a trace depends on."""
    options = [item for item in sorted(jax.config.values.items()) if "cache" not in item[0]]
    return repr((_code(), options, jax.default_backend()))


@functools.cache
def _code() -> tuple[str, ...]:
    """What does not change while a process runs: this package's sources, others' versions."""
    source = hashlib.sha256()
    package = Path(jax_avemo.__file__).parent
    for file in sorted(package.rglob("*.py")):
        source.update(str(file.relative_to(package)).encode() + b"\0" + file.read_bytes())
    return source.hexdigest(), platform.python_version(), *map(metadata.version, _TRACED_BY)


def _read(path: Path) -> bytes | None:
    """A kept trace; None: there is none, or it is damaged."""
    try:
        data = path.read_bytes()
        path.touch()  # what is used stays
    except OSError:
        return None
    digest, program = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    return program if hashlib.sha256(program).digest() == digest else None


def _write(path: Path, program: bytes) -> None:
    """Keep a trace, and no more of them than `TRACES_KEPT`."""
    try:
        write_atomic(path, hashlib.sha256(program).digest() + program)
        kept = sorted(path.parent.iterdir(), key=lambda file: file.stat().st_mtime, reverse=True)
        for old in kept[TRACES_KEPT:]:
            old.unlink()
    except OSError:
        pass  # a full disk or another process at the same; the next run traces again
