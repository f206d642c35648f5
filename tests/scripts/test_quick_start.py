"""README's figures are those of the record."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    path = ROOT / "scripts/experiments/quick_start.py"
    spec = importlib.util.spec_from_file_location("quick_start", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_readme_shows_the_record(script):
    page = script.README.read_text()
    assert script.filled(page, json.loads(script.RECORD.read_text())) == page


def test_the_mean_and_range_are_over_corpora(script):
    rows = [
        {
            "corpus_seed": seed,
            "uar": uar,
            "uar_interval": [uar - 0.1, uar + 0.1],
            "clips": 128,
            "subjects": 8,
            "commit": "abc",
            "minutes": 10,
        }
        for seed, uar in ((1, 0.7), (2, 0.8))
    ]
    text = script.table({"rows": rows})
    assert "mean UAR 75.0 (70.0 to 80.0 over the corpora)" in text
    assert "| 1 | 70.0 (60.0 to 80.0) | 8, 128 |" in text
