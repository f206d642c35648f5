"""That freed memory stays: seen in page faults, in a process of its own."""

import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

# XLA's scratch memory and its result, 64 MB each, which small pages are faulted in for one by one.
PROGRAM = """
import resource
import jax
from jax_avemo.runtime.memory import keep_freed_memory
SETUP
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
x = jax.numpy.arange(2**24, dtype="float32")
double = jax.jit(lambda x: jax.numpy.cumsum(x[::-1])[::-1] * 2)
for _ in range(12):
    before = faults()
    jax.block_until_ready(double(x))
    print(faults() - before)
"""
FEW = 1000
"""Page faults, of the 16384 that 64 MB are."""
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
SMALL_PAGES = not HUGE_PAGES.exists() or "[always]" not in HUGE_PAGES.read_text()
# The first 64 MB of a piece that is larger than an int says.
LARGE = """
import ctypes, resource
from jax_avemo.runtime.memory import keep_freed_memory
keep_freed_memory()
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.malloc.argtypes = [ctypes.c_size_t]
library.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]
for _ in range(12):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    piece = library.malloc(5 * 2**29)
    library.memset(piece, 1, 2**26)
    library.free(piece)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(setup: str, program: str = PROGRAM) -> int:
    """Page faults of a computation that was done before: the median of twelve.

    A small request may cut a piece from what is kept; the next computation that no longer finds
    room there takes one new piece, with its faults. That happens once or twice, at any of the
    first computations.
    """
    program = program.replace("SETUP", setup)
    # The tests' flags make programs quick to compile and slow to run.
    optimised = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    ran = subprocess.run(
        [sys.executable, "-c", program], env=optimised, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    return int(statistics.median(map(int, ran.stdout.split())))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a matter of glibc")
def test_what_a_computation_frees_is_kept_for_the_next(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert faults("keep_freed_memory()") < FEW
    if SMALL_PAGES:
        assert faults("") > FEW


@pytest.mark.skipif(sys.platform != "linux", reason="a matter of glibc")
def test_however_large_a_piece_is_it_is_kept(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert faults("", LARGE) < FEW


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a matter of glibc")
def test_memory_is_not_kept_beside_an_accelerator(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    elsewhere = """
from jax_avemo.runtime import memory
memory.accelerator_present = lambda: True
keep_freed_memory()
"""
    if SMALL_PAGES:
        assert faults(elsewhere) > FEW


COMMANDS = """
import sys
from jax._src import xla_bridge
from jax_avemo import cli, main
from jax_avemo.runtime import memory
class Called(BaseException):
    pass
def called():
    raise Called
memory.keep_freed_memory = called
for function, words in (
    (main.main, ["--config=configs/decoupled.py:tiny", "--workdir", sys.argv[1]]),
    (cli.main, ["train", "--config=configs/decoupled.py:tiny", "--workdir", sys.argv[1]]),
    (cli.main, ["evaluate", sys.argv[1]]),
    (cli.main, ["predict", "--run", sys.argv[1], "film.mp4"]),
):
    try:
        function(words)
    except Called:
        print(xla_bridge.backends_are_initialized())
"""


def test_training_evaluation_and_prediction_ask_for_it_before_jax_computes(tmp_path):
    command = [sys.executable, "-c", COMMANDS, str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["False"] * 4
