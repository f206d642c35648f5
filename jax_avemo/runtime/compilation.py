"""JAX's compilation cache, and the memory mappings of compiled programs."""

import functools
from pathlib import Path

import jax

from jax_avemo.runtime.files import user_cache, why_unwritable
from jax_avemo.runtime.progress import say

PROGRAMS_KEPT = 32
"""Networks whose programs a process keeps: the next fold of a cross-validation takes its first step
after 4 s instead of 56 s (size `cpu`, two busy cores). Their memory mappings may allow fewer
(`make_room_for_programs`)."""
MOST_OF_THE_MAPPINGS = 0.5
"""Share of the memory mappings that Linux allows a process."""


def keep_compiled_programs(folder: str) -> None:
    """Turn on JAX's persistent compilation cache; '' = the user's cache folder.

    Where the folder can't be written, nothing is kept and one note says so.
    """
    place = Path(folder) if folder else user_cache() / "compiled"
    jax.config.update("jax_compilation_cache_dir", str(place) if _writable(place) else None)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


@functools.cache
def _writable(place: Path) -> bool:
    if (reason := why_unwritable(place)) is not None:
        say(
            f"note: {place} can't be written ({reason}), so compiled programs are not kept for "
            "later runs; XDG_CACHE_HOME=FOLDER names another"
        )
    return reason is None


def make_room_for_programs() -> None:
    """Clear JAX's caches when compiled programs take too many of the process's memory mappings.

    XLA's CPU backend maps every kernel by itself: a network that was trained and evaluated takes
    8,000 of the 65,530 mappings that Linux allows, and before long the compiler kills the process
    ("LLVM compilation error: Cannot allocate memory"; seen at the seventh network). They are read
    from disk again.
    """
    try:
        allowed = int(Path("/proc/sys/vm/max_map_count").read_text())
        taken = Path("/proc/self/maps").read_bytes().count(b"\n")
    except OSError:
        return  # not Linux
    if taken > MOST_OF_THE_MAPPINGS * allowed:
        jax.clear_caches()
