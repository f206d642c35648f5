"""Detection and failures of accelerators, without importing JAX."""

import importlib.util
import os
from pathlib import Path

_NO_MEMORY = ("RESOURCE_EXHAUSTED", "CUDA_ERROR_OUT_OF_MEMORY", "hipErrorOutOfMemory")
_NO_START = (
    "Unable to initialize backend",
    "DNN library initialization failed",
    "CUDNN_STATUS_",
    "CUBLAS_STATUS_",
    "Failed to create cuBLAS handle",
)


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


def device_failure(error: BaseException) -> str | None:
    """What to do about an error of JAX's that an accelerator caused; None = it is another error.

    Two processes on one GPU are the usual cause: each takes three quarters of its memory.
    """
    said = (str(error).splitlines() or [""])[0]
    if not isinstance(error, RuntimeError):
        return None  # JaxRuntimeError is one
    if any(sign in said for sign in _NO_MEMORY):
        return (
            f"the device has no memory left ({said}): end other processes on it (nvidia-smi lists "
            "them), or share it with XLA_PYTHON_CLIENT_MEM_FRACTION=0.4 for each process, or take "
            "a smaller --config.train.batch_size, or JAX_PLATFORMS=cpu"
        )
    if any(sign in said for sign in _NO_START):
        return (
            f"JAX can't start the accelerator ({said}): end other processes on it (nvidia-smi "
            "lists them) or take JAX_PLATFORMS=cpu; avemo doctor examines the installation"
        )
    return None
