"""Output files of `avemo predict`."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jax_avemo.data.corpora.scan import AUDIO_SUFFIXES, VIDEO_SUFFIXES
from jax_avemo.inference.annotate import write_annotated
from jax_avemo.inference.predict import Model
from jax_avemo.inference.timeline import Prediction
from jax_avemo.media.decoding.still import STILL_SUFFIXES
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.files import write_atomic
from jax_avemo.runtime.progress import Progress
from jax_avemo.runtime.text_tables import to_csv


def _indented(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


WRITERS: dict[str, Callable[[Prediction, str | None], str]] = {
    "json": lambda prediction, media: _indented(prediction.to_dict()),
    "csv": lambda prediction, media: prediction.to_csv(),
    "vtt": lambda prediction, media: prediction.to_webvtt(),
    "eaf": lambda prediction, media: prediction.to_elan(media),
    "TextGrid": lambda prediction, media: prediction.to_textgrid(),
    "labelstudio": lambda prediction, media: _indented(prediction.to_label_studio()),
}
"""Format -> its text of a prediction, where the film's path as seen from the file is known."""
DEFAULT_FORMATS = ("json", "csv", "vtt")
ALL_PREDICTIONS = "predictions.csv"
"""The windows of every file of a call."""


@dataclass(frozen=True)
class Source:
    """A file to predict and where its results go."""

    path: Path
    name: str
    """Below the results' folder, without the ending of a format: "film.mp4"."""


@dataclass(frozen=True)
class FileResult:
    """What became of one file."""

    source: Source
    prediction: Prediction | None
    written: tuple[Path, ...]
    error: str
    """One line; "" = all went well."""


def find_sources(paths: Sequence[Path]) -> list[Source]:
    """The files, and the media files in the folders, subfolders too, in order.

    A result is named after its file, below a folder after the path within it, so that a name does
    not depend on what else is given.

    Raises:
      UserError: a folder without media; two files whose results would have one name.
    """
    found: list[Source] = []
    for path in paths:
        if not path.is_dir():
            found.append(Source(path, path.name))
            continue
        suffixes = VIDEO_SUFFIXES | AUDIO_SUFFIXES | STILL_SUFFIXES
        inside = sorted(
            file for file in path.rglob("*") if file.suffix.lower() in suffixes and file.is_file()
        )
        if not inside:
            raise UserError(f"{path}: no film, sound or picture in this folder")
        found += [Source(file, file.relative_to(path).as_posix()) for file in inside]
    taken: dict[str, Path] = {}
    for source in found:
        other = taken.setdefault(source.name, source.path)
        if other is not source.path:
            raise UserError(
                f"the results of {other} and {source.path} would both be named {source.name}: "
                "give the folder they are in, or each a call with its own --out"
            )
    return found


def predict_files(
    model: Model,
    sources: Sequence[Source],
    out: Path,
    *,
    hop_seconds: float,
    max_faces: int,
    annotate: bool,
    enrolment: bool = True,
    formats: Sequence[str] = DEFAULT_FORMATS,
) -> Iterator[FileResult]:
    """Predict each file and write NAME.FORMAT (and NAME.annotated.mp4) to `out`.

    A file that cannot be read gives an `error` and the next one comes. `predictions.csv` holds the
    windows of all of them, also when the iterator is left early.
    """
    rows: list[list[object]] = []
    header: list[str] = []
    model.warm_up()  # compiling is no part of a film's progress
    try:
        for number, source in enumerate(sources, 1):
            label = f"{number}/{len(sources)} {source.path.name}"
            prediction, written = None, []
            try:
                with _FilmProgress(label) as progress:
                    prediction = model.predict(
                        source.path,
                        hop_seconds=hop_seconds,
                        max_faces=max_faces,
                        enrolment=enrolment,
                        progress=progress,
                    )
                written = _write(prediction, source, out, formats)
                header = prediction.csv_header()
                rows += prediction.csv_rows(source.name)
                if annotate and "video" in prediction.modalities:
                    film = out / f"{source.name}.annotated.mp4"
                    with _FilmProgress(f"{label}, drawing") as progress:
                        write_annotated(source.path, prediction, film, progress=progress)
                    written.append(film)
            except UserError as error:
                yield FileResult(source, prediction, tuple(written), str(error))
                continue
            damaged = "" if prediction.complete else "; ".join(prediction.notes)
            said = damaged and f"{source.path}: {damaged}"
            yield FileResult(source, prediction, tuple(written), said)
    finally:
        if rows:
            write_atomic(out / ALL_PREDICTIONS, to_csv([header, *rows]).encode())


def _write(prediction: Prediction, source: Source, out: Path, formats: Sequence[str]) -> list[Path]:
    written = []
    for form in formats:
        path = out / f"{source.name}.{form}{'.json' if form == 'labelstudio' else ''}"
        media = os.path.relpath(source.path, path.parent)
        write_atomic(path, WRITERS[form](prediction, media).encode())
        written.append(path)
    return written


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
