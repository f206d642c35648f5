"""Aligned face crops: upright, centred, of one size, without jitter."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from jax_avemo.media.faces.placement import CROP_CENTER, CROP_UNITS, Cutout, Placement

# Time constants of the smoothing. Size changes slowly, and following it quickly would turn an
# opening mouth into a shrinking face.
_CENTER_SECONDS, _ANGLE_SECONDS, _SCALE_SECONDS = 0.08, 0.15, 0.5


class FaceTrack(NamedTuple):
    """Aligned crops of one face."""

    crops: list[UInt8[np.ndarray, "S S 3"]]
    times: Float[np.ndarray, "F"]
    found: Bool[np.ndarray, "F"]
    """True where the face was seen, or a moment before and a moment after in one place."""


def cut_out(
    cutouts: Sequence[Cutout],
    placements: Sequence[Placement | None],
    times: Float[np.ndarray, "F"],
    size: int,
) -> FaceTrack:
    """The crops of pictures at `times`, None where the face was not found; found at least once.

    The crop is a similarity transform that makes the smoothed eye line horizontal. Where the face
    was not found, it lies between its neighbours.
    """
    found = np.array([placement is not None for placement in placements], bool)
    known = [placement for placement in placements if placement is not None]
    smooth = _smoothed(known, times[found], times)
    crops = [
        aligned_crop(cutout, placement, size)
        for cutout, placement in zip(cutouts, smooth, strict=True)
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


def aligned_crop(cutout: Cutout, placement: Placement, size: int) -> UInt8[np.ndarray, "S S 3"]:
    """Turn and scale the cutout so that the face takes its canonical place."""
    center = (placement.center - cutout.corner) * cutout.scale
    # Drawn at twice the size and averaged, where the cutout has the pixels: no aliasing.
    unit = placement.unit * cutout.scale
    drawn = 2 * size if unit * CROP_UNITS > 1.2 * size else size
    scale = drawn / CROP_UNITS / unit
    cos, sin = np.cos(placement.angle) * scale, np.sin(placement.angle) * scale
    rotation = np.array([[cos, sin], [-sin, cos]])
    # OpenCV counts from the middle of the first pixel, key points from its corner.
    shift = drawn * np.array(CROP_CENTER) - rotation @ center
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


def middle_square(
    cutout: Cutout, picture: tuple[int, int], size: int
) -> UInt8[np.ndarray, "S S 3"]:
    """The middle of a picture (width, height) of which `cutout` is kept."""
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
