"""Enrolment within a film: the earlier windows of a person, which its later ones are centred on."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

FEWEST, MOST = 4, 16
"""Windows: fewer say too little of a person; of more the latest are used."""
LEAST_SPREAD = 3.0
"""Emotions. What all windows have in common is taken for the person: where they have one emotion,
this emotion would be taken away. Chosen on validation subjects of RAVDESS speech (docs/results.md).
"""


class _Window(NamedTuple):
    end: float
    """Seconds."""
    z: Float[np.ndarray, " Z"]
    emotion: int
    """The likeliest, as the window is read by itself."""


class EarlierWindows:
    """Embeddings z of the windows of each person in a film, of which none overlaps another.

    A person is a face track; None is the sound, taken for one person's. No label is needed.
    """

    def __init__(self) -> None:
        self._kept: dict[int | None, list[_Window]] = {}

    def mean_before(
        self, person: int | None, start: float
    ) -> tuple[Float[np.ndarray, " Z"] | None, int]:
        """The mean of z over the windows that end by `start` (seconds), and how many they are.

        None and 0 while they are fewer than FEWEST, or their `spread` is below LEAST_SPREAD.
        """
        before = [window for window in self._kept.get(person, ()) if window.end <= start][-MOST:]
        emotions = np.array([window.emotion for window in before], int)
        if len(before) < FEWEST or spread(emotions) < LEAST_SPREAD:
            return None, 0
        return np.mean([window.z for window in before], axis=0), len(before)

    def add(
        self,
        person: int | None,
        start: float,
        end: float,
        z: Float[np.ndarray, " Z"],
        emotion: int,
    ) -> None:
        """Keep a window, unless it overlaps the last that was kept; windows come by start."""
        kept = self._kept.setdefault(person, [])
        if not kept or kept[-1].end <= start:
            kept.append(_Window(end, z, emotion))
            del kept[: -MOST - 1]  # the last may overlap the next window


def spread(emotions: Int[np.ndarray, " N"]) -> float:
    """exp(entropy) of the emotions' shares, nats: N for N that are all different, 1 for one."""
    shares = np.unique(emotions, return_counts=True)[1] / max(len(emotions), 1)
    return round(float(np.exp(-(shares * np.log(shares)).sum())), 9)  # 3 for three, not 2.999...
