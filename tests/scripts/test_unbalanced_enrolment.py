"""Which clips are enrolled for which clip."""

import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts/experiments"
EMOTIONS = np.array([0, 0, 0, 1, 1, 0, 1])
SUBJECTS = np.array(["a", "a", "a", "a", "a", "b", "b"])
TAKES = np.array(["1", "2", "2", "3", "4", "5", "6"])


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(SCRIPTS))
    import unbalanced_enrolment

    return unbalanced_enrolment


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("of any emotion", [[1, 2, 3, 4], [0, 3, 4], [0, 3, 4], [0, 1, 2, 4], [0, 1, 2, 3]]),
        ("of the clip's own emotion", [[1, 2], [0], [0], [4], [3]]),
        ("of other emotions than the clip's", [[3, 4], [3, 4], [3, 4], [0, 1, 2], [0, 1, 2]]),
        ("of sad alone", [[3, 4], [3, 4], [3, 4], [4], [3]]),
    ],
)
def test_clips_of_the_person_that_are_not_of_the_take(script, name, expected):
    allowed = script.choices(EMOTIONS, ("calm", "sad"))[name]
    of_a = SUBJECTS == "a"
    found = script.enrolled(
        SUBJECTS[of_a], TAKES[of_a], lambda clip: allowed(clip)[of_a], np.random.default_rng(0)
    )
    assert [sorted(others.tolist()) for others in found] == expected
