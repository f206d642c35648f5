"""Predictions of a film: windows, faces and notes, as JSON, CSV and WebVTT."""

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.text_tables import to_csv

PREDICTION_SCHEMA_VERSION = 1
SYNTHETIC_WARNING = "trained on synthetic actors: not for real people"
APPARENT = "apparent emotion, not anybody's inner state"


@dataclass(frozen=True)
class ModelFacts:
    """Which network spoke."""

    name: str
    size: str
    run: str
    step: int
    version: str
    """Of jax_avemo."""
    corpus: str
    synthetic: bool
    """Trained on the synthetic corpus alone."""
    calibrated: bool
    """Whether confidences were fitted on validation clips; else they are bare softmax values."""
    modalities: tuple[str, ...]
    window_seconds: float

    @property
    def warning(self) -> str:
        """What every output must say; "" = nothing."""
        return SYNTHETIC_WARNING if self.synthetic else ""


@dataclass(frozen=True)
class WindowPrediction:
    """What is said of one face, or of the sound alone, in one window."""

    start: float
    """Seconds."""
    end: float
    face: int | None
    """Number of the face; None = the sound, or nobody."""
    modalities: tuple[str, ...]
    """What was there and used: "video", "audio", both, or () = unknown."""
    probabilities: Float[np.ndarray, " K"] | None = field(repr=False)
    """Calibrated, in the order of the emotions; None = unknown."""
    emotion: str | None
    """The likeliest; None = unknown."""
    confidence: float | None
    """Its probability."""
    box: tuple[float, float, float, float] | None
    """Middle of the face's boxes in the window: left, top, right, bottom, shares of the picture."""
    reason: str
    """Why it is unknown; "" = it is known."""
    embedding: Float[np.ndarray, " E"] | None = field(repr=False, default=None)
    """z_e."""
    enrolled: int = 0
    """How many earlier windows of the person it was centred on; 0 = read as it is."""


@dataclass(frozen=True)
class FacePath:
    """Where one face was."""

    number: int
    times: Float[np.ndarray, " N"]
    """Seconds, at most 5 a second."""
    boxes: Float[np.ndarray, "N 4"]
    """Left, top, right, bottom: shares of the picture's width and height."""


@dataclass(frozen=True, repr=False)
class Prediction:
    """All that is said of one film."""

    source: str
    duration: float
    """Seconds."""
    emotions: tuple[str, ...]
    modalities: tuple[str, ...]
    """What the file has, of "video" and "audio"."""
    windows: tuple[WindowPrediction, ...]
    """By start; within a window by face."""
    faces: tuple[FacePath, ...]
    notes: tuple[str, ...]
    """What a reader should know of this file: sound missing, cut off, faces left out."""
    complete: bool
    """False: the file was damaged and ends before its time."""
    model: ModelFacts
    shots: tuple[tuple[float, float], ...] = ()
    """Start and end of every shot, seconds, cut hard from the next; empty without video."""

    def __repr__(self) -> str:
        from jax_avemo.inference.summary import summarise

        said = [
            f"{row.name} {row.emotion} in {100 * row.share:.0f} % of {row.windows} windows"
            if row.emotion
            else "unknown"
            for row in summarise(self)
        ]
        warned = [self.warning] * bool(self.warning)
        return f"<Prediction {self.source!r}, {self.duration:.1f} s: {'; '.join(said + warned)}>"

    @property
    def warning(self) -> str:
        """What every output must say; "" = nothing."""
        return self.model.warning

    @property
    def times(self) -> Float[np.ndarray, "N 2"]:
        """Start and end of every window, seconds."""
        return np.array([(w.start, w.end) for w in self.windows]).reshape(-1, 2)

    @property
    def probabilities(self) -> Float[np.ndarray, "N K"]:
        """Of every window; a row of NaN where it is unknown."""
        unknown = np.full(len(self.emotions), np.nan)
        rows = [unknown if w.probabilities is None else w.probabilities for w in self.windows]
        return np.array(rows, np.float64).reshape(-1, len(self.emotions))

    def of_face(self, face: int | None) -> tuple[WindowPrediction, ...]:
        """The timeline of one face; None = of the sound alone and of what is unknown."""
        return tuple(window for window in self.windows if window.face == face)

    def to_dict(self) -> dict[str, Any]:
        """As it is written to JSON; docs/guides/predict.md has the schema."""
        return {
            "schema_version": PREDICTION_SCHEMA_VERSION,
            "warning": self.warning or None,
            "meaning": APPARENT,
            "source": self.source,
            "duration": round(self.duration, 3),
            "modalities": list(self.modalities),
            "complete": self.complete,
            "notes": list(self.notes),
            "model": asdict(self.model) | {"modalities": list(self.model.modalities)},
            "emotions": list(self.emotions),
            "shots": [[round(start, 3), round(end, 3)] for start, end in self.shots],
            "windows": [self._window(window) for window in self.windows],
            "faces": [
                {
                    "face": path.number,
                    "boxes": [
                        [round(float(t), 3), *np.round(box, 4).tolist()]
                        for t, box in zip(path.times, path.boxes, strict=True)
                    ],
                }
                for path in self.faces
            ],
        }

    def _window(self, window: WindowPrediction) -> dict[str, Any]:
        probabilities = window.probabilities
        return {
            "start": round(window.start, 3),
            "end": round(window.end, 3),
            "face": window.face,
            "modalities": list(window.modalities),
            "emotion": window.emotion,
            "confidence": None if window.confidence is None else round(window.confidence, 4),
            "probabilities": None
            if probabilities is None
            else [round(float(p), 5) for p in probabilities],
            "box": None if window.box is None else [round(x, 4) for x in window.box],
            "reason": window.reason or None,
            "enrolled": window.enrolled,
        }

    def csv_header(self) -> list[str]:
        """Names of the columns of `csv_rows`."""
        head = ["source", "start", "end", "face", "modalities", "emotion", "confidence"]
        box = ["left", "top", "right", "bottom"]
        return [*head, *(f"p_{name}" for name in self.emotions), *box, "reason", "warning"]

    def csv_rows(self, source: str | None = None) -> list[list[Any]]:
        """One row a window, empty cells where it is unknown; `source` in place of the file name."""
        rows = []
        for window in self.windows:
            shown = self._window(window)
            rows.append(
                [
                    source or self.source,
                    shown["start"],
                    shown["end"],
                    "" if window.face is None else window.face,
                    "+".join(window.modalities),
                    window.emotion or "",
                    "" if window.confidence is None else shown["confidence"],
                    *(shown["probabilities"] or [""] * len(self.emotions)),
                    *(shown["box"] or [""] * 4),
                    window.reason,
                    self.warning,
                ]
            )
        return rows

    def to_csv(self) -> str:
        """`csv_header` and `csv_rows` as text."""
        return to_csv([self.csv_header(), *self.csv_rows()])

    def to_elan(self, media: str | None = None) -> str:
        """An ELAN document; see `inference.annotation_files.to_elan`."""
        from jax_avemo.inference.annotation_files import to_elan

        return to_elan(self, media)

    def to_textgrid(self) -> str:
        """A Praat TextGrid; see `inference.annotation_files.to_textgrid`."""
        from jax_avemo.inference.annotation_files import to_textgrid

        return to_textgrid(self)

    def to_label_studio(self, media: str | None = None) -> list[dict[str, Any]]:
        """A Label Studio task; see `inference.annotation_files.to_label_studio`."""
        from jax_avemo.inference.annotation_files import to_label_studio

        return to_label_studio(self, media)

    def to_dataframe(self) -> Any:
        """A pandas DataFrame, one row a window, columns as in the CSV.

        Raises:
          UserError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise UserError(
                "to_dataframe needs pandas: pip install 'jax_avemo[notebook]'"
            ) from error
        # Empty cells of the CSV are missing values here.
        rows = [[None if cell == "" else cell for cell in row] for row in self.csv_rows()]
        return pandas.DataFrame(rows, columns=self.csv_header())

    def plot(self) -> Any:
        """Probabilities over time, one matplotlib axes a timeline; needs the extra `report`."""
        from jax_avemo.inference.notebook import plot

        return plot(self)

    def _repr_html_(self) -> str:
        from jax_avemo.inference.notebook import to_html

        return to_html(self)

    def to_webvtt(self) -> str:
        """Subtitles: each moment has the window whose middle is nearest, a line for each face."""
        lines = ["WEBVTT", ""]
        about = f"{self.model.name} {self.model.version}: {APPARENT}"
        lines += [f"NOTE {about}" + (f"; {self.warning}" if self.warning else ""), ""]
        for start, end, windows in spans(self.windows, self.duration):
            lines.append(f"{_clock(start)} --> {_clock(end)}")
            lines += [caption(window, len(windows)) for window in windows]
            lines += [f"({self.warning})"] if self.warning else []
            lines.append("")
        return "\n".join(lines)


def timeline_name(face: int | None) -> str:
    """ "face 1", or "sound" for what is said of the sound alone."""
    return "sound" if face is None else f"face {face}"


def caption(window: WindowPrediction, beside: int = 1) -> str:
    """A window in a few words: 'face 1: happy 71 %'."""
    if window.emotion is None or window.confidence is None:
        return f"unknown ({window.reason})"
    alone = "" if len(window.modalities) != 1 or window.face is None else ", by the face alone"
    name = f"{timeline_name(window.face)}: " if beside > 1 or window.face != 1 else ""
    return f"{name}{window.emotion} {100 * window.confidence:.0f} %{alone}"


def spans(
    windows: Sequence[WindowPrediction], duration: float
) -> list[tuple[float, float, list[WindowPrediction]]]:
    """The film cut where the nearest window changes: start, end, and what is said there.

    Windows overlap within a shot; a moment belongs to the one whose middle is nearest. At a hard
    cut, where they do not, each reaches to where they meet.
    """
    by_time: dict[tuple[float, float], list[WindowPrediction]] = {}
    for window in windows:
        by_time.setdefault((window.start, window.end), []).append(window)
    positions = sorted(by_time)

    def border(a: tuple[float, float], b: tuple[float, float]) -> float:
        return (a[1] + b[0]) / 2 if a[1] <= b[0] else (a[0] + a[1] + b[0] + b[1]) / 4

    cuts = [0.0, *itertools.starmap(border, itertools.pairwise(positions)), duration]
    return [
        (cuts[i], cuts[i + 1], by_time[position])
        for i, position in enumerate(positions)
        if cuts[i + 1] > cuts[i]
    ]


def _clock(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest / 1000:06.3f}"
