"""Who acts what: shares of emotions, favoured emotions, unique names."""

import numpy as np
import pytest

from jax_avemo.runtime.errors import UserError
from jax_avemo.synthetic.plan import emotion_counts, favoured_emotions, plan_corpus

CONFOUNDS = (0.0, 0.3, 0.5, 0.7, 0.9, 1.0)


def test_no_confound_is_the_balanced_grid():
    plan = plan_corpus(3, 2, seed=0)
    cells = {(p.actor, p.emotion, p.statement, p.repetition) for p in plan}
    assert len(plan) == len(cells) == 3 * 8 * 2 * 2
    assert {p.repetition for p in plan} == {1, 2}


@pytest.mark.parametrize("confound", CONFOUNDS)
@pytest.mark.parametrize("takes", [1, 2, 5])
def test_clip_count_and_class_shares_are_the_same_at_every_confound(confound, takes):
    counts = emotion_counts(24, takes, 0, confound)
    assert (counts.sum(axis=0) == 24 * 2 * takes).all()
    assert (counts.sum(axis=1) == 16 * takes).all()
    assert counts.min() >= 1


@pytest.mark.parametrize("actors", [12, 16, 24])
def test_every_emotion_is_favoured_by_at_least_three_actors(actors):
    favoured = favoured_emotions(actors, seed=4)
    assert (favoured[:, 0] != favoured[:, 1]).all()
    assert np.bincount(favoured.ravel(), minlength=8).min() >= 3


@pytest.mark.parametrize("confound", [0.3, 0.5, 0.7, 0.8])
def test_favoured_emotions_hold_the_share_that_the_confound_asks(confound):
    counts = emotion_counts(24, 4, 0, confound)
    favoured = favoured_emotions(24, 0)
    held = np.take_along_axis(counts, favoured, axis=1).sum() / counts.sum()
    # P(favoured) = X + (1 - X) 2 / 8; half a clip of rounding in 64 of one actor, averaged
    assert held == pytest.approx(confound + (1 - confound) / 4, abs=0.02)


def test_first_actors_favour_the_same_whatever_the_number_of_actors():
    assert (favoured_emotions(24, 1)[:8] == favoured_emotions(8, 1)).all()


@pytest.mark.parametrize("confound", CONFOUNDS)
def test_takes_have_different_names_and_statements_are_balanced(confound):
    plan = plan_corpus(8, 3, 0, confound)
    assert len({(p.actor, p.emotion, p.statement, p.repetition) for p in plan}) == len(plan)
    for actor in range(1, 9):
        statements = [p.statement for p in plan if p.actor == actor]
        assert statements.count(1) == statements.count(2)


@pytest.mark.parametrize(
    ("actors", "takes", "seed", "confound", "word"),
    [
        (0, 1, 0, 0.0, "actors"),
        (100, 1, 0, 0.0, "actors"),
        (4, 0, 0, 0.0, "take"),
        (4, 1, -1, 0.0, "seed"),
        (4, 1, 0, 1.5, "confound"),
        (6, 1, 0, 0.5, "multiple of 4"),
        (4, 100, 0, 0.0, "takes"),
    ],
)
def test_impossible_sizes_are_refused_in_one_line(actors, takes, seed, confound, word):
    with pytest.raises(UserError, match=word) as caught:
        plan_corpus(actors, takes, seed, confound)
    assert "\n" not in str(caught.value)
