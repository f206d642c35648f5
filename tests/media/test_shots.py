"""Hard cuts are found; pans, flashes, changes of light and black are none."""

import cv2
import numpy as np
import pytest
import skimage.data
from support.media_files import face_picture

from jax_avemo.media import shots
from jax_avemo.media.decoding.container import TimedFrame
from jax_avemo.media.shots import ShotDetector, with_cuts

SIDE = 96


def frames(pictures, rate: float = 12.0) -> list[TimedFrame]:
    return [TimedFrame(index / rate, np.ascontiguousarray(p)) for index, p in enumerate(pictures)]


def cuts(pictures) -> list[int]:
    return [index for index, shot in enumerate(with_cuts(frames(pictures))) if shot.cut]


def scene(name: str, count: int) -> list[np.ndarray]:
    """A picture that moves 1 px in three frames, with the noise of a camera."""
    whole = getattr(skimage.data, name)()
    whole = cv2.resize(whole, (SIDE + 40, SIDE), interpolation=cv2.INTER_AREA)
    random = np.random.default_rng(0)
    moved = [whole[:, index // 3 : index // 3 + SIDE].astype(float) for index in range(count)]
    return [
        np.clip(picture + random.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)
        for picture in moved
    ]


def test_every_cut_is_found_at_its_first_frame():
    film = scene("astronaut", 10) + scene("chelsea", 8) + scene("coffee", 5) + scene("rocket", 9)
    assert cuts(film) == [10, 18, 23]


def test_all_frames_come_back_in_order():
    given = frames(scene("astronaut", 7))
    detector = ShotDetector()
    early = [shot for frame in given for shot in detector.add(frame)]
    assert [shot.frame for shot in early] == given[:-2]
    assert [shot.frame for shot in early + detector.flush()] == given
    assert detector.flush() == []


def test_a_cut_in_the_last_frames_is_found_too():
    film = scene("astronaut", 10)
    assert cuts([*film, *scene("chelsea", 2)]) == [10]
    assert cuts([*film, *scene("chelsea", 1)]) == [10]


@pytest.mark.parametrize("length", [1, 2])
def test_a_flash_is_no_cut(length):
    film = scene("astronaut", 20)
    for index in range(9, 9 + length):
        film[index] = np.clip(film[index].astype(int) * 3 + 90, 0, 255).astype(np.uint8)
    assert cuts(film) == []


def test_a_fast_pan_is_no_cut():
    whole = np.concatenate([skimage.data.astronaut()[:300]] * 4, axis=1)
    film = [whole[:, 30 * index : 30 * index + 400] for index in range(12)]
    still = [whole[:, :400]] * 6
    assert cuts(film) == []
    assert len(cuts(still + film)) <= 1  # where a standing camera starts to race


def test_light_that_changes_is_no_cut():
    film = [
        np.clip(picture * gain, 0, 255).astype(np.uint8)
        for picture, gain in zip(scene("chelsea", 20), [1.0] * 10 + [0.3] * 10, strict=True)
    ]
    assert cuts(film) == []


def test_black_with_noise_is_one_shot_until_a_picture_comes():
    random = np.random.default_rng(0)
    black = [random.integers(0, 4, (SIDE, SIDE, 3), np.uint8) for _ in range(10)]
    assert cuts(black) == []
    assert cuts(black + scene("astronaut", 8)) == [10]


def test_two_people_in_one_place_are_two_shots():
    """The same wall and framing, another head and shirt; then the same one again."""
    wall = np.full((SIDE, SIDE, 3), 200, np.uint8)

    def person(flip: bool, colour: int) -> np.ndarray:
        picture = wall.copy()
        face = face_picture(48)
        picture[20:68, 24:72] = face[:, ::-1] if flip else face
        picture[68:, 10:86] = colour
        return picture

    one, other = person(False, 40), person(True, 120)
    assert cuts([one] * 8 + [other] * 8 + [one] * 8) == [8, 16]


def test_the_difference_has_a_closed_form():
    a = np.array([1.0, -1.0, 0.0]) * 1e3
    assert shots._difference(a, a) == pytest.approx(0, abs=1e-9)
    assert shots._difference(a, -a) == pytest.approx(2, rel=1e-3)
    assert shots._difference(a, np.array([1.0, 1.0, -2.0]) * 1e3) == pytest.approx(1, rel=1e-3)
    assert shots._difference(a, 0.1 * a) < 0.01  # another light
    assert shots._difference(0 * a, a) == pytest.approx(1, abs=0.01)  # black
    assert shots._difference(0 * a, 0 * a) == 0
