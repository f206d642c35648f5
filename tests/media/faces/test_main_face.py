"""Crops of the main face: upright, through movement, other people and cuts."""

import cv2
import numpy as np
import pytest
from support.media_files import face_picture, wall

from jax_avemo.media.decoding.container import MediaError, TimedFrame
from jax_avemo.media.faces.blazeface import FaceDetector
from jax_avemo.media.faces.main_face import track_and_crop

SIZE = 96


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


def placed(angle: float = 0.0, zoom: float = 1.0, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    """A face turned clockwise by `angle` degrees, moved from the middle of 320 x 240."""
    turn = cv2.getRotationMatrix2D((100, 100), -angle, zoom)
    turn[:, 2] += (60 + x, 20 + y)
    return cv2.warpAffine(
        face_picture(200), turn, (320, 240), flags=cv2.INTER_AREA, borderValue=(90, 90, 90)
    )


def film(pictures, rate: float = 10.0) -> list[TimedFrame]:
    return [TimedFrame(index / rate, picture) for index, picture in enumerate(pictures)]


def geometry(detector, crop: np.ndarray) -> tuple[float, float, float, float]:
    """Eye line in degrees; middle between eyes and mouth, and unit, as fractions of the crop."""
    (face,) = detector.detect(crop)
    right, left, mouth = face.keypoints[[0, 1, 3]]
    eyes = (right + left) / 2
    unit = np.sqrt(((left - right) @ (left - right) + (mouth - eyes) @ (mouth - eyes)) / 2)
    middle = (eyes + mouth) / 2 / len(crop)
    angle = np.degrees(np.arctan2(*(left - right)[::-1]))
    return angle, middle[0], middle[1], unit / len(crop)


@pytest.mark.parametrize("angle", [-25, 0, 25])
@pytest.mark.parametrize("zoom", [0.5, 1.0])
def test_crops_are_upright_centred_and_of_one_size(detector, angle, zoom):
    track = track_and_crop(film([placed(angle, zoom)] * 3), SIZE, detector=detector)
    assert track.found.all()
    for crop in track.crops:
        assert crop.shape == (SIZE, SIZE, 3)
        tilt, x, y, unit = geometry(detector, crop)
        assert abs(tilt) < 5
        assert abs(x - 0.5) < 0.03
        assert abs(y - 0.53) < 0.03
        assert unit == pytest.approx(1 / 3.1, rel=0.08)


def test_the_crop_follows_a_moving_face(detector):
    steps = np.linspace(-45, 45, 13)
    moving = track_and_crop(film([placed(x=x, y=x / 3) for x in steps]), SIZE, detector=detector)
    assert moving.found.all()
    for crop in moving.crops:
        _, x, y, unit = geometry(detector, crop)
        assert abs(x - 0.5) < 0.04
        assert abs(y - 0.53) < 0.04
        assert unit == pytest.approx(1 / 3.1, rel=0.1)


def looks(detector, monkeypatch) -> list[int]:
    """Counts what is detected."""
    count = [0]
    original = FaceDetector.detect

    def counted(self, image):
        count[0] += 1
        return original(self, image)

    monkeypatch.setattr(FaceDetector, "detect", counted)
    return count


def test_a_still_face_is_looked_for_five_times_a_second(detector, monkeypatch):
    count = looks(detector, monkeypatch)
    track = track_and_crop(film([placed()] * 30, rate=30), SIZE, detector=detector)
    assert track.found.all()
    assert 5 <= count[0] <= 17  # with the search and the second look at the beginning


def test_a_face_that_moves_quickly_is_looked_for_in_every_frame(detector, monkeypatch):
    """Three nods a second; at the times of the looks alone it would hardly move."""
    count = looks(detector, monkeypatch)
    times = np.arange(30) / 30
    moves = 12 * np.sin(2 * np.pi * 3 * times)
    track = track_and_crop(film([placed(y=y) for y in moves], rate=30), SIZE, detector=detector)
    assert track.found.all()
    assert count[0] > 20
    heights = [geometry(detector, crop)[2] for crop in track.crops]
    assert np.abs(np.array(heights) - 0.53).max() < 0.08  # the smoothing lags


def test_colours_and_light_are_kept(detector):
    track = track_and_crop(film([placed()] * 2), SIZE, detector=detector)
    np.testing.assert_allclose(
        track.crops[0][30:70, 30:70].mean((0, 1)),
        placed()[85:135, 135:185].mean((0, 1)),
        atol=20,
    )
    red, _, blue = track.crops[0][40:60, 40:60].mean((0, 1))
    assert red > blue + 20  # skin: red first


def test_frames_without_the_face_are_marked_and_interpolated(detector):
    pictures = [placed(x=2 * index) for index in range(12)]
    hidden = [np.full_like(pictures[0], 90) for _ in range(3)]
    track = track_and_crop(film(pictures[:5] + hidden + pictures[8:]), SIZE, detector=detector)
    np.testing.assert_array_equal(np.flatnonzero(~track.found), [5, 6, 7])
    for crop in track.crops[5:8]:
        assert crop.std() < 1
    # The face is followed again where it went on.
    assert abs(geometry(detector, track.crops[10])[1] - 0.5) < 0.04


def test_a_face_that_comes_late(detector):
    empty = [np.full((240, 320, 3), 90, np.uint8)] * 6
    track = track_and_crop(film(empty + [placed()] * 10), SIZE, detector=detector)
    assert not track.found[:6].any()
    assert track.found[6:].all()
    assert len(track.crops) == 16


def test_the_larger_face_is_followed_though_another_passes(detector):
    pictures = []
    for index in range(12):
        picture = np.full((240, 480, 3), 90, np.uint8)
        picture[20:220, 20:220] = face_picture(200)
        x = 470 - 20 * index
        small = face_picture(90)
        picture[30:120, max(x, 230) : x + 90][:, : 480 - max(x, 230)] = small[:, max(0, 230 - x) :][
            :, : 480 - max(x, 230)
        ]
        pictures.append(picture)
    track = track_and_crop(film(pictures), SIZE, detector=detector)
    assert track.found.all()
    for crop in track.crops[1:]:
        inner = np.abs(crop.astype(int) - track.crops[0])[20:80, 20:80]
        assert inner.mean() < 6


def two_places(left: bool, right: bool, right_side: int = 200) -> np.ndarray:
    """Two places before a wall so rich that a face that comes or goes is no cut."""
    picture = wall(320, 960)
    if left:
        picture[60:260, 20:220] = face_picture(200)
    if right:
        picture[60 : 60 + right_side, 720 : 720 + right_side] = face_picture(right_side)
    return picture


def test_another_face_takes_over_only_after_a_second(detector):
    scenes = [two_places(True, False)] * 26 + [two_places(False, True)] * 14
    lost = np.flatnonzero(~track_and_crop(film(scenes), SIZE, detector=detector).found)
    np.testing.assert_array_equal(lost, 26 + np.arange(10))


def test_after_a_cut_the_next_face_is_shown_at_once_and_nothing_is_smoothed_over_it(detector):
    """A film cut together from two takes, of which the second is nearer."""
    scenes = [placed(zoom=0.5, x=-60)] * 12 + [placed(zoom=1.0, x=20)] * 12
    track = track_and_crop(film(scenes), SIZE, detector=detector)
    assert track.found.all()
    for crop in track.crops[10:14]:
        _, x, y, unit = geometry(detector, crop)
        assert abs(x - 0.5) < 0.03
        assert abs(y - 0.53) < 0.03
        assert unit == pytest.approx(1 / 3.1, rel=0.08)


def test_a_shot_without_a_face_between_two_shows_its_middle(detector):
    empty = np.zeros((240, 320, 3), np.uint8)
    empty[:, 40:280] = (200, 100, 50)
    film_ = [placed()] * 8 + [empty] * 6 + [placed()] * 8
    track = track_and_crop(film(film_), SIZE, detector=detector)
    np.testing.assert_array_equal(np.flatnonzero(~track.found), np.arange(8, 14))
    assert all(np.abs(crop.mean((0, 1)) - (200, 100, 50)).max() < 8 for crop in track.crops[8:14])


def test_who_is_there_for_longest_is_followed(detector):
    """The one who is first alone goes; the other one, who came later, stays: from the first frame,
    though somebody new is only met within half a second."""
    pictures = (
        [two_places(True, False)] * 4
        + [two_places(True, True)] * 6
        + [two_places(False, True)] * 30
    )
    track = track_and_crop(film(pictures), SIZE, detector=detector)
    np.testing.assert_array_equal(np.flatnonzero(~track.found), np.arange(4))
    assert np.abs(track.crops[-1].astype(int) - track.crops[12]).mean() < 4


def test_two_people_are_never_mixed(detector):
    """They look alike, but one is smaller; both are there all the time and both disappear once."""
    pictures = []
    for index in range(30):
        away = 10 <= index < 14
        pictures.append(two_places(not away, True, right_side=110))
    track = track_and_crop(film(pictures), SIZE, detector=detector)
    np.testing.assert_array_equal(np.flatnonzero(~track.found), [10, 11, 12, 13])
    for crop in track.crops[10:14]:
        assert detector.detect(crop) == []  # the empty place, not the other face


def test_a_small_face_far_away_is_found(detector):
    picture = np.full((720, 1280, 3), 128, np.uint8)
    picture[300:350, 900:950] = face_picture(50)  # the face itself: 25 px
    track = track_and_crop(film([picture] * 3), SIZE, detector=detector)
    assert track.found.all()
    _, x, y, unit = geometry(detector, track.crops[0])
    assert abs(x - 0.5) < 0.05
    assert abs(y - 0.53) < 0.05
    assert unit == pytest.approx(1 / 3.1, rel=0.15)


def test_no_face_is_a_reason_to_reject(detector):
    pictures = [np.full((120, 160, 3), 60, np.uint8)] * 4
    with pytest.raises(MediaError, match="no face found in any of 4 frames"):
        track_and_crop(film(pictures), SIZE, detector=detector)
    with pytest.raises(MediaError, match="no face found in 9 of 10 frames"):
        track_and_crop(film([placed()] + [pictures[0]] * 9), SIZE, detector=detector)


def test_the_middle_of_the_picture_as_fallback(detector):
    picture = np.zeros((120, 200, 3), np.uint8)
    picture[:, 40:160] = (200, 100, 50)  # exactly the middle square
    track = track_and_crop(film([picture] * 3), SIZE, fallback="center", detector=detector)
    assert not track.found.any()
    for crop in track.crops:
        assert crop.shape == (SIZE, SIZE, 3)
        np.testing.assert_allclose(crop.mean((0, 1)), (200, 100, 50), atol=3)


def test_the_same_film_gives_the_same_crops():
    pictures = [placed(x=x) for x in range(5)]
    first = track_and_crop(film(pictures), SIZE)
    second = track_and_crop(film(pictures), SIZE)
    np.testing.assert_array_equal(np.stack(first.crops), np.stack(second.crops))
