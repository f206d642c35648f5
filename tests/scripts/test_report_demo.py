import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(ROOT / "scripts"))
    spec = importlib.util.spec_from_file_location("report_demo", ROOT / "scripts/report_demo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_readmes_table_is_the_records(script):
    record = json.loads(script.RECORD.read_text())
    assert script.table(record) in (ROOT / "README.md").read_text()
    assert record["synthetic"]
    for parts in record["split"].values():
        people = [set(subjects) for subjects in parts.values()]
        assert sum(map(len, people)) == len(set.union(*people))


def lines(right: dict[str, bool]) -> list[dict]:
    return [
        {
            "key": f"{subject}-{number}",
            "subject": subject,
            "emotion": emotion,
            "predicted": emotion if good or number else "calm",
        }
        for subject, good in right.items()
        for number, emotion in enumerate(("happy", "sad"))
    ]


def test_seeds_are_pooled_and_compared_subject_by_subject(script):
    ours = {1: lines({"01": True, "02": True}), 2: lines({"01": True, "02": True})}
    theirs = {1: lines({"01": True, "02": False}), 2: lines({"01": False, "02": True})}
    rows = script.summarise({"decoupled": ours, "audio_only": theirs})
    assert rows["decoupled"]["uar"] == [1.0, 1.0, 1.0]
    assert rows["decoupled"]["subjects"] == 4
    assert rows["audio_only"]["uar"][0] == pytest.approx(0.75)  # 2 of 4 happy, 4 of 4 sad
    assert rows["audio_only"]["uar_by_seed"] == {"1": 0.75, "2": 0.75}
    difference = rows["audio_only"]["decoupled_minus_this_uar"]
    assert difference["difference"] == pytest.approx(0.25)
    assert difference["low"] <= 0.25 <= difference["high"]


def test_pooling_does_not_depend_on_the_order_of_lines(script):
    made = lines({"01": True, "02": False})
    one, other = script.pool({3: made}), script.pool({3: made[::-1]})
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
