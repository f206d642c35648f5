"""Erasure in closed form: its guarantee, that it changes least, what it leaves; and the head."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from jax_avemo.erasure.fit import discriminant_head, erasing_projection

D = 12


def people(seed: int = 0, clips: int = 300, confound: float = 0.0):
    """Embeddings = what is felt + who feels it + noise; 4 subjects, 3 emotions."""
    rng = np.random.default_rng(seed)
    subjects = rng.integers(0, 4, clips)
    own = rng.random(clips) < confound  # of an emotion that is the subject's own
    emotions = np.where(own, subjects % 3, rng.integers(0, 3, clips))
    of_subject, of_emotion = rng.normal(size=(4, D)), rng.normal(size=(3, D))
    scale = np.geomspace(0.3, 3, D)
    z = of_subject[subjects] + of_emotion[emotions] + scale * rng.normal(size=(clips, D))
    return z, subjects, emotions, of_subject, of_emotion


def within(x, groups):
    return np.stack([row - x[groups == g].mean(axis=0) for row, g in zip(x, groups, strict=True)])


def erased(z, subjects, emotions, **options):
    mean, projection = erasing_projection(z, subjects, emotions, permutations=0, **options)
    return z - (z - mean) @ projection.T


def told(z, subjects, emotions) -> float:
    """Share of the subject's variance, given the emotion, that least squares explains."""
    x, s = within(z, emotions), within(np.eye(4)[subjects], emotions)
    fit, *_ = np.linalg.lstsq(x, s, rcond=None)
    return float(1 - np.sum((s - x @ fit) ** 2) / np.sum(s**2))


@pytest.mark.parametrize("confound", [0.0, 0.8])
@pytest.mark.parametrize("shrinkage", [0.0, 0.05, 0.5])
def test_nothing_linear_is_told_of_the_subject_beyond_the_emotion(confound, shrinkage):
    z, subjects, emotions, *_ = people(confound=confound)
    assert told(z, subjects, emotions) > 0.3
    rest = erased(z, subjects, emotions, shrinkage=shrinkage)
    assert told(rest, subjects, emotions) == pytest.approx(0, abs=1e-9)


def test_it_is_a_projection_that_takes_one_direction_less_than_there_are_subjects():
    z, subjects, emotions, *_ = people()
    mean, projection = erasing_projection(z, subjects, emotions, permutations=0)
    np.testing.assert_allclose(projection @ projection, projection, atol=1e-9)
    assert np.linalg.matrix_rank(projection, tol=1e-6) == 3
    np.testing.assert_allclose(mean, z.mean(axis=0))


def test_no_other_map_that_erases_as_much_changes_less():
    """Among all affine maps with (A X)^T S = 0, tr((I - A) C (I - A)^T C^-1) is smallest."""
    z, subjects, emotions, *_ = people()
    _, projection = erasing_projection(z, subjects, emotions, shrinkage=0.0, permutations=0)
    x, s = within(z, emotions), within(np.eye(4)[subjects], emotions)
    covariance = x.T @ x / len(x)
    inverse = np.linalg.inv(covariance)

    def change(p):
        return np.trace(p @ covariance @ p.T @ inverse)

    null = np.linalg.svd((x.T @ s).T)[2][3:]  # maps whose rows lie here leave X^T S alone
    rng = np.random.default_rng(1)
    for _ in range(20):
        other = projection + 0.1 * rng.normal(size=(D, len(null))) @ null
        np.testing.assert_allclose((np.eye(D) - other) @ x.T @ s, 0, atol=1e-8)
        assert change(projection) < change(other)


def test_where_emotion_and_subject_depend_on_each_other_emotion_stays():
    """One mean for all would erase it: the difference between subjects is then also of emotion."""
    z, subjects, emotions, _, of_emotion = people(confound=0.9, clips=2000)
    apart = of_emotion - of_emotion.mean(axis=0)

    def kept(projection):
        return np.linalg.norm(apart @ (np.eye(D) - projection).T) / np.linalg.norm(apart)

    _, given_emotion = erasing_projection(z, subjects, emotions)
    _, one_mean = erasing_projection(z, subjects, np.zeros(len(z)))
    assert kept(given_emotion) > 0.95
    assert kept(one_mean) < 0.8


def test_people_who_were_not_there_are_harder_to_tell_apart_where_people_differ_alike():
    rng = np.random.default_rng(2)
    ways = rng.normal(size=(3, D))  # people differ in three ways
    traits = rng.normal(size=(40, 3))
    subjects = np.repeat(np.arange(40), 20)
    emotions = np.tile(np.arange(4), 200)
    z = 2 * traits[subjects] @ ways + rng.normal(size=(800, D))
    known = subjects < 6
    mean, projection = erasing_projection(z[known], subjects[known], emotions[known])
    spread = np.stack([z[subjects == s].mean(axis=0) for s in range(6, 40)])
    rest = spread - (spread - mean) @ projection.T
    assert rest.var(axis=0).sum() < 0.2 * spread.var(axis=0).sum()


@pytest.mark.parametrize("ways", [0, 1, 3])
def test_only_what_tells_more_than_chance_goes(ways):
    """Ten people who differ in so many ways, of twelve directions."""
    rng = np.random.default_rng(4)
    subjects, emotions = np.tile(np.arange(10), 30), np.repeat(np.arange(5), 60)
    apart = rng.normal(size=(10, ways)) @ np.linalg.qr(rng.normal(size=(D, D)))[0][:ways]
    z = 3 * apart[subjects] + rng.normal(size=(5, D))[emotions] + rng.normal(size=(300, D))
    _, projection = erasing_projection(z, subjects, emotions)
    assert np.linalg.matrix_rank(projection, tol=1e-6) == ways
    _, all_of_it = erasing_projection(z, subjects, emotions, permutations=0)
    assert np.linalg.matrix_rank(all_of_it, tol=1e-6) == D - 4


@pytest.mark.parametrize(("count", "stay"), [(5, 4), (10, D // 2)])
def test_of_many_people_as_many_directions_stay_as_tell_the_emotions_apart(count, stay):
    rng = np.random.default_rng(3)
    subjects, emotions = np.repeat(np.arange(30), 10), np.tile(np.arange(count), 300 // count)
    z = rng.normal(size=(30, D))[subjects] + rng.normal(size=(300, D))
    _, projection = erasing_projection(z, subjects, emotions)
    assert np.linalg.matrix_rank(projection, tol=1e-6) == D - stay


def test_of_sixty_people_the_person_goes_and_the_emotion_stays():
    rng = np.random.default_rng(5)
    subjects = np.repeat(np.arange(60), 32)
    emotions = np.tile(np.arange(8).repeat(4), 60)
    of_subject, of_emotion = rng.normal(size=(60, 64)), rng.normal(size=(8, 64))
    z = of_subject[subjects] + of_emotion[emotions] + rng.normal(size=(1920, 64))
    mean, projection = erasing_projection(z, subjects, emotions)
    rest = z - (z - mean) @ projection.T

    def nearest_mean(x, labels):
        """Share of every second clip whose label's mean, of the other clips, is the nearest."""
        known, new = x[::2], x[1::2]
        means = [known[labels[::2] == label].mean(axis=0) for label in np.unique(labels)]
        distances = np.square(new[:, None] - np.stack(means)).sum(axis=-1)
        return np.mean(distances.argmin(axis=1) == labels[1::2])

    assert nearest_mean(z, subjects) > 0.9
    assert nearest_mean(rest, subjects) < 0.1
    assert nearest_mean(rest, emotions) > 0.95 * nearest_mean(z, emotions)


@pytest.mark.parametrize("case", ["one subject", "constant", "one clip", "fewer clips than width"])
def test_degenerate_clips_give_finite_maps(case):
    z, subjects, emotions, *_ = people(clips=8)
    if case == "one subject":
        subjects = np.zeros(8)
    elif case == "constant":
        z = np.ones((8, D))
    elif case == "one clip":
        z, subjects, emotions = z[:1], subjects[:1], emotions[:1]
    mean, projection = erasing_projection(z, subjects, emotions)
    assert np.isfinite(mean).all()
    assert np.isfinite(projection).all()
    if case != "fewer clips than width":
        np.testing.assert_array_equal(projection, 0)


class TestDiscriminantHead:
    def test_without_a_ridge_it_is_that_of_scikit_learn(self):
        rng = np.random.default_rng(0)
        labels = np.tile(np.arange(3), 70)  # as frequent: theirs pools with the priors' weights
        z = rng.normal(size=(3, D))[labels] + rng.normal(size=(210, D)) @ rng.normal(size=(D, D))
        kernel, bias = discriminant_head(z, labels, 3, ridge=1e-9)
        theirs = LinearDiscriminantAnalysis(solver="lsqr").fit(z, labels).decision_function(z)
        ours = z @ kernel + bias
        np.testing.assert_allclose(
            ours - ours.mean(axis=1, keepdims=True),
            theirs - theirs.mean(axis=1, keepdims=True),
            atol=1e-5,
        )

    def test_how_often_a_class_came_says_nothing(self):
        rng = np.random.default_rng(1)
        labels = np.r_[np.zeros(1000, int), np.ones(50, int)]
        z = np.where(labels, 1.0, -1.0)[:, None] + rng.normal(size=(1050, 1))
        kernel, bias = discriminant_head(z, labels, 2, ridge=1e-9)
        edge = (bias[0] - bias[1]) / (kernel[0, 1] - kernel[0, 0])
        assert abs(edge) < 0.2  # counting in the sizes it would be 1.5

    def test_a_class_that_never_came_is_never_likely(self):
        rng = np.random.default_rng(2)
        labels = rng.choice([0, 3], 60)
        kernel, bias = discriminant_head(rng.normal(size=(60, D)), labels, 5)
        logits = rng.normal(size=(500, D)) @ kernel + bias
        assert set(logits.argmax(axis=1)) <= {0, 3}
        assert np.isfinite(logits).all()
