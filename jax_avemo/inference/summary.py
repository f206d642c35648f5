"""Summary of predictions: the leading emotion of each timeline, and a table of films."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from jax_avemo.inference.timeline import Prediction, timeline_name

TABLE_HEADER = ("file", "face", "emotion", "share", "windows", "notes")
_MOST_NAME = 40


class TimelineSummary(NamedTuple):
    """One face of a film, or its sound alone."""

    name: str
    """"face 1", "sound"."""
    emotion: str | None
    """Likeliest in the most windows; None = all windows are unknown."""
    share: float
    """Fraction of the known windows in which it is the likeliest."""
    windows: int
    """Known ones."""


def summarise(prediction: Prediction) -> list[TimelineSummary]:
    """A row for every timeline with a known window; one unknown row where there is none."""
    rows = []
    timelines: list[int | None] = [path.number for path in prediction.faces]
    for face in [*timelines, None]:
        known = [w.probabilities for w in prediction.of_face(face) if w.probabilities is not None]
        if not known:
            continue
        probabilities = np.array(known, np.float64)
        counts = np.bincount(probabilities.argmax(axis=1), minlength=len(prediction.emotions))
        # Of emotions that lead equally often, the likelier one on average.
        best = int(np.lexsort((probabilities.mean(axis=0), counts))[-1])
        rows.append(
            TimelineSummary(
                timeline_name(face),
                prediction.emotions[best],
                float(counts[best] / len(known)),
                len(known),
            )
        )
    return rows or [TimelineSummary("-", None, 0.0, 0)]


def table_rows(
    name: str, prediction: Prediction | None, notes: Sequence[str]
) -> list[tuple[str, ...]]:
    """The rows of one file under `TABLE_HEADER`; the notes stand in its first row."""
    if prediction is None:
        return [(name, "-", "-", "-", "0", "; ".join(notes))]
    unknown = sum(w.probabilities is None for w in prediction.windows)
    told = [*notes] + [f"unknown in {unknown} of {len(prediction.windows)} windows"] * (unknown > 0)
    rows: list[tuple[str, ...]] = []
    for position, row in enumerate(summarise(prediction)):
        emotion, share = row.emotion or "-", f"{100 * row.share:.0f} %" if row.emotion else "-"
        said = "; ".join(told) if position == 0 else ""
        rows.append((name, row.name, emotion, share, str(row.windows), said))
    return rows


def column_widths(names: Iterable[str], emotions: Sequence[str]) -> tuple[int, ...]:
    """Widths of the table's columns but for the last, known before the first file is read."""
    widest = max([len(TABLE_HEADER[0]), *(min(len(name), _MOST_NAME) for name in names)])
    return (widest, 7, max(map(len, (TABLE_HEADER[2], *emotions))), 5, 7)


def table_line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """One line of the table; a file name that is too long loses its beginning."""
    first = cells[0] if len(cells[0]) <= _MOST_NAME else "…" + cells[0][1 - _MOST_NAME :]
    shown = [first, *cells[1:]]
    padded = [cell.ljust(width) for cell, width in zip(shown, widths, strict=False)]
    return "  ".join([*padded, shown[-1]]).rstrip()
