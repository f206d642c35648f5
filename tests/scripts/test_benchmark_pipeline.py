"""The benchmark of the input: what it measures and prints."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.slow  # importing PyTorch alone takes seconds
SCRIPT = Path(__file__).parents[2] / "scripts/benchmarks/pipeline.py"


def test_every_stage_is_timed():
    command = [sys.executable, str(SCRIPT), "--repeats", "1", "--no-train", "--json"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    rates = json.loads(ran.stdout)["clips_a_second"]
    assert {"read a clip through TFDS", "the product's input"} <= set(rates)
    assert sum("DataLoader" in name for name in rates) == 2
    assert all(least > 0 for _, least, _ in rates.values())
