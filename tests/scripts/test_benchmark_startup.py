"""The benchmark of the start: what it measures and prints."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/benchmarks/startup.py"


@pytest.mark.slow
def test_help_first_and_later_runs_are_timed():
    command = [sys.executable, str(SCRIPT), "--size", "tiny", "--repeats", "1", "--json"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    seconds = json.loads(ran.stdout)["seconds"]
    assert set(seconds) == {
        "avemo --help",
        "training, nothing compiled",
        "training, a later run",
    }
    for parts in seconds.values():
        assert all(least > 0 for _, least, _ in parts.values())
