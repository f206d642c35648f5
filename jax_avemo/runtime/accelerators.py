"""Whether this machine has an accelerator, found without importing JAX."""

import importlib.util
import os
from pathlib import Path


def accelerator_present() -> bool:
    """Whether JAX would find a GPU or TPU here, told without importing JAX (which takes a second
    and must not start before several hosts have found each other)."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms:
        return any(name not in {"", "cpu"} for name in platforms.split(","))

    def installed(*modules: str) -> bool:
        return any(importlib.util.find_spec(module) for module in modules)

    gpu = any(Path("/dev").glob("nvidia[0-9]*")) and installed(
        "jax_cuda12_plugin", "jax_cuda13_plugin"
    )
    rocm = Path("/dev/kfd").exists() and installed("jax_rocm60_plugin", "jax_rocm7_plugin")
    return gpu or rocm or tpu_present()


def tpu_present() -> bool:
    """Whether JAX would find a TPU here, told likewise."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms and "tpu" not in platforms.split(","):
        return False
    there = any(Path("/dev").glob("accel*")) or Path("/dev/vfio/0").exists()
    return importlib.util.find_spec("libtpu") is not None and there
