"""Predictions as annotation files: ELAN, Praat TextGrid, Label Studio."""

import mimetypes
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby
from pathlib import PurePath
from typing import Any, NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree

from jax_avemo.inference.timeline import (
    APPARENT,
    Prediction,
    WindowPrediction,
    spans,
    timeline_name,
)

_SCHEMA = "http://www.w3.org/2001/XMLSchema-instance"
_LINGUISTIC_TYPE = "default-lt"


class Interval(NamedTuple):
    """A stretch of a tier, seconds, and its text."""

    start: float
    end: float
    text: str


def tiers(prediction: Prediction) -> dict[str, list[Interval]]:
    """Tiers by name, for programs in which the intervals of a tier may not overlap.

    A moment belongs to the window whose middle is nearest. Every face, and the sound alone, has a
    tier of emotions, in which neighbours of one emotion are one interval, and a tier of
    confidences, one interval a window. What is unknown has no interval. The tier "note" says over
    the whole file what must be known of it.
    """
    cut = spans(prediction.windows, prediction.duration)
    found: dict[str, list[Interval]] = {}
    for face in [*(path.number for path in prediction.faces), None]:
        said = [
            (start, end, window)
            for start, end, windows in cut
            for window in windows
            if window.face == face and window.emotion is not None
        ]
        if said:
            name = timeline_name(face)
            found[name] = list(_merged(said))
            found[f"{name}, confidence"] = [
                Interval(start, end, f"{window.confidence:.2f}") for start, end, window in said
            ]
    found["note"] = [Interval(0.0, prediction.duration, prediction.warning or APPARENT)]
    return found


def _merged(said: list[tuple[float, float, WindowPrediction]]) -> Iterator[Interval]:
    """Neighbours of one emotion as one interval."""
    number = 0
    numbered = []
    for position, (start, _, window) in enumerate(said):
        before = said[position - 1] if position else None
        joined = before and before[1] == start and before[2].emotion == window.emotion
        number += not joined
        numbered.append((number, said[position]))
    for _, group in groupby(numbered, key=lambda one: one[0]):
        parts = [part for _, part in group]
        yield Interval(parts[0][0], parts[-1][1], parts[0][2].emotion or "")


def to_elan(prediction: Prediction, media: str | None = None, date: datetime | None = None) -> str:
    """An ELAN annotation document, EAF 3.0 (the Max Planck Institute's schema EAFv3.0.xsd).

    Args:
      prediction: of a film.
      media: path of the film as seen from the document; None = beside it.
      date: when it was written; None = now.
    """
    media = PurePath(media or prediction.source).as_posix()
    root = ElementTree.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": f"jax_avemo {prediction.model.version}",
            "DATE": (date or datetime.now(UTC)).isoformat(timespec="seconds"),
            "FORMAT": "3.0",
            "VERSION": "3.0",
            "xmlns:xsi": _SCHEMA,
            "xsi:noNamespaceSchemaLocation": "http://www.mpi.nl/tools/elan/EAFv3.0.xsd",
        },
    )
    header = ElementTree.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    # ELAN looks at the relative address first, and asks where the film is if neither fits.
    address = quote(media)
    relative = address if media.startswith((".", "/")) else f"./{address}"
    ElementTree.SubElement(
        header,
        "MEDIA_DESCRIPTOR",
        MEDIA_URL=f"file:///{quote(PurePath(media).name)}",
        MIME_TYPE=mimetypes.guess_type(media)[0] or "application/octet-stream",
        RELATIVE_MEDIA_URL=relative,
    )
    for name, value in (("warning", prediction.warning), ("meaning", APPARENT)):
        if value:
            ElementTree.SubElement(header, "PROPERTY", NAME=name).text = value
    order = ElementTree.SubElement(root, "TIME_ORDER")
    for name, intervals in tiers(prediction).items():
        tier = ElementTree.SubElement(
            root, "TIER", LINGUISTIC_TYPE_REF=_LINGUISTIC_TYPE, TIER_ID=name
        )
        for interval in intervals:
            _annotate(tier, order, interval)
    ElementTree.SubElement(
        root,
        "LINGUISTIC_TYPE",
        GRAPHIC_REFERENCES="false",
        LINGUISTIC_TYPE_ID=_LINGUISTIC_TYPE,
        TIME_ALIGNABLE="true",
    )
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, "unicode") + "\n"


def _annotate(tier: ElementTree.Element, order: ElementTree.Element, interval: Interval) -> None:
    """Add an annotation to the tier, and its two time slots to the time order."""
    references = {}
    for side, seconds in enumerate((interval.start, interval.end), 1):
        name = f"ts{len(order) + 1}"
        stamp = {"TIME_SLOT_ID": name, "TIME_VALUE": str(round(1000 * seconds))}
        ElementTree.SubElement(order, "TIME_SLOT", stamp)
        references[f"TIME_SLOT_REF{side}"] = name
    around = ElementTree.SubElement(tier, "ANNOTATION")
    about = {"ANNOTATION_ID": f"a{len(order) // 2}", **references}
    aligned = ElementTree.SubElement(around, "ALIGNABLE_ANNOTATION", about)
    ElementTree.SubElement(aligned, "ANNOTATION_VALUE").text = interval.text


def to_textgrid(prediction: Prediction) -> str:
    """A Praat TextGrid (long text format) whose tiers reach from 0 to the end of the file."""
    end = round(prediction.duration, 6)
    found = tiers(prediction)
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {end}",
        "tiers? <exists>",
        f"size = {len(found)}",
        "item []:",
    ]
    for number, (name, intervals) in enumerate(found.items(), 1):
        filled = list(_filled(intervals, end))
        lines += [
            f"    item [{number}]:",
            '        class = "IntervalTier"',
            f"        name = {_quoted(name)}",
            "        xmin = 0",
            f"        xmax = {end}",
            f"        intervals: size = {len(filled)}",
        ]
        for position, interval in enumerate(filled, 1):
            lines += [
                f"        intervals [{position}]:",
                f"            xmin = {interval.start}",
                f"            xmax = {interval.end}",
                f"            text = {_quoted(interval.text)}",
            ]
    return "\n".join(lines) + "\n"


def _filled(intervals: list[Interval], end: float) -> Iterator[Interval]:
    """The intervals with empty ones between them, from 0 to the end: Praat allows no gap."""
    reached = 0.0
    for start, stop, text in intervals:
        start, stop = round(start, 6), min(round(stop, 6), end)
        if start > reached:
            yield Interval(reached, start, "")
        if stop > start:
            yield Interval(start, stop, text)
        reached = max(reached, stop)
    if end > reached:
        yield Interval(reached, end, "")


def _quoted(text: str) -> str:
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


def to_label_studio(prediction: Prediction, media: str | None = None) -> list[dict[str, Any]]:
    """One Label Studio task with its pre-annotations, for an import as "Basic" JSON.

    The labelling configuration is that of docs/guides/predict.md: `Labels` named "emotion" on an
    `Audio` named "audio", which a `Video` may follow. `media` is the film's address for Label
    Studio; None = its name.
    """
    results: list[dict[str, Any]] = []
    for name, intervals in tiers(prediction).items():
        if name == "note" or name.endswith(", confidence"):
            continue
        for interval in intervals:
            results.append(
                {
                    "id": f"r{len(results) + 1}",
                    "from_name": "emotion",
                    "to_name": "audio",
                    "type": "labels",
                    "value": {
                        "start": round(interval.start, 3),
                        "end": round(interval.end, 3),
                        "channel": 0,
                        "labels": [interval.text],
                    },
                    "meta": {"text": [name]},
                }
            )
    known = [w.confidence for w in prediction.windows if w.confidence is not None]
    facts = prediction.model
    return [
        {
            "data": {
                "media": media or prediction.source,
                "meaning": APPARENT,
                "warning": prediction.warning,
            },
            "predictions": [
                {
                    "model_version": f"{facts.name} {facts.size}, step {facts.step}",
                    "score": round(sum(known) / len(known), 4) if known else 0.0,
                    "result": results,
                }
            ],
        }
    ]
