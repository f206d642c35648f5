"""Whether memory that is freed goes back to the system: not once a command's programs are kept."""

import ctypes
import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jax_avemo import __version__

_ARENA_MAX, _TRIM_THRESHOLD, _MMAP_MAX = -8, -1, -4
"""Of <malloc.h>."""
_NEVER = -1
"""No number would do: a step of 224 px frees more than the largest one, 2 GB."""


def programs_folder() -> Path:
    """Where compiled programs are kept, below the user's cache folder."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "jax_avemo" / "compiled"


@contextmanager
def fitting(command: Sequence[str]) -> Iterator[None]:
    """Run a command with freed memory kept, if it ended well before; enter before threads start.

    The compiler leaves thousands of free pieces of every size behind. In a single arena the C
    library then walks lists of them for every piece that a step asks for: at size `cpu` a first
    run's step took 304 ms with freed memory kept and 240 ms without, a second run's 210 and 240.
    A command that ended well has left its programs in the cache. That an earlier one did is a
    guess at speed alone: results are the same. On a GPU or TPU there is nothing to gain, as the
    step's memory is its own, and much to lose: the many threads that compile for it share one
    arena's lock (a step of 224 px not compiled after 430 s on 16 cores; 77 s without).
    """
    if not command:
        yield
        return
    words = "\0".join((__version__, *command)).encode(errors="surrogatepass")
    known = programs_folder() / "ended_well" / hashlib.sha256(words).hexdigest()
    if known.exists():
        keep_freed_memory()
    yield
    if not _computes_here():
        return
    try:
        known.parent.mkdir(parents=True, exist_ok=True)
        known.touch()
    except OSError:
        pass  # a cache folder that can't be written keeps no programs either


def _computes_here() -> bool:
    """Whether JAX, where it was asked for anything, computes on the processor."""
    jax = sys.modules.get("jax")
    try:
        return jax is None or jax.default_backend() == "cpu"
    except RuntimeError:  # it was asked for nothing, and its device can't be had
        return False


def keep_freed_memory() -> None:
    """Have the C library keep what is freed for whoever asks next; call it before threads start.

    XLA asks for a step's scratch memory anew each time, and glibc maps and unmaps so large a piece:
    at size `cpu` 52,000 page faults a training step, an eighth of its time on 2 cores. Kept, the
    process has the size that it would need again at the next step. Does nothing without glibc.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return
    # Other arenas than the first can't hold pieces so large and would map them all the same.
    library.mallopt(_ARENA_MAX, 1)
    library.mallopt(_MMAP_MAX, 0)
    library.mallopt(_TRIM_THRESHOLD, _NEVER)
