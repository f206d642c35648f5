"""Faces side by side are kept apart; one that comes back is known by its place."""

import numpy as np
import pytest
from support.media_files import face_picture

from jax_avemo.media.decoding.container import TimedFrame
from jax_avemo.media.faces.blazeface import FaceDetector
from jax_avemo.media.faces.face_tracks import FaceFollowers


@pytest.fixture(scope="module")
def detector():
    return FaceDetector()


def street(*present: bool, side: int = 128) -> np.ndarray:
    """Places side by side, each with a face or empty."""
    face, empty = face_picture(side), np.full((side, side, 3), 90, np.uint8)
    return np.concatenate([face if there else empty for there in present], axis=1)


def follow(detector, pictures, most=4, rate=5.0) -> FaceFollowers:
    followers = FaceFollowers(48, most, detector)
    for index, picture in enumerate(pictures):
        followers.add(TimedFrame(index / rate, picture))
    return followers


def seen(followers, start=0.0, end=1e9) -> dict[int, int]:
    return {
        face.number: sum(s.placement is not None for s in face.sights if start <= s.time < end)
        for face in followers.between(start, end)
    }


def test_two_faces_are_two_and_stay_where_they_are(detector):
    followers = follow(detector, [street(True, True)] * 6)
    assert seen(followers) == {1: 6, 2: 6}
    for face in followers.between(0, 9):
        middles = [sight.box().reshape(2, 2).mean(0)[0] for sight in face.sights]
        assert np.ptp(middles) < 0.01
    sides = {
        round(face.sights[0].box().reshape(2, 2).mean(0)[0]) for face in followers.between(0, 9)
    }
    assert sides == {0, 1}


def test_a_face_that_enters_later_gets_the_next_number(detector):
    followers = follow(detector, [street(True, False)] * 4 + [street(True, True)] * 6)
    counts = seen(followers)
    assert counts[1] == 10
    assert 3 <= counts[2] <= 6


@pytest.mark.parametrize(("gap_seconds", "numbers"), [(2.0, {1}), (5.0, {1, 2})])
def test_back_in_its_place_soon_it_is_the_same_face_later_a_new_one(detector, gap_seconds, numbers):
    gap = [street(False)] * round(5 * gap_seconds)
    followers = follow(detector, [street(True)] * 3 + gap + [street(True)] * 8)
    assert set(seen(followers)) == numbers


def test_faces_beyond_the_most_are_counted_not_followed(detector):
    followers = follow(detector, [street(True, True)] * 3, most=1)
    assert set(seen(followers)) == {1}
    assert followers.left_out == 1


def test_what_is_forgotten_is_gone(detector):
    followers = follow(detector, [street(True)] * 20)
    followers.forget(3.0)
    assert [len(face.sights) for face in followers.between(0, 9)] == [5]
    assert followers.between(0, 3.0) == []
