"""Where the face is in every frame, and how it is cut out: upright, centred, of one size."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from jax_avemo.media.blazeface import Face, FaceDetector
from jax_avemo.media.decode import MediaError, TimedFrame

FACE_FALLBACKS = ("reject", "center")

# The canonical crop in units u, about the distance between the eyes (u is the root mean square of
# that and of the distance from eyes to mouth): 3.1 u wide, the middle between eyes and mouth at
# 53 % of the height. Brows lie 0.4 u above the eyes, an open mouth's chin 2 u below.
_CROP_UNITS = 3.1
_CROP_CENTER = (0.5, 0.53)
_REGION_UNITS = 1.7 * _CROP_UNITS
"""Side of the square that is searched for the face known from the frame before."""
_SEARCH_INTERVAL_SECONDS = 0.5
"""Between searches for small faces, 30 to 200 ms each; larger ones are looked for always."""
_FORGET_SECONDS = 1.0
"""After so long without the face, another place in the picture may be taken for it."""
_MIN_FOUND = 0.25

# Time constants of the smoothing. Size changes slowly, and following it quickly would turn an
# opening mouth into a shrinking face.
_CENTER_SECONDS, _ANGLE_SECONDS, _SCALE_SECONDS = 0.08, 0.15, 0.5


class FaceTrack(NamedTuple):
    """Aligned crops of one face."""

    crops: list[UInt8[np.ndarray, "S S 3"]]
    times: Float[np.ndarray, "F"]
    found: Bool[np.ndarray, "F"]
    """True where the detector found the face in this very frame."""


@dataclass(frozen=True)
class _Placement:
    """Where the canonical crop lies in the picture."""

    center: Float[np.ndarray, "2"]
    """Pixels: the middle between eyes and mouth."""
    unit: float
    """Pixels."""
    angle: float
    """Radians: the eye line against the horizontal, clockwise on the screen."""


def _placement(keypoints: Float[np.ndarray, "6 2"]) -> _Placement:
    right_eye, left_eye, mouth = keypoints[0], keypoints[1], keypoints[3]
    eyes = (right_eye + left_eye) / 2
    across, down = left_eye - right_eye, mouth - eyes
    unit = np.sqrt((across @ across + down @ down) / 2)
    return _Placement((eyes + mouth) / 2, max(float(unit), 1.0), float(np.arctan2(*across[::-1])))


@dataclass(frozen=True)
class _Cutout:
    """A part of a picture kept for the final cut, at no more than twice its resolution."""

    pixels: UInt8[np.ndarray, "h w 3"]
    corner: Float[np.ndarray, "2"]
    """Where its upper left corner lies in the picture."""
    scale: float
    """Cutout pixels for a pixel of the picture."""


def _cutout(
    image: UInt8[np.ndarray, "H W 3"], corner: tuple[int, int], side: int, max_side: int
) -> _Cutout:
    """The square at `corner` (x, y); outside the picture its edge is repeated."""
    height, width = image.shape[:2]
    x, y = corner
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
    scale = min(1.0, max_side / side)
    if scale < 1:
        inside = cv2.resize(inside, (max_side, max_side), interpolation=cv2.INTER_AREA)
    else:
        inside = inside.copy()  # a view would keep the whole picture in memory
    return _Cutout(inside, np.array(corner, np.float64), scale)


class _Follower:
    """Follows one face through a stream of pictures and keeps a cutout of each."""

    def __init__(self, detector: FaceDetector, size: int) -> None:
        self._detector, self._size = detector, size
        self._last: _Placement | None = None
        self._seen = self._searched = -np.inf
        self.times: list[float] = []
        self.placements: list[_Placement | None] = []
        self.cutouts: list[_Cutout] = []
        self.picture_sizes: list[tuple[int, int]] = []

    def add(self, frame: TimedFrame) -> None:
        image, time = frame.image, frame.time
        height, width = image.shape[:2]
        found = None
        cutout = None
        if self._last is not None:
            cutout = self._region(image, self._last)
            found = self._in_cutout(cutout, self._last)
        if found is None:
            deep = time - self._searched >= _SEARCH_INTERVAL_SECONDS
            self._searched = time if deep else self._searched
            faces = self._detector.search(image, smallest=0.25 if deep else 1.0)
            if self._last is None or time - self._seen > _FORGET_SECONDS:
                found = _main_face(faces, width, height)
            else:
                found = _nearest(faces, self._last)
            if found is not None:
                # Seen again as in all frames to come: distance shifts key points by a few per cent.
                near = _placement(found.keypoints)
                cutout = self._region(image, near)
                found = self._in_cutout(cutout, near)
        if cutout is None:
            side = max(height, width)
            corner = ((width - side) // 2, (height - side) // 2)
            cutout = _cutout(image, corner, side, min(side, 4 * self._size))
        if found is not None:
            self._last, self._seen = _placement(found.keypoints), time
        self.times.append(time)
        self.placements.append(None if found is None else self._last)
        self.cutouts.append(cutout)
        self.picture_sizes.append((width, height))

    def _region(self, image: UInt8[np.ndarray, "H W 3"], placement: _Placement) -> _Cutout:
        side = max(round(_REGION_UNITS * placement.unit), 16)
        height, width = image.shape[:2]
        x, y = (round(float(value) - side / 2) for value in placement.center)
        x, y = min(max(x, 1 - side), width - 1), min(max(y, 1 - side), height - 1)
        most = round(2 * self._size * _REGION_UNITS / _CROP_UNITS)
        return _cutout(image, (x, y), side, most)

    def _in_cutout(self, cutout: _Cutout, near: _Placement) -> Face | None:
        faces = self._detector.detect(cutout.pixels)
        return _nearest([face.moved(cutout.corner, 1 / cutout.scale) for face in faces], near)


def _nearest(faces: list[Face], near: _Placement) -> Face | None:
    """The face that can be the one at `near`: close to it and of about its size."""
    best, least = None, 1.5
    for face in faces:
        placement = _placement(face.keypoints)
        distance = float(np.linalg.norm(placement.center - near.center) / near.unit)
        if 0.6 < placement.unit / near.unit < 1.7 and distance < least:
            best, least = face, distance
    return best


def _main_face(faces: list[Face], width: int, height: int) -> Face | None:
    """The largest, where those near the middle count for more."""

    def weight(face: Face) -> float:
        low, high = face.box.reshape(2, 2)
        offset = ((low + high) / 2 - (width / 2, height / 2)) / min(width, height)
        return float(np.prod(high - low) * np.exp(-2 * offset @ offset))

    return max(faces, key=weight, default=None)


def track_and_crop(
    frames: Iterable[TimedFrame],
    size: int,
    *,
    fallback: str = "reject",
    detector: FaceDetector | None = None,
) -> FaceTrack:
    """Follow the main face through `frames` and cut it out of each, `size` pixels square.

    The first face is the largest, those near the middle preferred; from then on the same one is
    followed, and only after a second without it may another take its place. Every frame is
    searched (in a square around the last position, 2 ms): half as many detections with key points
    interpolated between them would save a third of the time and lose quick movements. The crop is
    a similarity transform that makes the smoothed eye line horizontal. In frames without the face
    the crop is interpolated between its neighbours.

    Raises MediaError when the face is found in fewer than a quarter of the frames and `fallback`
    is "reject"; with "center" the middle square of each picture is then taken.
    """
    if fallback not in FACE_FALLBACKS:
        raise ValueError(f"fallback is {fallback!r}, not one of {FACE_FALLBACKS}")
    follower = _Follower(detector or FaceDetector(), size)
    for frame in frames:
        follower.add(frame)
    times = np.array(follower.times, np.float64)
    found = np.array([placement is not None for placement in follower.placements], bool)
    if found.sum() == 0 or found.mean() < _MIN_FOUND:
        if fallback == "reject":
            count = (
                f"any of {found.size}" if not found.any() else f"{(~found).sum()} of {found.size}"
            )
            raise MediaError(f"no face found in {count} frames")
        crops = [
            _middle(cutout, picture, size)
            for cutout, picture in zip(follower.cutouts, follower.picture_sizes, strict=True)
        ]
        return FaceTrack(crops, times, np.zeros_like(found))
    known = [placement for placement in follower.placements if placement is not None]
    smooth = _smoothed(known, times[found], times)
    crops = [
        _aligned(cutout, placement, size)
        for cutout, placement in zip(follower.cutouts, smooth, strict=True)
    ]
    return FaceTrack(crops, times, found)


def _smoothed(
    known: list[_Placement], known_times: Float[np.ndarray, "K"], times: Float[np.ndarray, "F"]
) -> list[_Placement]:
    """Placements at all `times`, by interpolation and then a Gaussian mean over time."""
    center = np.stack([placement.center for placement in known])
    angle = np.unwrap([placement.angle for placement in known])
    scale = np.log([placement.unit for placement in known])

    def mean(values: Float[np.ndarray, "K"], seconds: float) -> Float[np.ndarray, "F"]:
        filled = np.interp(times, known_times, values)
        weights = np.exp(-0.5 * ((times[:, None] - times[None]) / seconds) ** 2)
        # A local line, not a local mean: it does not lag behind at either end of the clip.
        total = weights.sum(1)
        offset = times[None] - times[:, None]
        first = (weights * offset).sum(1) / total
        second = (weights * offset**2).sum(1) / total
        level = weights @ filled / total
        slope_moment = (weights * offset) @ filled / total
        spread = second - first**2
        slope = np.where(
            spread > 1e-9, (slope_moment - first * level) / np.maximum(spread, 1e-9), 0
        )
        return level - slope * first

    x, y = mean(center[:, 0], _CENTER_SECONDS), mean(center[:, 1], _CENTER_SECONDS)
    angles, units = mean(angle, _ANGLE_SECONDS), np.exp(mean(scale, _SCALE_SECONDS))
    return [
        _Placement(np.array([x[i], y[i]]), float(units[i]), float(angles[i]))
        for i in range(times.size)
    ]


def _aligned(cutout: _Cutout, placement: _Placement, size: int) -> UInt8[np.ndarray, "S S 3"]:
    """Turn and scale the cutout so that the face takes its canonical place."""
    center = (placement.center - cutout.corner) * cutout.scale
    # Drawn at twice the size and averaged, where the cutout has the pixels: no aliasing.
    unit = placement.unit * cutout.scale
    drawn = 2 * size if unit * _CROP_UNITS > 1.2 * size else size
    scale = drawn / _CROP_UNITS / unit
    cos, sin = np.cos(placement.angle) * scale, np.sin(placement.angle) * scale
    rotation = np.array([[cos, sin], [-sin, cos]])
    # OpenCV counts from the middle of the first pixel, key points from its corner.
    shift = drawn * np.array(_CROP_CENTER) - rotation @ center
    shift += rotation @ (0.5, 0.5) - 0.5
    crop = cv2.warpAffine(
        cutout.pixels,
        np.hstack([rotation, shift[:, None]]),
        (drawn, drawn),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if drawn != size:
        crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
    return crop


def _middle(cutout: _Cutout, picture: tuple[int, int], size: int) -> UInt8[np.ndarray, "S S 3"]:
    width, height = picture
    side = min(width, height)
    low = ((width - side) / 2, (height - side) / 2) - cutout.corner
    x, y = np.maximum(np.round(low * cutout.scale), 0).astype(int)
    extent = max(round(side * cutout.scale), 1)
    square = cutout.pixels[y : y + extent, x : x + extent]
    shrinks = extent > size
    return cv2.resize(
        square, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
