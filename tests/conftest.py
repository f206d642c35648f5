"""What every test stands on: two fake CPU devices, checked shapes, no silent rank promotion."""

import os

os.environ["JAX_PLATFORMS"] = os.environ.get("JAX_AVEMO_TEST_PLATFORM", "cpu")
# Compiling, not running, is what the tests cost: no optimisation halves it.
QUICK_TO_COMPILE = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        QUICK_TO_COMPILE,
        "--xla_force_host_platform_device_count=2",
    ]
).strip()
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")

from jaxtyping import install_import_hook  # noqa: E402

install_import_hook("jax_avemo", "shape_checks.typechecker")
