"""Whose face is followed through a film, and where it is in every picture."""

from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from jax_avemo.media.blazeface import Face, FaceDetector
from jax_avemo.media.decode import TimedFrame

CROP_UNITS = 3.1
"""Width of the canonical crop in units, see `Placement`."""
_REGION_UNITS = 1.7 * CROP_UNITS
"""Side of the square that is searched for the face known from the frame before."""
_SURVEY_SECONDS = 2.0
"""Between looks for people who came later, 8 ms each."""
_THOROUGH_SECONDS = 0.5
"""Between searches for small faces while nobody is known, 20 to 170 ms each."""
_FORGET_SECONDS = 1.0
"""After so long without the face, another place in the picture may be taken for it."""
_MAX_PEOPLE = 3
"""Followed at the same time; each costs a detection and a cutout a frame."""


@dataclass(frozen=True)
class Placement:
    """Where the canonical crop lies in the picture.

    Its unit is about the distance between the eyes: the root mean square of that and of the
    distance from eyes to mouth.
    """

    center: Float[np.ndarray, "2"]
    """Pixels: the middle between eyes and mouth."""
    unit: float
    """Pixels."""
    angle: float
    """Radians: the eye line against the horizontal, clockwise on the screen."""


@dataclass(frozen=True)
class Cutout:
    """A part of a picture kept for the final cut, at no more than twice its resolution."""

    pixels: UInt8[np.ndarray, "h w 3"]
    corner: Float[np.ndarray, "2"]
    """Where its upper left corner lies in the picture."""
    scale: float
    """Cutout pixels for a pixel of the picture."""


@dataclass(frozen=True)
class Sighting:
    """One picture of the film, as far as the followed face goes."""

    time: float
    placement: Placement | None
    """None = the face was not found here."""
    cutout: Cutout
    picture_size: tuple[int, int]
    """Width and height."""


def placement_of(face: Face) -> Placement:
    """Upright by the line through the eyes."""
    right_eye, left_eye, mouth = face.keypoints[0], face.keypoints[1], face.keypoints[3]
    eyes = (right_eye + left_eye) / 2
    across, down = left_eye - right_eye, mouth - eyes
    unit = np.sqrt((across @ across + down @ down) / 2)
    return Placement((eyes + mouth) / 2, max(float(unit), 1.0), float(np.arctan2(*across[::-1])))


@dataclass(eq=False)
class _Person:
    """One face through the film."""

    placements: dict[int, Placement] = field(default_factory=dict)
    """By the number of the picture, where it was found."""
    cutouts: dict[int, Cutout] = field(default_factory=dict)
    weight: float = 0.0
    """Sum over pictures: large, central and long there is who the film is about."""
    seen: float = -np.inf

    @property
    def last(self) -> Placement:
        return self.placements[max(self.placements)]


class Follower:
    """Follows the faces in a stream of pictures and keeps a cutout of each; then one is chosen.

    `size` is the side of the crops to come. `keep_pictures`: whole pictures are kept sharp even
    where a face is known.
    """

    def __init__(self, detector: FaceDetector, size: int, *, keep_pictures: bool = False) -> None:
        self._detector, self._size, self._keep_pictures = detector, size, keep_pictures
        self._open: list[_Person] = []
        self._people: list[_Person] = []
        self._surveyed = self._searched = -np.inf
        self._times: list[float] = []
        self._pictures: list[Cutout] = []
        self._picture_sizes: list[tuple[int, int]] = []

    def add(self, frame: TimedFrame) -> None:
        """Take the next picture."""
        image, time, index = frame.image, frame.time, len(self._times)
        self._times.append(time)
        self._picture_sizes.append(image.shape[1::-1])
        self._open = [p for p in self._open if time - p.seen <= _FORGET_SECONDS]
        for person in self._open:
            self._look(person, index, image, person.last)
        self._part()
        lost = [person for person in self._open if index not in person.placements]
        if lost or not self._open or time - self._surveyed >= _SURVEY_SECONDS:
            faces = self._faces(image, time, alone=len(lost) == len(self._open))
            for person in lost:
                found = _nearest(faces, person.last)
                if found is not None:
                    self._look(person, index, image, placement_of(found))
            self._part()
            self._welcome(faces, index, image)
        sharp = self._keep_pictures or not self._open
        self._pictures.append(_whole(image, self._size, sharp=sharp))

    def _faces(self, image: UInt8[np.ndarray, "H W 3"], time: float, alone: bool) -> list[Face]:
        if time - self._surveyed >= _SURVEY_SECONDS:
            self._surveyed = time
            faces = self._detector.survey(image)
            if faces or not alone:
                return faces
        thorough = alone and time - self._searched >= _THOROUGH_SECONDS
        self._searched = time if thorough else self._searched
        return self._detector.search(image, thorough=thorough)

    def _look(
        self, person: _Person, index: int, image: UInt8[np.ndarray, "H W 3"], near: Placement
    ) -> None:
        """Find the person in the square around `near`, and keep that square."""
        cutout = person.cutouts[index] = _region(image, near, self._size)
        faces = self._detector.detect(cutout.pixels)
        face = _nearest([face.moved(cutout.corner, 1 / cutout.scale) for face in faces], near)
        if face is not None:
            person.placements[index] = placement_of(face)
            person.seen = self._times[index]
            person.weight += _weight(face, *image.shape[1::-1])

    def _part(self) -> None:
        """Two that have come to be one face are one person: the one known longer."""
        kept: list[_Person] = []
        for person in self._open:
            twin = any(_is_same(person.last, other.last) for other in kept)
            if twin:
                self._people.remove(person)
            else:
                kept.append(person)
        self._open = kept

    def _welcome(self, faces: list[Face], index: int, image: UInt8[np.ndarray, "H W 3"]) -> None:
        width, height = image.shape[1::-1]
        for face in sorted(faces, key=lambda face: -_weight(face, width, height)):
            if len(self._open) == _MAX_PEOPLE:
                return
            near = placement_of(face)
            if any(_is_same(near, person.last) for person in self._open):
                continue
            person = _Person()
            # Seen again as in all frames to come: distance shifts key points by a few per cent.
            self._look(person, index, image, near)
            if person.placements:
                self._open.append(person)
                self._people.append(person)

    def chosen(self) -> list[Sighting]:
        """Every picture, with the face that is the largest, most central, longest there.

        Others' faces stand in where it is not seen for over a second, so that a film cut from
        several takes of one person is followed through the cuts.
        """
        times = np.array(self._times)
        placements: dict[int, Placement] = {}
        cutouts: dict[int, Cutout] = {}
        for person in sorted(self._people, key=lambda person: -person.weight):
            taken = times[sorted(placements)]
            for index, cutout in person.cutouts.items():
                if taken.size and np.abs(taken - times[index]).min() <= _FORGET_SECONDS:
                    continue
                cutouts[index] = cutout
                if index in person.placements:
                    placements[index] = person.placements[index]
        return [
            Sighting(
                self._times[index],
                placements.get(index),
                cutouts.get(index, self._pictures[index]),
                self._picture_sizes[index],
            )
            for index in range(len(self._times))
        ]

    def pictures(self) -> list[Cutout]:
        """Every picture as a whole."""
        return self._pictures


def _is_same(one: Placement, other: Placement) -> bool:
    return _distance(one, other) < 0.8


def _distance(one: Placement, other: Placement) -> float:
    return float(np.linalg.norm(one.center - other.center) / max(one.unit, other.unit))


def _nearest(faces: list[Face], near: Placement) -> Face | None:
    """The face that can be the one at `near`: close to it and of about its size."""
    best, least = None, 1.5
    for face in faces:
        placement = placement_of(face)
        distance = float(np.linalg.norm(placement.center - near.center) / near.unit)
        if 0.6 < placement.unit / near.unit < 1.7 and distance < least:
            best, least = face, distance
    return best


def _weight(face: Face, width: int, height: int) -> float:
    """Its share of the picture, where faces near the middle count for more."""
    low, high = face.box.reshape(2, 2)
    offset = ((low + high) / 2 - (width / 2, height / 2)) / min(width, height)
    return float(np.prod(high - low) / (width * height) * np.exp(-2 * offset @ offset))


def _region(image: UInt8[np.ndarray, "H W 3"], placement: Placement, size: int) -> Cutout:
    """The square around a face in which it will be looked for, cut at the picture's edges."""
    side = max(4 * round(_REGION_UNITS * placement.unit / 4), 16)
    height, width = image.shape[:2]
    x, y = (round(float(value) - side / 2) for value in placement.center)
    x, y = min(max(x, 1 - side), width - 1), min(max(y, 1 - side), height - 1)
    inside = image[max(y, 0) : max(y + side, 0), max(x, 0) : max(x + side, 0)]
    if inside.shape[:2] != (side, side):
        inside = cv2.copyMakeBorder(
            inside,
            max(-y, 0),
            max(y + side - height, 0),
            max(-x, 0),
            max(x + side - width, 0),
            cv2.BORDER_REPLICATE,
        )
    # Only exact halving is fast.
    enough = 2 * size * _REGION_UNITS / CROP_UNITS
    halved = side
    while halved > enough and halved % 2 == 0:
        halved //= 2
        inside = cv2.resize(inside, (halved, halved), interpolation=cv2.INTER_AREA)
    if halved == side:
        inside = inside.copy()  # a view would keep the whole picture in memory
    return Cutout(inside, np.array([x, y], np.float64), halved / side)


def _whole(image: UInt8[np.ndarray, "H W 3"], size: int, *, sharp: bool) -> Cutout:
    """The picture, small: for the frames in which nobody is, or, sharp, for its middle."""
    height, width = image.shape[:2]
    scale = min(1.0, (2 * size if sharp else size / 2) / min(height, width))
    if scale == 1:
        return Cutout(image.copy(), np.zeros(2), 1.0)
    pixels = cv2.resize(
        image,
        (max(round(width * scale), 1), max(round(height * scale), 1)),
        interpolation=cv2.INTER_AREA if sharp else cv2.INTER_NEAREST,
    )
    return Cutout(pixels, np.zeros(2), scale)
