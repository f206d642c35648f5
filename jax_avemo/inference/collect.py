"""Windows, boxes and notes gathered of one film."""

import itertools
from dataclasses import replace

import numpy as np

from jax_avemo.data.windows import Window
from jax_avemo.inference.earlier_windows import FEWEST, MOST
from jax_avemo.inference.timeline import FacePath, WindowPrediction


class Collected:
    """Gathers predictions and boxes while a film goes by."""

    def __init__(self) -> None:
        self.windows: list[WindowPrediction] = []
        self.boxes: dict[int, list[tuple[float, ...]]] = {}
        self.heard = False
        self.left_out = 0
        self.end = 0.0
        self._shot_starts: list[float] = []

    def add(self, window: Window, predicted: list[WindowPrediction]) -> None:
        for number, rows in window.boxes.items():
            self.boxes.setdefault(number, []).extend(rows)
        self.heard |= window.heard
        self.left_out = max(self.left_out, window.left_out)
        self.end = window.end
        if not self._shot_starts or window.shot_start > self._shot_starts[-1]:
            self._shot_starts.append(window.shot_start)
        for prediction in predicted:
            self.windows.append(replace(prediction, box=self._box(prediction)))

    def _box(self, prediction: WindowPrediction) -> tuple[float, float, float, float] | None:
        """The median box of the window."""
        if prediction.face is None:
            return None
        rows = self.boxes.get(prediction.face, [])
        inside = [row[1:] for row in rows[-200:] if prediction.start <= row[0] <= prediction.end]
        if not inside:
            return None
        left, top, right, bottom = np.median(inside, axis=0).tolist()
        return left, top, right, bottom

    def shots(self) -> tuple[tuple[float, float], ...]:
        """Start and end of every shot, seconds: from one hard cut to the next."""
        edges = [*self._shot_starts, self.end]
        return tuple(itertools.pairwise(edges))

    def paths(self) -> tuple[FacePath, ...]:
        predicted = {window.face for window in self.windows}
        return tuple(
            FacePath(number, np.array(rows)[:, 0], np.array(rows)[:, 1:])
            for number, rows in sorted(self.boxes.items())
            if number in predicted
        )

    def notes(self, reads: tuple[str, ...], there: tuple[str, ...]) -> list[str]:
        """What a reader should know of a film that has the modalities `there`."""
        notes = []
        if "video" in reads and "video" not in there:
            notes.append("no picture: predicted from sound alone")
        if "audio" in reads and "audio" not in there:
            notes.append("no sound: predicted from faces alone")
        if "video" in reads and "video" in there and not self.boxes:
            notes.append("no face found")
        if "audio" in reads and "audio" in there and not self.heard:
            notes.append("the sound is silent throughout")
        if centred := [window for window in self.windows if window.enrolled]:
            notes.append(
                f"{len(centred)} of {len(self.windows)} windows were read against "
                f"{FEWEST} to {MOST} earlier ones of the same face or sound (enrolment)"
            )
        if self.left_out:
            notes.append(f"at times {self.left_out} more faces were seen than were followed")
        return notes
