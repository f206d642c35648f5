"""The benchmark of growth: every part runs, each in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/benchmarks/growth.py"


@pytest.mark.slow
def test_every_part_is_timed_at_every_size():
    command = [sys.executable, str(SCRIPT), "--clips", "800", "--clips", "1000", "--json"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert {"split", "verification", "t-SNE"} <= set(found)
    for by_clips in found.values():
        assert list(by_clips) == ["800", "1000"]
        assert all(x["seconds"] > 0 for x in by_clips.values())
