"""That freed memory stays: seen in page faults, in a process of its own."""

import subprocess
import sys

import pytest

# 64 MB in a thread, as XLA has it, written and freed again and again, by itself or at the start of
# a larger piece; not by NumPy, which asks for huge pages.
PROGRAM = """
import ctypes, resource, threading
from jax_avemo.memory import fitting, keep_freed_memory
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.malloc.argtypes = [ctypes.c_size_t]
library.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]
faults = []
def work(size):
    for _ in range(4):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        piece = library.malloc(size)
        library.memset(piece, 1, 2**26)
        library.free(piece)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
def measure(size=2**26):
    thread = threading.Thread(target=work, args=(size,))
    thread.start()
    thread.join()
    print(faults[-1])
"""
FEW = 1000
"""Page faults, of the 16384 that 64 MB are."""


def run(then: str) -> int:
    """Page faults, by a process that goes on with these lines."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM + then], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return int(ran.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="a matter of glibc")
def test_a_large_piece_is_not_mapped_again():
    assert run("keep_freed_memory(); measure()") < FEW
    assert run("keep_freed_memory(); measure(5 * 2**29)") < FEW  # more than an int says


@pytest.mark.skipif(sys.platform != "linux", reason="a matter of glibc")
def test_memory_is_kept_by_a_command_that_ended_well_before(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    failing = """
try:
    with fitting(["train", "--config=a"]):
        raise ValueError
except ValueError:
    measure()
"""
    well = 'with fitting(["train", "--config=a"]): measure()'
    assert run(failing) > FEW
    assert run(well) > FEW
    assert run(well) < FEW
    assert run(well.replace("config=a", "config=b")) > FEW
    assert run("with fitting([]): measure()") > FEW
    assert run(r'with fitting(["\udcff"]): measure()') > FEW  # a name that is not UTF-8


@pytest.mark.skipif(sys.platform != "linux", reason="a matter of glibc")
def test_memory_is_not_kept_for_an_accelerator(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    elsewhere = """
import types
with fitting(["train"]):
    sys.modules["jax"] = types.SimpleNamespace(default_backend=lambda: "BACKEND")
    measure()
"""
    for backend, faults_twice in (("gpu", True), ("cpu", False)):
        program = "import sys" + elsewhere.replace("BACKEND", backend)
        assert run(program) > FEW
        assert (run(program) > FEW) is faults_twice
