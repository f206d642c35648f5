"""Faces side by side are kept apart; one that comes back is known by its place and look."""

import numpy as np
import pytest
from support.media_files import face_picture, wall

from jax_avemo.media.decoding.container import TimedFrame
from jax_avemo.media.faces.blazeface import FaceDetector
from jax_avemo.media.faces.face_tracks import FaceFollowers


@pytest.fixture(scope="module")
def detector():
    return FaceDetector()


def street(*present: bool, side: int = 128, face: np.ndarray | None = None) -> np.ndarray:
    """Places side by side before a wall, each with a face or empty."""
    picture = wall(2 * side, side * len(present))
    face = face_picture(side) if face is None else face
    for place, there in enumerate(present):
        if there:
            picture[side // 2 : side // 2 + side, place * side : (place + 1) * side] = face
    return picture


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


def begins(followers) -> dict[int, float]:
    """When each face was seen first, seconds."""
    return {
        face.number: min(s.time for s in face.sights if s.placement is not None)
        for face in followers.between(0, 1e9)
    }


@pytest.mark.parametrize("gap_seconds", [2.0, 5.0, 20.0])
def test_back_in_its_place_it_is_the_same_face(detector, gap_seconds):
    gap = [street(False, False)] * round(5 * gap_seconds)
    there = [street(True, False)]
    followers = follow(detector, there * 3 + gap + there * 12)
    assert set(seen(followers)) == {1}


def test_in_another_place_or_with_another_look_it_is_a_new_one(detector):
    gap, there = [street(False, False)] * 20, [street(True, False)] * 3
    tinted = np.clip(face_picture() * (0.45, 0.8, 1.3), 0, 255).astype(np.uint8)
    for other in (street(False, True), street(True, False, face=tinted)):
        assert set(seen(follow(detector, there + gap + [other] * 12))) == {1, 2}


def test_after_a_cut_it_is_a_new_one(detector):
    followers = FaceFollowers(48, 4, detector)
    for index in range(10):
        followers.add(TimedFrame(index / 5, street(True, True)), cut=index == 4)
    assert seen(followers) == {1: 4, 2: 4, 3: 6, 4: 6}
    assert [begins(followers)[number] for number in (3, 4)] == [0.8, 0.8]


def test_people_who_are_there_at_one_time_are_never_one(detector):
    both, gap = [street(True, True, side=96)], [street(False, False, side=96)] * 20
    followers = follow(detector, both * 4 + gap + both * 12)
    assert set(seen(followers)) == {1, 2}
    for face in followers.between(0, 1e9):
        middles = [s.placement.center[0] for s in face.sights if s.placement is not None]
        assert np.ptp(middles) < 10


@pytest.mark.parametrize("empty_frames", [11, 14, 18, 22])
def test_who_comes_late_is_found_from_the_first_frame(detector, empty_frames):
    """Nobody for so long that only every two seconds somebody is searched for."""
    pictures = [street(False, False)] * empty_frames + [street(True, False)] * 14
    assert begins(follow(detector, pictures)) == {1: empty_frames / 5}


@pytest.mark.parametrize("alone", [1, 3, 7, 9])
def test_who_joins_another_is_found_from_the_first_frame(detector, alone):
    pictures = [street(True, False)] * alone + [street(True, True)] * 14
    assert begins(follow(detector, pictures)) == {1: 0.0, 2: alone / 5}


def test_large_pictures_are_searched_back_at_half_their_size(detector):
    pictures = [street(False, False, side=400)] * 14 + [street(True, False, side=400)] * 8
    followers = follow(detector, pictures)
    (face,) = followers.between(0, 1e9)
    assert begins(followers) == {1: 2.8}
    boxes = np.array([sight.box() for sight in face.sights if sight.placement is not None])
    assert np.ptp(boxes, axis=0).max() < 0.02
    crops = face.crops(0, 1e9, 48).crops
    assert np.abs(crops[0].astype(int) - crops[-1]).mean() < 6


def test_what_is_settled_does_not_change(detector):
    """A face that comes between two surveys is not yet in what was settled, but all of it later."""
    followers = FaceFollowers(48, 4, detector)
    told: list[tuple[float, dict[int, int]]] = []
    for index in range(40):
        followers.add(TimedFrame(index / 5, street(index >= 13, False)))
        assert index / 5 - followers.settled < 2.0
        told.append((followers.settled, seen(followers, 0.0, followers.settled)))
    assert all(seen(followers, 0.0, settled) == then for settled, then in told)
    assert told[-1][1] == {1: round(5 * followers.settled) - 13}


def test_faces_beyond_the_most_are_counted_not_followed(detector):
    followers = follow(detector, [street(True, True)] * 3, most=1)
    assert set(seen(followers)) == {1}
    assert followers.left_out == 1


def test_what_is_forgotten_is_gone(detector):
    followers = follow(detector, [street(True)] * 20)
    followers.forget(3.0)
    assert [len(face.sights) for face in followers.between(0, 9)] == [5]
    assert followers.between(0, 3.0) == []
