import cv2
import numpy as np
import pytest
import skimage.data
from support.media_files import face_picture

from jax_avemo.media.faces.blazeface import FaceDetector

EYES_AND_MOUTH = np.array([[204, 101], [248, 108], [219, 146]])
"""Of the astronaut, 512 px, read off the picture."""


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


def test_key_points_of_a_known_face(detector):
    (face,) = detector.detect(skimage.data.astronaut())
    np.testing.assert_allclose(face.keypoints[[0, 1, 3]], EYES_AND_MOUTH, atol=4)
    left, top, right, bottom = face.box
    assert 165 < left < 190 < 260 < right < 285
    assert 60 < top < 100 < 165 < bottom < 190
    assert face.score > 0.9


@pytest.mark.parametrize(("width", "height"), [(800, 512), (512, 700), (1024, 1024)])
def test_the_shape_of_the_picture_does_not_matter(detector, width, height):
    picture = np.full((height, width, 3), 90, np.uint8)
    x, y = (width - 512) // 2, (height - 512) // 2
    picture[y : y + 512, x : x + 512] = skimage.data.astronaut()
    (face,) = detector.search(picture)
    # The eyes are 45 px apart.
    np.testing.assert_allclose(face.keypoints[[0, 1, 3]], EYES_AND_MOUTH + (x, y), atol=8)


def test_pictures_without_a_face(detector):
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    for picture in (noise, np.zeros((240, 320, 3), np.uint8), skimage.data.coffee()):
        assert detector.search(picture) == []


def test_search_finds_small_faces(detector):
    picture = np.full((480, 854, 3), 128, np.uint8)
    picture[200:260, 600:660] = face_picture(60)
    assert detector.detect(picture) == []
    (face,) = detector.search(picture)
    low, high = face.box.reshape(2, 2)
    assert np.all(low > (600, 200))
    assert np.all(high < (660, 260))


@pytest.mark.parametrize("place", [(30, 40), (300, 900), (600, 1160)])
@pytest.mark.parametrize("side", [44, 90, 150])
def test_search_finds_small_faces_in_large_pictures(detector, side, place):
    """The face is half of `side`: 3 to 10 % of the picture's height."""
    picture = np.full((720, 1280, 3), 128, np.uint8)
    top, left = min(place[0], 720 - side), min(place[1], 1280 - side)
    picture[top : top + side, left : left + side] = face_picture(side)
    (face,) = detector.search(picture)
    center = face.box.reshape(2, 2).mean(0)
    assert np.abs(center - (left + side / 2, top + side / 2)).max() < side / 4


def test_both_ranges_see_the_same_key_points(detector):
    """The full-range model's cells are laid out as its operator DEPTH_TO_SPACE would."""
    (far,) = detector._far.detect(skimage.data.astronaut(), 0.5)
    np.testing.assert_allclose(far.keypoints[[0, 1, 3]], EYES_AND_MOUTH, atol=5)


def test_two_faces(detector):
    picture = np.full((200, 400, 3), 128, np.uint8)
    picture[10:190, 10:190] = face_picture(180)
    picture[40:160, 250:370] = face_picture(120)
    for faces in (detector.search(picture), detector.survey(picture)):
        assert len(faces) == 2
        assert {face.box[0] > 200 for face in faces} == {True, False}


def test_a_survey_sees_near_and_far(detector):
    picture = np.full((480, 854, 3), 128, np.uint8)
    picture[40:440, 20:420] = face_picture(400)
    assert len(detector.search(picture)) == 1
    picture[200:320, 600:720] = face_picture(120)
    assert len(detector.survey(picture)) == 2


def test_size_does_not_move_the_face(detector):
    """The box of half the picture is half the box."""
    picture = face_picture(256)
    (large,) = detector.detect(picture)
    (small,) = detector.detect(cv2.resize(picture, (128, 128), interpolation=cv2.INTER_AREA))
    np.testing.assert_allclose(small.keypoints * 2, large.keypoints, atol=1e-3)
