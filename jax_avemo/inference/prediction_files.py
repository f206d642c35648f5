"""Films to files: what `avemo predict` writes for each, and what becomes of a bad one."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jax_avemo.inference.annotate import write_annotated
from jax_avemo.inference.predict import Model
from jax_avemo.inference.timeline import Prediction
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.files import write_atomic, write_json
from jax_avemo.runtime.progress import Progress


@dataclass(frozen=True)
class FileResult:
    """What became of one file."""

    path: Path
    prediction: Prediction | None
    written: tuple[Path, ...]
    error: str
    """One line; "" = all went well."""


def predict_files(
    model: Model,
    paths: Sequence[Path],
    out: Path,
    *,
    hop_seconds: float,
    max_faces: int,
    annotate: bool,
) -> Iterator[FileResult]:
    """Predict each file and write NAME.json, NAME.csv, NAME.vtt (and NAME.annotated.mp4) to `out`.

    One that cannot be read gives an `error` and the next one comes.
    """
    for number, (path, name) in enumerate(zip(paths, output_names(paths), strict=True), 1):
        label = f"{number}/{len(paths)} {path.name}"
        prediction, written = None, []
        try:
            with _FilmProgress(label) as progress:
                prediction = model.predict(
                    path, hop_seconds=hop_seconds, max_faces=max_faces, progress=progress
                )
            written = _write(prediction, out, name)
            if annotate and "video" in prediction.modalities:
                film = out / f"{name}.annotated.mp4"
                with _FilmProgress(f"{label}, drawing") as progress:
                    write_annotated(path, prediction, film, progress=progress)
                written.append(film)
        except UserError as error:
            yield FileResult(path, prediction, tuple(written), str(error))
            continue
        damaged = "" if prediction.complete else "; ".join(prediction.notes)
        yield FileResult(path, prediction, tuple(written), damaged and f"{path}: {damaged}")


def output_names(paths: Sequence[Path]) -> list[str]:
    """The files' names without their ending, numbered where two would be the same."""
    stems = Counter(path.stem for path in paths)
    seen: Counter[str] = Counter()
    names = []
    for path in paths:
        seen[path.stem] += 1
        one_of_several = stems[path.stem] > 1
        names.append(f"{path.stem}-{seen[path.stem]}" if one_of_several else path.stem)
    return names


def _write(prediction: Prediction, out: Path, name: str) -> list[Path]:
    paths = [out / f"{name}.{ending}" for ending in ("json", "csv", "vtt")]
    write_json(paths[0], prediction.to_dict())
    write_atomic(paths[1], prediction.to_csv().encode())
    write_atomic(paths[2], prediction.to_webvtt().encode())
    return paths


def summary(prediction: Prediction) -> list[str]:
    """A film in a few lines: each face's mean probabilities, the likeliest three."""
    lines = []
    timelines: list[int | None] = [path.number for path in prediction.faces]
    for face in [*timelines, None]:
        known = [w for w in prediction.of_face(face) if w.probabilities is not None]
        if not known:
            continue
        mean = np.array([w.probabilities for w in known], np.float64).mean(axis=0)
        best = [f"{prediction.emotions[k]} {100 * mean[k]:.0f} %" for k in np.argsort(-mean)[:3]]
        who = "sound" if face is None else f"face {face}"
        lines.append(f"{who}: {', '.join(best)} (mean of {len(known)} windows)")
    unknown = sum(w.probabilities is None for w in prediction.windows)
    if unknown:
        lines.append(f"unknown in {unknown} of {len(prediction.windows)} windows")
    return lines + [f"note: {note}" for note in prediction.notes]


def as_json_line(prediction: Prediction) -> str:
    """The whole prediction on one line."""
    return json.dumps(prediction.to_dict(), ensure_ascii=False, allow_nan=False)


class _FilmProgress:
    """A bar in seconds of film, from when the film's length is known."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._bar: Progress | None = None

    def __enter__(self) -> "_FilmProgress":
        return self

    def __call__(self, done: float, total: float) -> None:
        if self._bar is None:
            self._bar = Progress(max(round(total), 1), self._label, unit="s of film")
            self._bar.__enter__()
        self._bar.advance(min(round(done), self._bar.total) - self._bar.done)

    def __exit__(self, *problem: object) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
