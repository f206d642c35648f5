"""That freed memory stays: seen in page faults, in a process of its own."""

import subprocess
import sys

import pytest

# 64 MB in a thread, as XLA has it, written and freed again and again.
PROGRAM = """
import resource, threading
import numpy as np
from jax_avemo.memory import keep_freed_memory
keep_freed_memory()
faults = []
def work():
    for _ in range(4):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        np.ones(2**23)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(faults[-1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a matter of glibc")
def test_a_large_piece_is_not_mapped_again():
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) < 1000  # of 16384 pages
