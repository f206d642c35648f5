import numpy as np
import pytest

from jax_avemo.evaluation import compare
from jax_avemo.evaluation.predictions import ClipPrediction

EMOTIONS = ("happy", "sad")


def lines(right: dict[str, float], seed: int = 0) -> list[ClipPrediction]:
    """Ten clips of each subject; `right` is the share that is predicted rightly."""
    made = []
    for subject, share in right.items():
        for number in range(10):
            emotion = EMOTIONS[number % 2]
            good = number < round(10 * share)
            predicted = emotion if good else EMOTIONS[1 - number % 2]
            sure = (0.9, 0.1) if predicted == "happy" else (0.1, 0.9)
            made.append(
                ClipPrediction(
                    key=f"{subject}-{number}",
                    subject=subject,
                    sex="male" if int(subject) % 2 else "female",
                    emotion=emotion,
                    predicted=predicted,
                    probabilities=sure,
                )
            )
    return made[::-1] if seed else made


def test_every_subject_is_pooled_once_and_seeds_stand_side_by_side():
    cells = {
        (0, 0): lines({"1": 1.0, "2": 0.5}),
        (1, 0): lines({"3": 0.0}),
        (0, 1): lines({"1": 1.0, "2": 1.0}, seed=1),
        (1, 1): lines({"3": 0.0}, seed=1),
        (0, 2): lines({"1": 0.0, "2": 0.0}),  # its fold 1 is not finished
    }
    pooled = compare.pool(cells, EMOTIONS)
    assert pooled.seeds == (0, 1)
    assert pooled.predicted.shape == (2, 30)
    assert pooled.probabilities.shape == (2, 30, 2)
    assert sorted(set(pooled.subjects)) == ["1", "2", "3"]
    found = compare.summarise(pooled)
    assert found.uar_by_seed == {"0": pytest.approx(0.5), "1": pytest.approx(2 / 3)}
    assert found.uar == pytest.approx((0.5 + 2 / 3) / 2)
    low, high = found.uar_interval
    assert low <= found.uar <= high
    fairness = found.fairness
    assert fairness.uar_by_subject == {"1": 1.0, "2": pytest.approx(0.75), "3": 0.0}
    assert fairness.worst_quartile == 0.0
    assert fairness.uar_by_sex["female"] == pytest.approx(0.75)
    assert np.sum(found.confusion) == pytest.approx(30)


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ({(0, 0): lines({"1": 1}), (1, 1): lines({"2": 1})}, "no seed"),
        ({(0, 0): lines({"1": 1}), (1, 0): lines({"1": 1})}, "two folds"),
        ({(0, 0): lines({"1": 1}), (0, 1): lines({"2": 1})}, "other clips"),
    ],
)
def test_what_does_not_fit_together_is_not_pooled(cells, says):
    with pytest.raises(ValueError, match=says):
        compare.pool(cells, EMOTIONS)


def test_the_same_predictions_do_not_differ_and_better_ones_do():
    people = [str(number) for number in range(1, 9)]
    good = compare.pool({(0, 0): lines(dict.fromkeys(people, 0.8))}, EMOTIONS)
    bad = compare.pool({(0, 0): lines(dict.fromkeys(people, 0.4))}, EMOTIONS)
    same = compare.compare(good, good).uar
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    better = compare.compare(good, bad).uar
    assert better.difference == pytest.approx(0.4)
    assert better.low > 0
    assert better.p_value == pytest.approx(2 / 2**8)  # all 2^8 exchanges are done


def test_only_shared_seeds_and_the_same_clips_are_compared():
    two = compare.pool({(0, 0): lines({"1": 1.0}), (0, 1): lines({"1": 0.0})}, EMOTIONS)
    one = compare.pool({(0, 1): lines({"1": 1.0})}, EMOTIONS)
    found = compare.compare(two, one)
    assert found.seeds == (1,)
    assert found.uar.difference == -1.0
    other = compare.pool({(0, 1): lines({"2": 1.0})}, EMOTIONS)
    with pytest.raises(ValueError, match="different clips"):
        compare.compare(two, other)
