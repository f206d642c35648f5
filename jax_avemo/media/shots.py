"""Shot boundaries of a film: hard cuts."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from jax_avemo.media.decoding.container import TimedFrame

_SIDE = 32
"""Pixels of a side of the thumbnails that are compared."""
_FLOOR = 4.0
"""f: grey levels of contrast below which a thumbnail counts as even."""
_MIN_DIFFERENCE = 0.2
"""Of a cut: five of a film had 0.79 to 1.26. Between frames of 12 a second, 26 s of people speaking
reached 0.02, a cartoon and a driving car 0.08, legs that pass near the camera 0.15."""
_MIN_RATIO = 2.5
"""Of a cut's difference to the mean of its neighbours'. A cut between two fast shots reached 3.2,
a van that fills the picture 1.9."""
_BEFORE, _AFTER = 4, 2
"""Neighbours on either side; so many frames a cut is found late."""
_BACK_FRACTION = 0.5
"""Where the picture comes back this near to what it was before, it was a flash."""


class ShotFrame(NamedTuple):
    """A frame and whether it is the first one of a new shot."""

    frame: TimedFrame
    cut: bool


class ShotDetector:
    """Finds hard cuts in frames as they come; `add` returns them two frames late.

    The difference d of two frames is the cosine distance of their thumbnails a and b, less their
    means: 1 - a.b / |a||b|, which is 0 for equal and 1 for unrelated pictures in any light (both
    have a constant component f more, so that noise in the dark has no difference). A cut is a d
    that stands out of its neighbours (an adaptive threshold over time, Yeo and Liu 1995, "Rapid
    scene analysis on compressed video"), unless the picture comes back: a flash. Dissolves and
    fades are not found.
    """

    def __init__(self) -> None:
        self._thumbnails: deque[Float[np.ndarray, " N"]] = deque(maxlen=_BEFORE + _AFTER + 2)
        self._differences: deque[float] = deque(maxlen=_BEFORE + _AFTER + 1)
        self._waiting: deque[TimedFrame] = deque()

    def add(self, frame: TimedFrame) -> list[ShotFrame]:
        """Take the next frame; returns the frame of two frames ago, if there was one."""
        thumbnail = _thumbnail(frame.image)
        if self._thumbnails:
            self._differences.append(_difference(self._thumbnails[-1], thumbnail))
        self._thumbnails.append(thumbnail)
        self._waiting.append(frame)
        return [self._decided()] if len(self._waiting) > _AFTER else []

    def flush(self) -> list[ShotFrame]:
        """The waiting frames, decided from the frames at hand."""
        return [self._decided() for _ in range(len(self._waiting))]

    def _decided(self) -> ShotFrame:
        after = len(self._waiting) - 1
        frame = self._waiting.popleft()
        place = len(self._differences) - 1 - after  # of the difference to the frame before
        if place < 0:
            return ShotFrame(frame, False)
        differences = list(self._differences)
        here = differences[place]
        around = differences[max(place - _BEFORE, 0) : place] + differences[place + 1 :]
        usual = float(np.mean(around)) if around else 0.0
        if here < max(_MIN_DIFFERENCE, _MIN_RATIO * usual):
            return ShotFrame(frame, False)
        pictures = list(self._thumbnails)
        first = len(pictures) - 1 - after
        earlier, later = pictures[max(first - _AFTER - 1, 0) : first - 1], pictures[first + 1 :]
        returns = [_difference(picture, pictures[first]) for picture in earlier]
        returns += [_difference(pictures[first - 1], picture) for picture in later]
        return ShotFrame(frame, min(returns, default=here) >= _BACK_FRACTION * here)


def with_cuts(frames: Iterable[TimedFrame]) -> Iterator[ShotFrame]:
    """All `frames`, and where a new shot begins."""
    detector = ShotDetector()
    for frame in frames:
        yield from detector.add(frame)
    yield from detector.flush()


def _thumbnail(image: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, "N"]:
    step = max(1, min(image.shape[:2]) // (2 * _SIDE))  # a mean over all pixels would cost 1 ms
    small = cv2.resize(image[::step, ::step], (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    even = small.reshape(-1, 3).astype(np.float64)
    return (even - even.mean(0)).reshape(-1)


def _difference(one: Float[np.ndarray, "N"], other: Float[np.ndarray, "N"]) -> float:
    floor = one.size * _FLOOR**2
    scale = np.sqrt((one @ one + floor) * (other @ other + floor))
    return float(1 - (one @ other + floor) / scale)
