"""Where the face is in every frame, and how it is cut out: upright, centred, of one size."""

from collections.abc import Iterable
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from jax_avemo.media.blazeface import FaceDetector
from jax_avemo.media.decode import MediaError, TimedFrame
from jax_avemo.media.tracking import CROP_UNITS, Cutout, Follower, Placement

FACE_FALLBACKS = ("reject", "center")

# In units (see tracking.Placement): brows lie 0.4 above the eyes, an open mouth's chin 2 below.
_CROP_CENTER = (0.5, 0.53)
"""Where the middle between eyes and mouth lies, in sides of the crop."""
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


def track_and_crop(
    frames: Iterable[TimedFrame],
    size: int,
    *,
    fallback: str = "reject",
    detector: FaceDetector | None = None,
) -> FaceTrack:
    """Follow the main face through `frames` and cut it out of each, `size` pixels square.

    Up to three faces are followed; the main one is that with the largest sum over the film of its
    share of the picture, those near the middle preferred. Only after a second without it may
    another take its place. Every frame is searched (in a square around the last position, 1.5 ms):
    half as many detections with key points interpolated between them would save a third of the
    time and lose quick movements. The crop is a similarity transform that makes the smoothed eye
    line horizontal. In frames without the face the crop is interpolated between its neighbours.

    Raises MediaError when the face is found in fewer than a quarter of the frames and `fallback`
    is "reject"; with "center" the middle square of each picture is then taken.
    """
    if fallback not in FACE_FALLBACKS:
        raise ValueError(f"fallback is {fallback!r}, not one of {FACE_FALLBACKS}")
    follower = Follower(detector or FaceDetector(), size, keep_pictures=fallback == "center")
    for frame in frames:
        follower.add(frame)
    sightings = follower.chosen()
    times = np.array([sighting.time for sighting in sightings], np.float64)
    found = np.array([sighting.placement is not None for sighting in sightings], bool)
    if found.sum() == 0 or found.mean() < _MIN_FOUND:
        if fallback == "reject":
            count = (
                f"any of {found.size}" if not found.any() else f"{(~found).sum()} of {found.size}"
            )
            raise MediaError(f"no face found in {count} frames")
        crops = [
            _middle(picture, sighting.picture_size, size)
            for picture, sighting in zip(follower.pictures(), sightings, strict=True)
        ]
        return FaceTrack(crops, times, np.zeros_like(found))
    known = [sighting.placement for sighting in sightings if sighting.placement is not None]
    smooth = _smoothed(known, times[found], times)
    crops = [
        _aligned(sighting.cutout, placement, size)
        for sighting, placement in zip(sightings, smooth, strict=True)
    ]
    return FaceTrack(crops, times, found)


def _smoothed(
    known: list[Placement], known_times: Float[np.ndarray, "K"], times: Float[np.ndarray, "F"]
) -> list[Placement]:
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
        Placement(np.array([x[i], y[i]]), float(units[i]), float(angles[i]))
        for i in range(times.size)
    ]


def _aligned(cutout: Cutout, placement: Placement, size: int) -> UInt8[np.ndarray, "S S 3"]:
    """Turn and scale the cutout so that the face takes its canonical place."""
    center = (placement.center - cutout.corner) * cutout.scale
    # Drawn at twice the size and averaged, where the cutout has the pixels: no aliasing.
    unit = placement.unit * cutout.scale
    drawn = 2 * size if unit * CROP_UNITS > 1.2 * size else size
    scale = drawn / CROP_UNITS / unit
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


def _middle(cutout: Cutout, picture: tuple[int, int], size: int) -> UInt8[np.ndarray, "S S 3"]:
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
