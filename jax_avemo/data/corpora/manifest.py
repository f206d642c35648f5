"""Which recordings a table lists: a CSV file with a line for each take."""

import csv
import io
import math
import os
import posixpath
import unicodedata
from pathlib import Path

from jax_avemo.data.corpora.scan import Scan, is_synthetic, order_emotions
from jax_avemo.media.decoding.archives import locate, read_small
from jax_avemo.runtime.errors import UserError
from jax_avemo.schema import Labels, Recording

MANIFEST_NAME = "manifest.csv"
_NEEDED = ("path", "emotion", "subject")
_KNOWN = frozenset({*_NEEDED, "start", "end", "sex", "content", "intensity", "take"})
_SEXES = {"f": "female", "female": "female", "m": "male", "male": "male", "": ""}


def scan_manifest(source: Path) -> Scan:
    """The takes of a CSV file, or of `manifest.csv` in a folder.

    The first line names the columns, in any order and letter case: path (absolute or from the CSV's
    folder; it may lead into a zip), emotion, subject, and optionally start and end (seconds), sex
    (female or male), content (the same words have the same), intensity, take. Comma, semicolon or
    tab between; UTF-8. A mistake is a UserError with its line; a missing file is a reject.
    """
    table = source / MANIFEST_NAME if source.is_dir() else source
    if not table.is_file():
        raise UserError(f"{table} does not exist: give a CSV file with path, emotion and subject")
    rows, others = _read_rows(table)
    recordings: dict[str, Recording] = {}
    for where, row in rows:
        recording = _recording(row, table.parent, where)
        if recordings.setdefault(recording.labels.key, recording) is not recording:
            raise UserError(f"{where}: {recording.labels.key} is listed twice")
    if not recordings:
        raise UserError(f"{table} lists no take: expected is a line for each below the names")
    ordered = sorted(recordings.values(), key=lambda recording: recording.labels.key)
    return Scan(
        tuple(ordered),
        order_emotions(ordered),
        (f"columns that are not read: {', '.join(others)}",) if others else (),
        synthetic=any(is_synthetic(path) for path in {item.path.parent for item in ordered}),
    )


def _read_rows(table: Path) -> tuple[list[tuple[str, dict[str, str]]], list[str]]:
    """(which line, column -> text) of every line that is not empty, and the unknown columns."""
    try:
        text = read_small(table, limit=256 << 20).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{table} is not UTF-8: save it as 'CSV UTF-8'") from error
    heading = text.split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text), delimiter=max(",;\t", key=heading.count))
    try:
        names = [name.strip().casefold() for name in next(reader, [])]
        if missing := [name for name in _NEEDED if name not in names]:
            raise UserError(f"{table} has no column {', '.join(missing)}; line 1 names them")
        rows = [
            (f"{table} line {reader.line_num}", dict(zip(names, map(str.strip, row), strict=False)))
            for row in reader
            if any(map(str.strip, row))
        ]
    except csv.Error as error:
        raise UserError(f"{table} line {reader.line_num}: {error}") from error
    return rows, [name for name in names if name and name not in _KNOWN]


def _recording(row: dict[str, str], folder: Path, where: str) -> Recording:
    if missing := [name for name in _NEEDED if not row.get(name)]:
        raise UserError(f"{where}: no {', '.join(missing)}")
    start, end = _seconds(row, "start", where) or 0.0, _seconds(row, "end", where)
    if end is not None and end <= start:
        raise UserError(f"{where}: end {end:g} is not after start {start:g}")
    sex = row.get("sex", "").casefold()
    if sex not in _SEXES:
        raise UserError(f"{where}: sex is {row['sex']!r}, not female or male (or empty)")
    key = row["path"]
    if posixpath.normpath(key.replace("\\", "/")).split("/")[0] == "..":
        raise UserError(f"{where}: {key} leads out of {folder}; write it absolute if meant")
    if start or end is not None:
        key += f"#{start:.10g}-" + ("" if end is None else f"{end:.10g}")
    labels = Labels(
        key=key,
        emotion=row["emotion"].casefold(),
        subject=row["subject"],
        sex=_SEXES[sex],
        statement=row.get("content", ""),
        intensity=row.get("intensity", ""),
        take=row.get("take", ""),
    )
    return Recording(labels, _find(folder, row["path"]), start, end)


def _seconds(row: dict[str, str], name: str, where: str) -> float | None:
    text = row.get(name, "")
    if not text:
        return None
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise UserError(f"{where}: {name} is {text!r}, not seconds")
    return value


def _find(folder: Path, text: str) -> Path:
    """The listed file. Systems write letters with accents, and the slash, in two ways."""
    plain = text.replace("\\", "/")
    spellings = [text, plain, *(unicodedata.normalize(form, plain) for form in ("NFC", "NFD"))]
    paths = [folder / spelling for spelling in spellings]
    found = (path for path in paths if os.path.lexists(path) or locate(path) is not None)
    return next(found, paths[0])
