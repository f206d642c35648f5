"""Which face is whose in a film: several are followed at once and kept apart."""

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jax_avemo.media.blazeface import Face, FaceDetector
from jax_avemo.media.decode import TimedFrame
from jax_avemo.media.faces import (
    _CROP_CENTER,
    _CROP_UNITS,
    _SEARCH_INTERVAL_SECONDS,
    FaceTrack,
    _aligned,
    _Cutout,
    _Follower,
    _main_face,
    _nearest,
    _Placement,
    _placement,
    _smoothed,
)

_REMEMBER_SECONDS = 3.0
"""A face that comes back within this, near where it was and of its size, is the same one."""
_SAME_PLACE_UNITS = 0.7
"""Two faces nearer than this (in distances between the eyes) are one face found twice."""


class Sight(NamedTuple):
    """One face in one frame."""

    time: float
    placement: _Placement | None
    """None = not found in this frame."""
    cutout: _Cutout
    picture: tuple[int, int]
    """Width and height, px."""

    def box(self) -> Float[np.ndarray, "4"]:
        """The square the network sees (turned upright): left, top, right, bottom as shares of the
        picture's width and height."""
        assert self.placement is not None
        side = _CROP_UNITS * self.placement.unit
        low = self.placement.center - side * np.array(_CROP_CENTER)
        return np.concatenate([low, low + side]) / (self.picture * 2)


@dataclass
class Followed:
    """One face and where it was lately."""

    number: int
    """1 for the first face of the film."""
    last: _Placement
    seen: float
    sights: deque[Sight] = field(default_factory=deque)

    def crops(self, start: float, end: float, size: int) -> FaceTrack:
        """Aligned crops of the frames from `start` to before `end`, as `track_and_crop` cuts them;
        none when the face is found in none of them."""
        inside = [sight for sight in self.sights if start <= sight.time < end]
        times = np.array([sight.time for sight in inside], np.float64)
        found = np.array([sight.placement is not None for sight in inside], bool)
        known = [sight.placement for sight in inside if sight.placement is not None]
        if not known:
            return FaceTrack([], times[:0], found[:0])
        smooth = _smoothed(known, times[found], times)
        crops = [
            _aligned(sight.cutout, placement, size)
            for sight, placement in zip(inside, smooth, strict=True)
        ]
        return FaceTrack(crops, times, found)


class FaceFollowers:
    """Follows up to `most` faces through a film.

    Each is looked for where it was, as `track_and_crop` does; twice a second, and in every frame
    while one is missing, the whole picture is searched, where new faces are met. With one face in
    the film the crops are those of `track_and_crop`. What a face looks like is not compared: after
    a cut, whoever is in the same place is taken for the same face.
    """

    def __init__(self, size: int, most: int, detector: FaceDetector | None = None) -> None:
        self._detector = detector or FaceDetector()
        self._size, self._most = size, most
        # Of `track_and_crop`: how a face is looked for where it was.
        self._look = _Follower(self._detector, size)
        self._searched = self._surveyed = -np.inf
        self._active: list[Followed] = []
        self._gone: list[Followed] = []
        self._count = 0
        self.left_out = 0
        """Most faces that were seen at one time beyond those followed."""

    def add(self, frame: TimedFrame) -> None:
        """Look for every face in the next frame."""
        image, time = frame.image, frame.time
        height, width = image.shape[:2]
        for face in [f for f in self._active if time - f.seen > _REMEMBER_SECONDS]:
            self._active.remove(face)
            self._gone.append(face)
        sights: dict[int, tuple[_Cutout, _Placement | None]] = {}
        for face in self._active:
            cutout = self._look._region(image, face.last)
            found = self._look._in_cutout(cutout, face.last)
            sights[face.number] = (cutout, None if found is None else _placement(found.keypoints))
        missing = any(placement is None for _, placement in sights.values())
        due = time - self._surveyed >= _SEARCH_INTERVAL_SECONDS
        if missing or due or not self._active:
            deep = due
            if missing or not self._active:
                deep = time - self._searched >= _SEARCH_INTERVAL_SECONDS
                self._searched = time if deep else self._searched
            self._surveyed = time
            faces = self._detector.search(image, smallest=0.25 if deep else 1.0)
            self._assign(frame, faces, sights)
        self._drop_doubles(sights)
        for face in self._active:
            cutout, placement = sights[face.number]
            if placement is not None:
                face.last, face.seen = placement, time
            face.sights.append(Sight(time, placement, cutout, (width, height)))

    def _assign(
        self,
        frame: TimedFrame,
        faces: list[Face],
        sights: dict[int, tuple[_Cutout, _Placement | None]],
    ) -> None:
        """Give the faces of a search to those that are missing, then to new ones."""
        image, time = frame.image, frame.time
        height, width = image.shape[:2]
        held = [placement for _, placement in sights.values() if placement is not None]
        free = [face for face in faces if not _near_any(_placement(face.keypoints), held)]
        for follower in self._active:
            if sights[follower.number][1] is None:
                found = _nearest(free, follower.last)
                if found is not None:
                    free.remove(found)
                    sights[follower.number] = self._closer(image, _placement(found.keypoints))
        while free:
            if len(self._active) >= self._most:
                self.left_out = max(self.left_out, len(free))
                return
            main = _main_face(free, width, height)
            assert main is not None
            free.remove(main)
            cutout, placement = self._closer(image, _placement(main.keypoints))
            if placement is not None and not _near_any(placement, held):
                self._count += 1
                held.append(placement)
                self._active.append(Followed(self._count, placement, time))
                sights[self._count] = (cutout, placement)

    def _closer(self, image: np.ndarray, near: _Placement) -> tuple[_Cutout, _Placement | None]:
        """Look again as in all frames to come: distance shifts key points by a few per cent."""
        cutout = self._look._region(image, near)
        found = self._look._in_cutout(cutout, near)
        return cutout, None if found is None else _placement(found.keypoints)

    def _drop_doubles(self, sights: dict[int, tuple[_Cutout, _Placement | None]]) -> None:
        """Where two followers have met on one face, the younger has lost its own."""
        held: list[_Placement] = []
        for number in sorted(sights):
            cutout, placement = sights[number]
            if placement is None:
                continue
            if _near_any(placement, held):
                sights[number] = (cutout, None)
            else:
                held.append(placement)

    def between(self, start: float, end: float) -> list[Followed]:
        """Faces found in some frame from `start` to before `end`, in the order of their numbers."""
        found = [
            face
            for face in self._active + self._gone
            if any(s.placement is not None and start <= s.time < end for s in face.sights)
        ]
        return sorted(found, key=lambda face: face.number)

    def forget(self, before: float) -> None:
        """Let go of what was before that time."""
        for face in self._active + self._gone:
            while face.sights and face.sights[0].time < before:
                face.sights.popleft()
        self._gone = [face for face in self._gone if face.sights]


def _near_any(placement: _Placement, others: list[_Placement]) -> bool:
    return any(
        np.linalg.norm(placement.center - other.center)
        < _SAME_PLACE_UNITS * max(placement.unit, other.unit)
        for other in others
    )
