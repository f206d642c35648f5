"""Memory allocation of a process that computes on a CPU."""

import ctypes

import jax

from jax_avemo.runtime.accelerators import accelerator_present

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Of <malloc.h>."""
_NEVER = -1
"""No number would do: a step of 224 px frees more than the largest one, 2 GB."""


def keep_freed_memory() -> None:
    """Have the C library keep what is freed for whoever asks next; call it before JAX computes.

    XLA asks for a step's scratch memory anew each time, and glibc maps and unmaps so large a piece:
    at size `cpu` 50,000 page faults a training step, a seventh of its time on 2 cores. Kept, the
    process has the size that it would need again at the next step. Only the main thread's arena
    holds pieces so large, so JAX computes in the thread that asks for it, not in one of its own.

    Nothing is done where an accelerator computes (its memory is its own) or without glibc.
    """
    library = ctypes.CDLL(None)
    if accelerator_present() or not hasattr(library, "mallopt"):
        return
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    library.mallopt(_MMAP_MAX, 0)
    library.mallopt(_TRIM_THRESHOLD, _NEVER)
