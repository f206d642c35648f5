"""Face tracks of a film: several faces followed at once and kept apart."""

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from jax_avemo.media.decoding.container import TimedFrame
from jax_avemo.media.faces.appearance import SAME_FACE, appearance, similarity
from jax_avemo.media.faces.blazeface import Face, FaceDetector
from jax_avemo.media.faces.crops import FaceTrack, cut_out
from jax_avemo.media.faces.placement import (
    CROP_CENTER,
    CROP_UNITS,
    Cutout,
    Placement,
    between,
    find,
    look,
    nearest,
    placement_of,
    prominence,
    region,
)

_SURVEY_SECONDS, _GLANCE_SECONDS = 2.0, 0.5
"""Between looks for people who came later: near and far, 8 ms each, and near, 1.5 ms each."""
_LOOK_SECONDS = 0.2
"""Between looks for a face that keeps still; in the frames between it is interpolated, unless it
has moved: then they are looked at too."""
_THOROUGH_SECONDS = 0.5
"""Between searches for small faces while nobody is seen, 20 to 170 ms each."""
_NOBODY_SECONDS = 2.0
"""After so long without any face, pictures between surveys are not searched."""
_REMEMBER_SECONDS = 3.0
"""A face that comes back within this, near where it was and of its size, is the same one."""
_SAME_PLACE_UNITS = 0.7
"""Two faces nearer than this (in distances between the eyes) are one face found twice."""
_RETURN_UNITS, _RETURN_GROWTH = CROP_UNITS, 1.7
"""A face that comes back later, within a crop's width of where it was and of about its size, is the
same one if it looks the same."""
_MOST_REMEMBERED = 16
"""Faces of a shot that can come back."""
_RECENT_SIDE, _MOST_RECENT = 640, 64
"""Pixels of the longer side and count of the frames that are kept to search back in."""
_MISSED_FRAMES = 2
"""So many frames in a row without the face end the search back."""


class Sight(NamedTuple):
    """One face in one frame."""

    time: float
    placement: Placement | None
    """None = not found in this frame, nor between two in which it is at the same place."""
    cutout: Cutout
    picture: tuple[int, int]
    """Width and height, px."""

    def box(self) -> Float[np.ndarray, "4"]:
        """The square the network sees (turned upright): left, top, right, bottom as shares of the
        picture's width and height."""
        assert self.placement is not None
        side = CROP_UNITS * self.placement.unit
        low = self.placement.center - side * np.array(CROP_CENTER)
        return np.concatenate([low, low + side]) / (self.picture * 2)


class _Recent(NamedTuple):
    """A frame in which a face that is met later may already be, kept small."""

    time: float
    image: UInt8[np.ndarray, "h w 3"]
    scale: float
    """Pixels for one of the picture."""
    picture: tuple[int, int]
    """Width and height of the picture, px."""


@dataclass(eq=False)
class Followed:
    """One face and where it was lately."""

    number: int
    """In the order in which faces were met, 1 for the first of the film."""
    last: Placement
    seen: float
    looks: Float[np.ndarray, "N"]
    """Mean appearance."""
    sights: deque[Sight] = field(default_factory=deque)
    skipped: int = 0
    """How many of the last sights are still to be looked at or interpolated."""

    @property
    def begin(self) -> float:
        """Time of the first sight that is kept; inf without any."""
        return self.sights[0].time if self.sights else np.inf

    def found_lately(self, time: float) -> bool:
        """Whether a look at `time` may be spared: the last one found it, a moment ago."""
        if not self.sights or time - self.seen > _LOOK_SECONDS - 1e-3:
            return False
        return self.skipped > 0 or self.sights[-1].placement is not None

    def settle(self, detector: FaceDetector, now: Placement | None, time: float) -> None:
        """Say where the face was in the skipped frames, when at `time` it is at `now`."""
        count, self.skipped = min(self.skipped, len(self.sights)), 0
        for index in range(len(self.sights) - count, len(self.sights)):
            sight = self.sights[index]
            share = (sight.time - self.seen) / max(time - self.seen, 1e-9)
            placement = None if now is None else between(self.last, now, share)
            if placement is None:
                placement = find(detector, sight.cutout, self.last)
            self.sights[index] = sight._replace(placement=placement)

    def could_be(self, placement: Placement, looks: Float[np.ndarray, "N"]) -> float:
        """How much a face that is met while this one is away looks like it; 0 = it is another."""
        unit = max(self.last.unit, placement.unit)
        growth = unit / min(self.last.unit, placement.unit)
        away = float(np.linalg.norm(placement.center - self.last.center))
        if growth > _RETURN_GROWTH or away > _RETURN_UNITS * unit:
            return 0.0
        alike = similarity(self.looks, looks)
        return alike if alike >= SAME_FACE else 0.0

    def add_earlier(self, sights: list[Sight]) -> None:
        """Sights found in a search back, in place of those in which it was not found."""
        known = {sight.time: sight for sight in self.sights}
        known.update({sight.time: sight for sight in sights if sight.placement is not None})
        self.sights = deque(known[time] for time in sorted(known))

    def crops(self, start: float, end: float, size: int) -> FaceTrack:
        """Aligned crops of the frames from `start` to before `end`, as `track_and_crop` cuts them;
        none when the face is found in none of them."""
        inside = [sight for sight in self.sights if start <= sight.time < end]
        placements = [sight.placement for sight in inside]
        if not any(placement is not None for placement in placements):
            return FaceTrack([], np.zeros(0), np.zeros(0, bool))
        times = np.array([sight.time for sight in inside], np.float64)
        return cut_out([sight.cutout for sight in inside], placements, times, size)


class FaceFollowers:
    """Follows up to `most` faces through a film.

    Each is looked for where it was, five times a second, and in every frame while it moves. At
    times, and in every frame while one is missing, the whole picture is searched, where new faces
    are met. A new face is searched for backwards in the frames since the last survey, so that its
    track begins where the face came. It is a known one if that is away, was near by, of about this
    size, and looks the same (`appearance`). All tracks end at a cut.
    """

    def __init__(self, size: int, most: int, detector: FaceDetector | None = None) -> None:
        self._detector = detector or FaceDetector()
        self._size, self._most = size, most
        self._surveyed = self._glanced = self._searched = -np.inf
        self._met: float | None = None
        """When a face was last followed."""
        self._active: list[Followed] = []
        self._gone: list[Followed] = []
        self._away: list[Followed] = []
        """Those of `_gone`, and longer ago, that can come back in this shot."""
        self._recent: deque[_Recent] = deque(maxlen=_MOST_RECENT)
        self._count = 0
        self.settled = -np.inf
        """Seconds up to which no face that is met later can be found any more."""
        self.left_out = 0
        """Most faces that were seen at one time beyond those followed."""

    @property
    def anyone(self) -> bool:
        """Whether a face is followed now."""
        return bool(self._active)

    def add(self, frame: TimedFrame, *, cut: bool = False) -> None:
        """Look for every face in the next frame; `cut`: it is the first one of a new shot."""
        image, time = frame.image, frame.time
        picture = (image.shape[1], image.shape[0])
        if cut:
            self._end_shot(time)
        for face in [f for f in self._active if time - f.seen > _REMEMBER_SECONDS]:
            self._leave(face)
        survey = time - self._surveyed >= _SURVEY_SECONDS
        sights: dict[int, tuple[Cutout, Placement | None]] = {}
        skipped = set()
        for face in self._active:
            if face.found_lately(time) and not survey:
                skipped.add(face.number)
                sights[face.number] = (region(image, face.last, self._size), face.last)
            else:
                sights[face.number] = look(self._detector, image, face.last, self._size)
        self._assign(frame, self._faces(frame, sights), sights)
        self._drop_doubles(sights)
        for face in self._active:
            cutout, placement = sights[face.number]
            if face.number in skipped:
                face.sights.append(Sight(time, None, cutout, picture))
                face.skipped += 1
                continue
            face.settle(self._detector, placement, time)
            if placement is not None:
                face.last, face.seen = placement, time
                if survey:
                    face.looks = (face.looks + appearance(cutout, placement)) / 2
            face.sights.append(Sight(time, placement, cutout, picture))
        if survey:
            self.settled = time
            self._recent.clear()
        else:
            self._recent.append(_kept_small(time, image))

    def _end_shot(self, time: float) -> None:
        """Nobody is followed through a cut, and nobody comes back after it."""
        for face in list(self._active):
            face.settle(self._detector, None, time)
            self._leave(face)
        self._away.clear()
        self._recent.clear()
        self._surveyed = self._glanced = self._searched = -np.inf
        self._met = None
        self.settled = time

    def _leave(self, face: Followed) -> None:
        self._active.remove(face)
        self._gone.append(face)
        self._away = [*self._away, face][-_MOST_REMEMBERED:]

    def _faces(
        self, frame: TimedFrame, sights: dict[int, tuple[Cutout, Placement | None]]
    ) -> list[Face]:
        """Faces to be met in the whole picture, if it is to be searched at all."""
        image, time = frame.image, frame.time
        seen = [placement is not None for _, placement in sights.values()]
        if self._active or self._met is None:
            self._met = time
        if time - self._surveyed >= _SURVEY_SECONDS:
            self._surveyed = self._glanced = time
            faces = self._detector.survey(image)
            if faces or any(seen):
                return faces
        elif seen and all(seen):
            if time - self._glanced < _GLANCE_SECONDS:
                return []
            self._glanced = time
            held = [placement for _, placement in sights.values() if placement is not None]
            if all(_near_any(placement_of(f), held) for f in self._detector.detect(image)):
                return []
        elif time - self._met > _NOBODY_SECONDS:
            return []
        thorough = not any(seen) and time - self._searched >= _THOROUGH_SECONDS
        self._searched = time if thorough else self._searched
        return self._detector.search(image, thorough=thorough)

    def _assign(
        self,
        frame: TimedFrame,
        faces: list[Face],
        sights: dict[int, tuple[Cutout, Placement | None]],
    ) -> None:
        """Give the faces of a search to those that are missing, then to new ones."""
        image, time = frame.image, frame.time
        height, width = image.shape[:2]
        held = [placement for _, placement in sights.values() if placement is not None]
        free = [face for face in faces if not _near_any(placement_of(face), held)]
        for follower in self._active:
            if sights[follower.number][1] is None:
                found = nearest(free, follower.last)
                if found is not None:
                    free.remove(found)
                    cutout, seen = look(self._detector, image, placement_of(found), self._size)
                    sights[follower.number] = (cutout, seen)
                    if seen is not None:
                        held.append(seen)
                        follower.add_earlier(self._traced_back(seen, follower.seen))
        while free:
            full = len(self._active) >= self._most
            if full and all(placement is not None for _, placement in sights.values()):
                self.left_out = max(self.left_out, len(free))
                return
            main = max(free, key=lambda face: prominence(placement_of(face), width, height))
            free.remove(main)
            cutout, placement = look(self._detector, image, placement_of(main), self._size)
            if placement is None or _near_any(placement, held):
                continue
            met = self._met_again(cutout, placement, sights)
            if met is None and full:
                self.left_out = max(self.left_out, len(free) + 1)
                continue
            if met is None:
                self._count += 1
                met = Followed(self._count, placement, -np.inf, appearance(cutout, placement))
            met.add_earlier(self._traced_back(placement, met.seen))
            met.last, met.seen = placement, time
            if met not in self._active:
                self._active.append(met)
            held.append(placement)
            sights[met.number] = (cutout, placement)

    def _met_again(
        self,
        cutout: Cutout,
        placement: Placement,
        sights: dict[int, tuple[Cutout, Placement | None]],
    ) -> Followed | None:
        """Who of those that are away a face may be; None = somebody new."""
        full = len(self._active) >= self._most
        missing = [face for face in self._active if sights[face.number][1] is None]
        candidates = missing if full else missing + self._away
        looks = appearance(cutout, placement)
        alike = [(face.could_be(placement, looks), face) for face in candidates]
        best, face = max(alike, key=lambda pair: pair[0], default=(0.0, None))
        if face is None or best == 0:
            return None
        if face in self._away:
            self._away.remove(face)
            self._gone = [other for other in self._gone if other is not face]
        return face

    def _traced_back(self, placement: Placement, since: float) -> list[Sight]:
        """Where a face that is now at `placement` was after `since`, back to where it came."""
        held: dict[float, list[Placement]] = {}
        for face in self._active:
            for sight in face.sights:
                if sight.placement is not None:
                    held.setdefault(sight.time, []).append(sight.placement)
        traced: deque[Sight] = deque()
        missed, near = 0, placement
        for recent in reversed(self._recent):
            if recent.time <= since or missed > _MISSED_FRAMES:
                break
            small = near.scaled(recent.scale)
            cutout, found = look(self._detector, recent.image, small, self._size)
            seen = None if found is None else found.scaled(1 / recent.scale)
            if seen is not None and _near_any(seen, held.get(recent.time, [])):
                break
            missed = 0 if seen is not None else missed + 1
            near = near if seen is None else seen
            kept = cutout.scaled(1 / recent.scale)
            traced.appendleft(Sight(recent.time, seen, kept, recent.picture))
        while traced and traced[0].placement is None:
            traced.popleft()
        return list(traced)

    def _drop_doubles(self, sights: dict[int, tuple[Cutout, Placement | None]]) -> None:
        """Where two followers have met on one face, the younger has lost its own."""
        held: list[Placement] = []
        for number in sorted(sights):
            cutout, placement = sights[number]
            if placement is None:
                continue
            if _near_any(placement, held):
                sights[number] = (cutout, None)
            else:
                held.append(placement)

    def between(self, start: float, end: float) -> list[Followed]:
        """Faces found in some frame from `start` to before `end`, in the order they came."""
        for face in self._active + self._gone:
            face.settle(self._detector, None, np.inf)
        found = [
            face
            for face in self._active + self._gone
            if any(s.placement is not None and start <= s.time < end for s in face.sights)
        ]
        return sorted(found, key=lambda face: (face.begin, face.number))

    def forget(self, before: float) -> None:
        """Let go of what was before that time."""
        for face in self._active + self._gone:
            while face.sights and face.sights[0].time < before:
                face.sights.popleft()
        self._gone = [face for face in self._gone if face.sights]


def _near_any(placement: Placement, others: list[Placement]) -> bool:
    return any(
        np.linalg.norm(placement.center - other.center)
        < _SAME_PLACE_UNITS * max(placement.unit, other.unit)
        for other in others
    )


def _kept_small(time: float, image: UInt8[np.ndarray, "H W 3"]) -> _Recent:
    height, width = image.shape[:2]
    if max(height, width) <= _RECENT_SIDE or height % 2 or width % 2:
        return _Recent(time, image, 1.0, (width, height))
    half = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return _Recent(time, half, 0.5, (width, height))
