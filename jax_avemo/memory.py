"""Whether memory that is freed goes back to the system: in our commands it does not."""

import ctypes

_ARENA_MAX, _TRIM_THRESHOLD, _MMAP_MAX = -8, -1, -4
"""Of <malloc.h>."""


def keep_freed_memory() -> None:
    """Have the C library keep what is freed for whoever asks next; call it before threads start.

    XLA asks for a step's scratch memory anew each time, and glibc maps and unmaps so large a piece:
    at size `cpu` 51,000 page faults a training step, a quarter of its time on 2 cores. Kept, the
    process has the size that it would need again at the next step. Does nothing without glibc.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return
    # Other arenas than the first can't hold pieces so large and would map them all the same.
    library.mallopt(_ARENA_MAX, 1)
    library.mallopt(_MMAP_MAX, 0)
    library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
