"""When training gives up, and which clips it draws how often."""

from collections import Counter

import pytest

from jax_avemo import config as settings
from jax_avemo.runtime.errors import UserError
from jax_avemo.schema import Labels
from jax_avemo.training import train_loop


def test_steps_that_are_not_finite_stop_the_run_once_they_repeat():
    train_loop._stop_if_not_finite({"skipped": train_loop.MOST_SKIPPED - 1}, 400)
    with pytest.raises(
        UserError, match="20 of 400 steps had a loss or gradient that is not finite"
    ):
        train_loop._stop_if_not_finite({"skipped": train_loop.MOST_SKIPPED}, 400)


def test_steps_follow_from_clips_epochs_and_batch():
    config = settings.make_config("x", "cpu", {"train.epochs": 100, "train.batch_size": 16})
    assert train_loop.count_steps(config, 163) == 1019  # 100 * 163 / 16
    assert train_loop.count_steps(config, 0) == 1


def of(*pairs: tuple[str, str]) -> list[Labels]:
    return [Labels(key="", emotion=emotion, subject=subject) for emotion, subject in pairs]


def test_rare_clips_are_drawn_more_often_and_the_rest_stays_in_order():
    stored = of(("x", "a"), ("x", "a"), ("x", "a"), ("y", "a"), ("x", "b"), ("y", "b"))
    drawn = train_loop.drawn_rows(stored, [1, 2, 3, 4, 5])
    times = Counter(drawn)
    assert sorted(times) == [1, 2, 3, 4, 5]
    assert drawn == sorted(drawn)
    # n = 5, P(x) = P(a) = 3/5: 9/5 clips expected of (x, a), which has 2, and so on.
    weights = {1: 2.8 / 3, 2: 2.8 / 3, 3: 2.2 / 2, 4: 2.2 / 2, 5: 1.8 / 2}
    mean = sum(weights.values()) / 5
    for row, weight in weights.items():
        assert abs(times[row] - 8 * weight / mean) <= 1


def test_a_balanced_corpus_is_drawn_as_it_is():
    stored = of(*(("x", "a"), ("y", "a"), ("x", "b"), ("y", "b")) * 2)
    assert train_loop.drawn_rows(stored, list(range(8))) == list(range(8))
