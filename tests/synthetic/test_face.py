"""The drawn face: units move what they name, light and camera do what they say."""

import numpy as np
import pytest

from jax_avemo.synthetic.face import Camera, Light, Pose, Scene, draw_face
from jax_avemo.synthetic.head import load_head, unit_vector
from jax_avemo.synthetic.look import make_look

SIZE = 96
GREEN = np.full((SIZE, SIZE, 3), (0, 255, 0), np.uint8)


@pytest.fixture(scope="module")
def head():
    return load_head()


@pytest.fixture(scope="module")
def look(head):
    return make_look(head, female=True, rng=np.random.default_rng(1))


def draw(head, look, units=None, **scene):
    strengths = unit_vector(head, units or {})
    return draw_face(head, look, strengths, Pose(), Scene(GREEN, **scene)).astype(int)


def test_a_name_without_side_moves_both_sides(head):
    vector = unit_vector(head, {"mouthSmile": 0.5, "jawOpen": 0.2})
    named = dict(zip(head.unit_names, vector, strict=True))
    assert named["mouthSmileLeft"] == named["mouthSmileRight"] == pytest.approx(0.5)
    assert named["jawOpen"] == pytest.approx(0.2)
    assert np.count_nonzero(vector) == 3
    with pytest.raises(KeyError):
        unit_vector(head, {"wink": 1.0})


def test_face_stands_in_the_middle_before_the_background(head, look):
    image = draw(head, look)
    assert (image[0, 0] == (0, 255, 0)).all()
    assert not (image[SIZE // 2, SIZE // 2] == (0, 255, 0)).all()


def test_brow_and_jaw_units_change_upper_and_lower_face(head, look):
    rest = draw(head, look)
    brows = np.abs(draw(head, look, {"browInnerUp": 1.0}) - rest).sum((1, 2))
    jaw = np.abs(draw(head, look, {"jawOpen": 1.0}) - rest).sum((1, 2))
    rows = np.arange(SIZE)
    assert (brows * rows).sum() / brows.sum() < (jaw * rows).sum() / jaw.sum() - SIZE / 8


def test_light_from_the_left_of_the_picture_makes_that_side_brighter(head, look):
    def sides(azimuth):
        image = draw(head, look, light=Light((azimuth, 0.2, 0.5)))
        middle = image[SIZE // 2 : SIZE // 2 + 12]
        return middle[:, 30:46].mean(), middle[:, 50:66].mean()

    left, right = sides(-1.0)
    assert left > right
    left, right = sides(1.0)
    assert left < right


def test_camera_zooms_and_shifts(head, look):
    def covered(camera):
        image = draw(head, look, camera=camera)
        return (image != (0, 255, 0)).any(-1)

    plain = covered(Camera())
    assert covered(Camera(zoom=1.2)).sum() > plain.sum()
    columns = np.arange(SIZE)
    upper = slice(0, SIZE // 2)

    def centre(mask):
        return (mask[upper] * columns).sum() / mask[upper].sum()

    moved = centre(covered(Camera(shift=(0.1, 0.0)))) - centre(plain)
    assert moved == pytest.approx(0.1 * SIZE, abs=2)


def test_people_differ_by_random_state_only(head):
    looks = [make_look(head, female=False, rng=np.random.default_rng(k)) for k in (2, 2, 3)]
    assert np.array_equal(looks[0].texture, looks[1].texture)
    assert np.array_equal(looks[0].vertices, looks[1].vertices)
    assert not np.array_equal(looks[0].vertices, looks[2].vertices)
