"""Active speaker detection: the face whose mouth moves with the audio."""

from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Int16, UInt8

from jax_avemo.media.faces.crops import FaceTrack
from jax_avemo.schema import AUDIO_SAMPLE_RATE

_MOUTH, _UPPER = (0.58, 0.88, 0.3, 0.7), (0.2, 0.5, 0.25, 0.75)
"""Top, bottom, left, right in sides of the crop."""
_HEAD_SHARE = 0.5
"""Of the upper face's motion, which a moving head has too, taken from the mouth's."""
_SILENCE_POWER = 1e-7
_MIN_CORRELATION, _MIN_MARGIN, _MAX_CHANCE = 0.5, 0.3, 0.05
_MIN_SECONDS, _MIN_RATE = 1.5, 8.0
"""Less, or fewer frames a second, decides nothing: syllables come at 4 to 5 a second."""
_MIN_SHIFT_SECONDS = 0.5
_LAG_FRAMES = 1
_SHIFT_SLACK = 0.02


class Synchrony(NamedTuple):
    """How a mouth goes with the audio."""

    correlation: float
    """Pearson's r of motion and level, the best of lags of up to one frame."""
    chance: float
    """Share of the audio's circular shifts by 0.5 s and more that correlate as well."""


def mouth_motion(crops: UInt8[np.ndarray, "F S S 3"]) -> Float[np.ndarray, "F-1"]:
    """Mean absolute change of the mouth from crop to crop, less half the upper face's.

    In standard deviations of the mouth's grey levels, so that light and skin do not matter.
    """
    side = crops.shape[1]
    grey = np.stack([cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) for crop in crops]).astype(np.float32)
    grey = np.stack([cv2.GaussianBlur(image, (0, 0), side / 80) for image in grey])

    def part(box: tuple[float, float, float, float]) -> Float[np.ndarray, "F h w"]:
        top, bottom, left, right = (round(edge * side) for edge in box)
        return grey[:, top:bottom, left:right]

    mouth, upper = part(_MOUTH), part(_UPPER)
    change = np.abs(np.diff(mouth, axis=0)).mean((1, 2))
    change -= _HEAD_SHARE * np.abs(np.diff(upper, axis=0)).mean((1, 2))
    contrast = max(float(mouth.std((1, 2)).mean()), 1.0)
    return (np.maximum(change, 0) / contrast).astype(np.float64)


def audio_levels(
    audio: Int16[np.ndarray, "N"], times: Float[np.ndarray, "F"]
) -> Float[np.ndarray, "F-1"]:
    """Level between each two of `times` (s from the audio's beginning), dB of full scale."""
    edges = np.clip(np.round(times * AUDIO_SAMPLE_RATE).astype(int), 0, len(audio))
    power = np.concatenate([[0.0], np.cumsum(np.square(audio / 32768.0))])
    counts = np.maximum(np.diff(edges), 1)
    return 10 * np.log10(np.diff(power[edges]) / counts + _SILENCE_POWER)


def synchrony(
    motion: Float[np.ndarray, "N"], levels: Float[np.ndarray, "N"], frames_per_second: float
) -> Synchrony:
    """Correlation of two signals smoothed over three frames, and how often a shift has it too."""
    motion, levels = _smooth(motion), _smooth(levels)
    found = _best_correlation(motion, levels)
    shortest = int(np.ceil(_MIN_SHIFT_SECONDS * frames_per_second))
    shifts = range(shortest, len(levels) - shortest + 1)
    others = [_best_correlation(motion, np.roll(levels, shift)) for shift in shifts]
    near = found - _SHIFT_SLACK  # a shift breaks the signal at its ends
    chance = float(np.mean([other >= near for other in others])) if others else 1.0
    return Synchrony(found, chance)


def clear_speaker(faces: Mapping[int, Synchrony]) -> int | None:
    """The one face that goes with the audio; None = that is not clear.

    Its correlation is 0.5 or more, 0.3 above every other face's, and shifted audio has it in under
    5 % of the shifts. Audio-visual synchrony as in Hershey and Movellan (NIPS 1999).
    """
    best = max(faces, key=lambda face: faces[face].correlation, default=None)
    if best is None:
        return None
    rest = [other.correlation for face, other in faces.items() if face != best]
    clear = (
        faces[best].correlation >= _MIN_CORRELATION
        and faces[best].chance < _MAX_CHANCE
        and all(faces[best].correlation >= other + _MIN_MARGIN for other in rest)
    )
    return best if clear else None


def speaking_face(
    tracks: Mapping[int, FaceTrack], audio: Int16[np.ndarray, "N"], start: float
) -> int | None:
    """The face of `tracks` whose mouth moves with `audio`, which begins at `start` s.

    None where that is not clear, and where a track is too short or has too few frames to tell.
    """
    faces = {}
    for face, track in tracks.items():
        times = track.times
        gaps = np.diff(times)
        if not gaps.size or times[-1] - times[0] < _MIN_SECONDS or np.median(gaps) > 1 / _MIN_RATE:
            return None
        seen = track.found[1:] & track.found[:-1]
        if seen.sum() < _MIN_SECONDS / np.median(gaps):
            return None
        motion = mouth_motion(np.stack(track.crops))
        motion = np.interp(times[1:], times[1:][seen], motion[seen])
        levels = audio_levels(audio, times - start)
        faces[face] = synchrony(motion, levels, 1 / float(np.median(gaps)))
    return clear_speaker(faces)


def _smooth(values: Float[np.ndarray, "N"]) -> Float[np.ndarray, "N"]:
    return np.convolve(np.pad(values, 1, "edge"), [0.25, 0.5, 0.25], "valid")


def _best_correlation(one: Float[np.ndarray, "N"], other: Float[np.ndarray, "N"]) -> float:
    count = len(one)
    return max(
        _correlation(
            one[max(lag, 0) : count + min(lag, 0)], other[max(-lag, 0) : count - max(lag, 0)]
        )
        for lag in range(-_LAG_FRAMES, _LAG_FRAMES + 1)
    )


def _correlation(one: Float[np.ndarray, "N"], other: Float[np.ndarray, "N"]) -> float:
    one, other = one - one.mean(), other - other.mean()
    scale = float(np.sqrt((one @ one) * (other @ other)))
    return float(one @ other) / scale if scale > 1e-12 else 0.0
