"""Enrolment within a film: the earlier windows of a person, which its later ones are centred on."""

import numpy as np
from jaxtyping import Float

FEWEST, MOST = 4, 16
"""Windows: fewer say too little of a person; of more the latest are used."""


class EarlierWindows:
    """Embeddings z of the windows of each person in a film, of which none overlaps another.

    A person is a face track; None is the sound, taken for one person's. No emotion is looked at.
    """

    def __init__(self) -> None:
        self._kept: dict[int | None, list[tuple[float, Float[np.ndarray, " Z"]]]] = {}

    def mean_before(
        self, person: int | None, start: float
    ) -> tuple[Float[np.ndarray, " Z"] | None, int]:
        """The mean of z over the windows that end by `start` (seconds), and how many they are.

        None and 0 while there are fewer than FEWEST.
        """
        before = [z for end, z in self._kept.get(person, ()) if end <= start][-MOST:]
        if len(before) < FEWEST:
            return None, 0
        return np.mean(before, axis=0), len(before)

    def add(self, person: int | None, start: float, end: float, z: Float[np.ndarray, " Z"]) -> None:
        """Keep a window, unless it overlaps the last that was kept; windows come by start."""
        kept = self._kept.setdefault(person, [])
        if not kept or kept[-1][0] <= start:
            kept.append((end, z))
            del kept[: -MOST - 1]  # the last may overlap the next window
