"""What every test stands on: two fake CPU devices, checked shapes, no silent rank promotion."""

import os
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version

os.environ["JAX_PLATFORMS"] = os.environ.get("JAX_AVEMO_TEST_PLATFORM", "cpu")
# Compiling, not running, is what the tests cost: no optimisation halves it, and so do the older
# emitters of fusions. Code in one piece saves a sixth where every core has a worker. The last two
# flags are JAX 0.10's; one that XLA does not know ends the process.
QUICK_TO_COMPILE = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
if tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11):
    QUICK_TO_COMPILE += " --xla_cpu_use_fusion_emitters=false"
    QUICK_TO_COMPILE += " --xla_cpu_parallel_codegen_split_count=1"
FLAGS_BEFORE = os.environ.get("XLA_FLAGS", "")
os.environ["XLA_FLAGS"] = " ".join(
    [FLAGS_BEFORE, QUICK_TO_COMPILE, "--xla_force_host_platform_device_count=2"]
).strip()
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # of pytest and its workers, for this run alone
    programs = tempfile.TemporaryDirectory(prefix="jax_avemo_tests_")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = programs.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"

import hypothesis  # noqa: E402
import pytest  # noqa: E402
import support.shape_checks  # noqa: E402, F401
from jaxtyping import install_import_hook  # noqa: E402

install_import_hook("jax_avemo", "support.shape_checks.typechecker")
# A busy machine is no failure: hypothesis's 200 ms an example are the wall's.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")


def pytest_configure(config: pytest.Config) -> None:
    """With -m gpu JAX takes what it finds and compiles as it does for users."""
    if config.option.markexpr == "gpu":
        assert "jax" not in sys.modules  # it reads the environment once
        os.environ["JAX_PLATFORMS"] = ""
        os.environ["XLA_FLAGS"] = FLAGS_BEFORE


@pytest.fixture(autouse=True)
def _nothing_kept_from_test_to_test() -> Iterator[None]:
    """`load` turns the user's cache on for the process; the next test has this run's again."""
    yield
    if "jax" in sys.modules:
        folder = os.environ["JAX_COMPILATION_CACHE_DIR"]
        sys.modules["jax"].config.update("jax_compilation_cache_dir", folder)
