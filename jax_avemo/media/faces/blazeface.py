"""Face detection: BlazeFace run by OpenCV."""

import functools
import importlib.resources
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Num, UInt8

_SHORT_THRESHOLD, _FULL_THRESHOLD = 0.5, 0.4
_CONFIRMED_SCORE = 0.75
"""Of a face seen again from near by: faces reached 0.83 and more, things taken for faces 0.69."""
_SAME_FACE_OVERLAP = 0.3
_SEARCH_FRACTIONS = (1.0, 0.5)
"""Sides of the squares that are searched for the smallest faces, in short sides of the picture."""
_NEAR_SIDES = 2.2
"""Side of the square around a face in which it is seen again, in sides of its box."""
_DARK_MEAN, _LIT_MEAN = 0.25, 0.4
"""Means over full scale: a picture darker than the first is searched once more with its mean raised
to the second, and the surer faces count. Of 24 pictures of two people from H.264 at 4, 3 and 2 % of
their light with noise, faces were found in 23, 14 and 3 instead of 12, 0 and 0."""
_MIN_FACE_SIDE = 16
"""Pixels; less shows no expression."""


@dataclass(frozen=True, eq=False)  # arrays have no one answer to ==
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


class _Network:
    """One of MediaPipe's two detectors: a square picture -> a score and a box at every anchor."""

    def __init__(self, name: str, side: int, anchors: Float[np.ndarray, "A 2"]) -> None:
        self._side, self._anchors = side, anchors
        asset = importlib.resources.files("jax_avemo") / "assets" / name
        # The classic engine gives both outputs in one pass, the new one needs a pass for each.
        # (It is used for models read by path only: OpenCV 5.0 ignores it for those in memory.)
        with importlib.resources.as_file(asset) as path:
            self._net = cv2.dnn.readNetFromTFLite(str(path), cv2.dnn.ENGINE_CLASSIC)
        self._outputs = self._net.getUnconnectedOutLayersNames()

    def detect(self, image_rgb: UInt8[np.ndarray, "H W 3"], threshold: float) -> list[Face]:
        square, scale, corner = _fitted(image_rgb, self._side)
        faces = self._found(square, scale, corner, threshold)
        if _is_dark(square):
            lit = self._found(_lit(square), scale, corner, threshold)
            faces = max(faces, lit, key=lambda found: max((f.score for f in found), default=0.0))
        return faces

    def _found(
        self,
        square: UInt8[np.ndarray, "S S 3"],
        scale: float,
        corner: Float[np.ndarray, "2"],
        threshold: float,
    ) -> list[Face]:
        self._net.setInput(cv2.dnn.blobFromImage(square, 1 / 127.5, mean=(127.5,) * 3))
        found = [
            _anchor_rows(output, len(self._anchors)) for output in self._net.forward(self._outputs)
        ]
        logits, regressors = sorted(found, key=lambda rows: rows.shape[1])
        scores = 1 / (1 + np.exp(-np.clip(logits[:, 0], -80, 80).astype(np.float64)))
        likely = scores > threshold
        if not likely.any():
            return []
        values = regressors[likely].astype(np.float64) / self._side
        anchors = self._anchors[likely]
        half = values[:, 2:4] / 2
        center = values[:, 0:2] + anchors
        keypoints = values[:, 4:16].reshape(-1, 6, 2) + anchors[:, None]
        points = np.concatenate(
            [(center - half)[:, None], (center + half)[:, None], keypoints], axis=1
        )
        points = points * self._side * scale + corner
        return _merged(points, scores[likely])


class FaceDetector:
    """BlazeFace (Bazarevsky et al. 2019, arXiv 1907.05047), short and full range, run by OpenCV.

    About 1.4 ms a call for near faces, 6 ms for far ones, on one core. An instance must not be
    shared by threads.
    """

    def __init__(self) -> None:
        self._near = _Network("face_detection_short_range.tflite", 128, _near_anchors())

    @functools.cached_property
    def _far(self) -> _Network:
        # 15 ms, and most films never need it.
        return _Network("face_detection_full_range.tflite", 192, _grid(48))

    def detect(self, image_rgb: UInt8[np.ndarray, "H W 3"]) -> list[Face]:
        """Faces in the picture, best first; those under a fifth of its longer side are missed."""
        return self._near.detect(image_rgb, _SHORT_THRESHOLD)

    def survey(self, image_rgb: UInt8[np.ndarray, "H W 3"]) -> list[Face]:
        """Everyone in the picture, near and far, each confirmed; under a fifteenth missed."""
        far = self._far.detect(image_rgb, _FULL_THRESHOLD)
        return self._confirmed(image_rgb, self.detect(image_rgb) + far)

    def search(self, image_rgb: UInt8[np.ndarray, "H W 3"], *, thorough: bool = True) -> list[Face]:
        """Near faces; where there is none, far ones; where there is none, in ever smaller squares.

        Squares, only looked at if `thorough`, overlap by half; their sides are the short side's
        fractions 1 and 1/2, so that a face of 4 % of the short side is found. A face is looked at
        again from near by, which confirms it and makes its key points exact.
        """
        height, width = image_rgb.shape[:2]
        faces = self._confirmed(image_rgb, self.detect(image_rgb))
        if not faces:
            faces = self._confirmed(image_rgb, self._far.detect(image_rgb, _FULL_THRESHOLD))
        for fraction in _SEARCH_FRACTIONS if thorough else ():
            side = round(min(height, width) * fraction)
            if faces or side < _MIN_FACE_SIDE:
                break
            if side == height == width:
                continue
            seen = [
                face.moved(np.array([left, top]))
                for top in _offsets(height, side)
                for left in _offsets(width, side)
                for face in self._far.detect(
                    image_rgb[top : top + side, left : left + side], _FULL_THRESHOLD
                )
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


def _fitted(
    image: UInt8[np.ndarray, "H W 3"], side: int
) -> tuple[UInt8[np.ndarray, "S S 3"], float, Float[np.ndarray, "2"]]:
    """The picture in the middle of a square of `side`; its pixels for one of these; its corner."""
    height, width = image.shape[:2]
    factor = 1
    while max(height, width) >= 2 * factor * side:
        factor *= 2
    if height % factor or width % factor:
        image = cv2.copyMakeBorder(
            image, 0, -height % factor, 0, -width % factor, cv2.BORDER_REPLICATE
        )
    # Halving exactly is fast, any other mean over areas is not: 0.1 against 1 ms for 680 px.
    for _ in range(factor.bit_length() - 1):
        height, width = image.shape[0] // 2, image.shape[1] // 2
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    height, width = image.shape[:2]
    longest = max(height, width)
    top, left = (longest - height) // 2, (longest - width) // 2
    if height != width:
        image = cv2.copyMakeBorder(
            image, top, longest - height - top, left, longest - width - left, cv2.BORDER_CONSTANT
        )
    interpolation = cv2.INTER_AREA if longest > side else cv2.INTER_LINEAR
    square = cv2.resize(image, (side, side), interpolation=interpolation)
    return square, longest * factor / side, np.array([-left, -top], np.float64) * factor


def _mean_level(square: UInt8[np.ndarray, "S S 3"]) -> float:
    """Mean over full scale of what is not black."""
    shown = square[square.any(axis=-1)]
    return float(shown.mean()) / 255 if shown.size else 0.0


def _is_dark(square: UInt8[np.ndarray, "S S 3"]) -> bool:
    return 0 < _mean_level(square) < _DARK_MEAN


def _lit(square: UInt8[np.ndarray, "S S 3"]) -> UInt8[np.ndarray, "S S 3"]:
    """A dark picture with its mean raised by a gamma curve; black stays black."""
    gamma = np.log(_LIT_MEAN) / np.log(max(_mean_level(square), 1 / 255))
    return cv2.LUT(square, np.round(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8))


def _anchor_rows(output: np.ndarray, anchors: int) -> np.ndarray:
    """A network's output as one row an anchor.

    The full-range network's [1, 4 C, n, n] stands for [2 n, 2 n, C]: operator DEPTH_TO_SPACE.
    """
    if output.ndim == 4:
        cells = output.shape[2]
        blocks = output.transpose(0, 2, 3, 1).reshape(cells, cells, 2, 2, -1)
        output = blocks.transpose(0, 2, 1, 3, 4)
    return output.reshape(anchors, -1)


@functools.cache
def _near_anchors() -> Float[np.ndarray, "896 2"]:
    return np.concatenate([np.repeat(_grid(16), 2, axis=0), np.repeat(_grid(8), 6, axis=0)])


def _grid(cells: int) -> Float[np.ndarray, "A 2"]:
    """Centres of the cells of a square of side 1, row by row."""
    ticks = (np.arange(cells) + 0.5) / cells
    return np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)


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
        weights = scores[left[same]]
        # As np.average does, without looking at what it is given: 3 against 11 us.
        mean = (points[left[same]] * weights[:, None, None]).sum(0) / weights.sum()
        faces.append(Face(mean[:2].reshape(4), float(scores[best]), mean[2:]))
        left = left[~same]
    return faces
