"""Placement of a face in a picture, and the region that is kept for it."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from jax_avemo.media.faces.blazeface import Face, FaceDetector

CROP_UNITS = 3.1
"""Width of the crop in units, see `Placement`."""
CROP_CENTER = (0.5, 0.53)
"""Where the middle between eyes and mouth lies, in sides of the crop: brows are 0.4 units above
the eyes, an open mouth's chin 2 below."""
_REGION_UNITS = 1.7 * CROP_UNITS
"""Side of the square that is searched for the face known from the frame before."""

_STEADY_UNITS, _STEADY_RADIANS, _STEADY_GROWTH = 0.12, 0.07, 0.06
"""A face that moves by no more in a fifth of a second has moved evenly. The detector's own jitter
is a quarter of that."""


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

    def scaled(self, factor: float) -> "Placement":
        """In a picture that is `factor` times as large."""
        return Placement(self.center * factor, self.unit * factor, self.angle)


@dataclass(frozen=True)
class Cutout:
    """A part of a picture kept for the final cut, at no more than twice its resolution."""

    pixels: UInt8[np.ndarray, "h w 3"]
    corner: Float[np.ndarray, "2"]
    """Where its upper left corner lies in the picture."""
    scale: float
    """Cutout pixels for a pixel of the picture."""

    def scaled(self, factor: float) -> "Cutout":
        """Of a picture that is `factor` times as large."""
        return Cutout(self.pixels, self.corner * factor, self.scale / factor)


def placement_of(face: Face) -> Placement:
    """Upright by the line through the eyes."""
    right_eye, left_eye, mouth = face.keypoints[0], face.keypoints[1], face.keypoints[3]
    eyes = (right_eye + left_eye) / 2
    across, down = left_eye - right_eye, mouth - eyes
    unit = np.sqrt((across @ across + down @ down) / 2)
    return Placement((eyes + mouth) / 2, max(float(unit), 1.0), float(np.arctan2(*across[::-1])))


def nearest(faces: list[Face], near: Placement) -> Face | None:
    """The face that can be the one at `near`: close to it and of about its size."""
    best, least = None, 1.5
    for face in faces:
        placement = placement_of(face)
        distance = float(np.linalg.norm(placement.center - near.center) / near.unit)
        if 0.6 < placement.unit / near.unit < 1.7 and distance < least:
            best, least = face, distance
    return best


def prominence(placement: Placement, width: int, height: int) -> float:
    """The crop's share of the picture, where those near the middle count for more."""
    offset = (placement.center - (width / 2, height / 2)) / min(width, height)
    share = (CROP_UNITS * placement.unit) ** 2 / (width * height)
    return float(share * np.exp(-2 * offset @ offset))


def look(
    detector: FaceDetector, image: UInt8[np.ndarray, "H W 3"], near: Placement, size: int
) -> tuple[Cutout, Placement | None]:
    """The square around `near`, kept for crops of `size` pixels, and the face in it if it is there.

    A face met elsewhere is looked at so too: distance shifts key points by a few per cent.
    """
    cutout = region(image, near, size)
    return cutout, find(detector, cutout, near)


def find(detector: FaceDetector, cutout: Cutout, near: Placement) -> Placement | None:
    """The face at about `near`, in the part of the picture that was kept."""
    faces = detector.detect(cutout.pixels)
    face = nearest([face.moved(cutout.corner, 1 / cutout.scale) for face in faces], near)
    return None if face is None else placement_of(face)


def between(one: Placement, other: Placement, share: float) -> Placement | None:
    """`share` of the way from one to the other; None when that is too far to be a straight way."""
    shift, turn = other.center - one.center, other.angle - one.angle
    growth = np.log(other.unit / one.unit)
    if np.linalg.norm(shift) > _STEADY_UNITS * one.unit or abs(turn) > _STEADY_RADIANS:
        return None
    if abs(growth) > _STEADY_GROWTH:
        return None
    return Placement(
        one.center + share * shift,
        float(one.unit * np.exp(share * growth)),
        float(one.angle + share * turn),
    )


def region(image: UInt8[np.ndarray, "H W 3"], placement: Placement, size: int) -> Cutout:
    """The square around a face; outside the picture its edge is repeated."""
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
    # Halving exactly is fast, any other mean over areas is not: 0.1 against 5 ms for 900 px.
    enough, halved = 2 * size * _REGION_UNITS / CROP_UNITS, side
    while halved > enough and halved % 2 == 0:
        halved //= 2
        inside = cv2.resize(inside, (halved, halved), interpolation=cv2.INTER_AREA)
    if halved == side:
        inside = inside.copy()  # a view would keep the whole picture in memory
    return Cutout(inside, np.array([x, y], np.float64), halved / side)


def whole_picture(image: UInt8[np.ndarray, "H W 3"], size: int, *, sharp: bool) -> Cutout:
    """The picture, small: of a frame in which nobody is, or, sharp, so that its middle is shown."""
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
