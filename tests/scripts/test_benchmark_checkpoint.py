"""The benchmark of checkpoints: what it measures and prints."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/benchmarks/checkpoint.py"


@pytest.mark.slow
def test_ours_and_orbax_are_timed_on_every_count_of_devices():
    command = [sys.executable, str(SCRIPT), "--size", "tiny", "--devices", "2", "--json"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    seconds = json.loads(ran.stdout)["seconds"]
    assert set(seconds) == {"ours, 2", "Orbax, 2"}
    for parts in seconds.values():
        assert all(value > 0 for value in parts.values())
        assert parts["first held up"] < parts["first written"]
