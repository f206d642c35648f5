"""Where faces are in a picture: BlazeFace run by OpenCV."""

import functools
import importlib.resources
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Num, UInt8

_INPUT_SIDE = 128
_SCORE_THRESHOLD = 0.5
_CONFIRMED_SCORE = 0.75
"""Of a face seen again from near by: faces reached 0.83 and more, things taken for faces 0.69."""
_SAME_FACE_OVERLAP = 0.3
# BlazeFace sees faces of a fifth of its input and more. Squares of these fractions of the short
# side, half overlapping, bring faces of 5 % of the picture's height into that range. They take the
# place of the full-range model, whose sparse weights (operator DENSIFY) OpenCV 5.0 cannot read.
_SEARCH_FRACTIONS = (1.0, 0.5, 0.25)
_NEAR_SIDES = 2.2
"""Side of the square around a face in which it is seen again, in sides of its box."""
_MIN_FACE_SIDE = 16
"""Pixels; less shows no expression."""


@dataclass(frozen=True)
class Face:
    """A detected face, in pixels of the picture that was searched."""

    box: Float[np.ndarray, "4"]
    """Left, top, right, bottom: from the brows to the chin."""
    score: float
    """Probability that this is a face."""
    keypoints: Float[np.ndarray, "6 2"]
    """x, y of right eye, left eye (the person's), nose tip, mouth, right ear, left ear."""

    def moved(self, offset: Num[np.ndarray, "2"], scale: float = 1.0) -> "Face":
        """In the coordinates of a picture of which this one is a part at `offset` (x, y)."""
        box = self.box.reshape(2, 2) * scale + offset
        return Face(box.reshape(4), self.score, self.keypoints * scale + offset)


class FaceDetector:
    """BlazeFace, short range (Bazarevsky et al. 2019, arXiv 1907.05047), run by OpenCV.

    About 1.6 ms a call on one core. An instance must not be shared by threads.
    """

    def __init__(self) -> None:
        asset = importlib.resources.files("jax_avemo") / "assets/face_detection_short_range.tflite"
        # The classic engine gives both outputs in one pass, the new one needs a pass for each.
        # (It is used for models read by path only: OpenCV 5.0 ignores it for those in memory.)
        with importlib.resources.as_file(asset) as path:
            self._net = cv2.dnn.readNetFromTFLite(str(path), cv2.dnn.ENGINE_CLASSIC)

    def detect(self, image_rgb: UInt8[np.ndarray, "H W 3"]) -> list[Face]:
        """Faces in the picture, best first; those under a fifth of its longer side are missed."""
        height, width = image_rgb.shape[:2]
        side = max(height, width)
        top, left = (side - height) // 2, (side - width) // 2
        square = image_rgb
        if height != width:
            square = cv2.copyMakeBorder(
                image_rgb, top, side - height - top, left, side - width - left, cv2.BORDER_CONSTANT
            )
        interpolation = cv2.INTER_AREA if side > _INPUT_SIDE else cv2.INTER_LINEAR
        square = cv2.resize(square, (_INPUT_SIDE, _INPUT_SIDE), interpolation=interpolation)
        self._net.setInput(cv2.dnn.blobFromImage(square, 1 / 127.5, mean=(127.5,) * 3))
        regressors, logits = self._net.forward(("regressors", "classificators"))
        scores = 1 / (1 + np.exp(-np.clip(logits[0, :, 0], -80, 80).astype(np.float64)))
        likely = scores > _SCORE_THRESHOLD
        if not likely.any():
            return []
        values = regressors[0][likely].astype(np.float64) / _INPUT_SIDE
        anchors = _anchors()[likely]
        half = values[:, 2:4] / 2
        center = values[:, 0:2] + anchors
        keypoints = values[:, 4:16].reshape(-1, 6, 2) + anchors[:, None]
        points = np.concatenate(
            [(center - half)[:, None], (center + half)[:, None], keypoints], axis=1
        )
        points = points * side - (left, top)
        return _merged(points, scores[likely])

    def search(
        self, image_rgb: UInt8[np.ndarray, "H W 3"], *, smallest: float = _SEARCH_FRACTIONS[-1]
    ) -> list[Face]:
        """Like `detect`, but small faces too: whole picture first, then ever smaller squares.

        The squares' sides are the short side's fractions 1, 1/2, 1/4, down to `smallest`. A face is
        looked at again from near by, which confirms it and makes its key points exact.
        """
        height, width = image_rgb.shape[:2]
        faces = self._confirmed(image_rgb, self.detect(image_rgb))
        for fraction in _SEARCH_FRACTIONS:
            side = round(min(height, width) * fraction)
            if faces or fraction < smallest or side < _MIN_FACE_SIDE:
                break
            if side == height == width:
                continue
            seen = [
                face.moved(np.array([left, top]))
                for top in _offsets(height, side)
                for left in _offsets(width, side)
                for face in self.detect(image_rgb[top : top + side, left : left + side])
            ]
            faces = self._confirmed(image_rgb, seen)
        return faces

    def _confirmed(self, image_rgb: UInt8[np.ndarray, "H W 3"], faces: list[Face]) -> list[Face]:
        seen = []
        for face in faces:
            low, high = face.box.reshape(2, 2)
            half = _NEAR_SIDES * (high - low).max() / 2
            # Moved inside, a face at the edge stays in sight.
            limit = np.array(image_rgb.shape[1::-1])
            corner = np.clip(np.round((low + high) / 2 - half), 0, limit - 1).astype(int)
            left, top = corner
            side = max(round(2 * half), 1)
            near = self.detect(image_rgb[top : top + side, left : left + side])
            seen += [other.moved(corner) for other in near if other.score >= _CONFIRMED_SCORE]
        seen = [
            face for face in seen if np.diff(face.box.reshape(2, 2), axis=0).max() >= _MIN_FACE_SIDE
        ]
        if not seen:
            return []
        points = [np.concatenate([face.box.reshape(2, 2), face.keypoints]) for face in seen]
        return _merged(np.stack(points), np.array([face.score for face in seen]))


@functools.cache
def _anchors() -> Float[np.ndarray, "896 2"]:
    centers = []
    for cells, boxes_per_cell in ((16, 2), (8, 6)):
        ticks = (np.arange(cells) + 0.5) / cells
        grid = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
        centers.append(np.repeat(grid, boxes_per_cell, axis=0))
    return np.concatenate(centers)


def _offsets(length: int, side: int) -> list[int]:
    """Beginnings of half overlapping intervals that cover `length`."""
    count = int(np.ceil((length - side) / (side / 2))) + 1
    return [round(offset) for offset in np.linspace(0, length - side, count)]


def _merged(points: Float[np.ndarray, "N 8 2"], scores: Float[np.ndarray, "N"]) -> list[Face]:
    """One face for every cluster of overlapping boxes: their mean weighted by score."""
    faces = []
    low, high = points[:, 0], points[:, 1]
    area = np.prod(np.maximum(high - low, 0), axis=1)
    left = np.argsort(-scores, kind="stable")
    while left.size:
        best = left[0]
        shared = np.prod(
            np.maximum(np.minimum(high[best], high[left]) - np.maximum(low[best], low[left]), 0),
            axis=1,
        )
        same = shared / np.maximum(area[best] + area[left] - shared, 1e-9) > _SAME_FACE_OVERLAP
        same[0] = True
        mean = np.average(points[left[same]], axis=0, weights=scores[left[same]])
        faces.append(Face(mean[:2].reshape(4), float(scores[best]), mean[2:]))
        left = left[~same]
    return faces
