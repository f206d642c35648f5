"""Reader of a manifest: a CSV file with a line for each take."""

import math
import os
import posixpath
import unicodedata
from pathlib import Path

from jax_avemo.data.corpora.names import plain_name, take_labels
from jax_avemo.data.corpora.scan import Scan, is_synthetic, order_emotions
from jax_avemo.data.corpora.table import checked_cells, read_rows
from jax_avemo.media.decoding.archives import locate
from jax_avemo.runtime.errors import UserError
from jax_avemo.schema import Recording

MANIFEST_NAME = "manifest.csv"
_NEEDED = ("path", "emotion", "subject")
_KNOWN = frozenset({*_NEEDED, "start", "end", "sex", "content", "intensity", "take"})
_SEXES = {"f": "female", "female": "female", "m": "male", "male": "male", "": ""}


def scan_manifest(source: Path) -> Scan:
    """The takes of a CSV file, or of `manifest.csv` in a folder.

    The first line names the columns, in any order and letter case: path (absolute or from the CSV's
    folder; it may lead into a zip), emotion, subject, and optionally start and end (seconds), sex
    (female or male), content (the same words have the same), intensity, take. Comma, semicolon or
    tab between, or what a line "sep=;" above says; UTF-8, or UTF-16 with its mark. A bad line and a
    missing file are rejects; a table without its columns or without a take is a UserError.
    """
    table = source / MANIFEST_NAME if source.is_dir() else source
    if not table.is_file():
        raise UserError(f"{table} does not exist: give a CSV file with path, emotion and subject")
    rows = read_rows(table)
    names = [name.strip().casefold() for name in next(rows, (0, None))[1] or ()]
    if missing := [name for name in _NEEDED if name not in names]:
        raise UserError(f"{table} has no column {', '.join(missing)}; its first line names them")
    recordings: dict[str, Recording] = {}
    refused = []
    for line, cells in rows:
        try:
            row = dict(zip(names, map(str.strip, checked_cells(cells)), strict=False))
            recording = _recording(row, table.parent)
            if recordings.setdefault(recording.labels.key, recording) is not recording:
                raise UserError(f"{recording.labels.key} is listed twice")
        except UserError as error:
            refused.append((f"{table.name} line {line}", str(error)))
    if not recordings:
        why = "".join(f" ({where}: {reason})" for where, reason in refused[:1])
        raise UserError(f"{table} lists no take{why}: expected is a line for each below the names")
    ordered = sorted(recordings.values(), key=lambda recording: recording.labels.key)
    others = [name for name in names if name and name not in _KNOWN]
    return Scan(
        tuple(ordered),
        order_emotions(ordered),
        (f"columns that are not read: {', '.join(others)}",) if others else (),
        refused=tuple(refused),
        synthetic=any(is_synthetic(path) for path in {item.path.parent for item in ordered}),
    )


def _recording(row: dict[str, str], folder: Path) -> Recording:
    if missing := [name for name in _NEEDED if not plain_name(row.get(name, ""))]:
        raise UserError(f"no {', '.join(missing)}")
    start, end = _seconds(row, "start") or 0.0, _seconds(row, "end")
    if end is not None and end <= start:
        raise UserError(f"end {end:g} is not after start {start:g}")
    sex = row.get("sex", "").casefold()
    if sex not in _SEXES:
        raise UserError(f"sex is {row['sex']!r}, not female or male (or empty)")
    key = row["path"]
    if posixpath.normpath(key.replace("\\", "/")).split("/")[0] == "..":
        raise UserError(f"{key} leads out of {folder}; write it absolute if meant")
    if start or end is not None:
        key += f"#{start:.10g}-" + ("" if end is None else f"{end:.10g}")
    labels = take_labels(
        key=key,
        emotion=row["emotion"],
        subject=row["subject"],
        sex=_SEXES[sex],
        statement=row.get("content", ""),
        intensity=row.get("intensity", ""),
        take=row.get("take", ""),
    )
    return Recording(labels, _find(folder, row["path"]), start, end)


def _seconds(row: dict[str, str], name: str) -> float | None:
    text = row.get(name, "")
    if not text:
        return None
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise UserError(f"{name} is {text!r}, not seconds")
    return value


def _find(folder: Path, text: str) -> Path:
    """The listed file. Systems write letters with accents, and the slash, in two ways."""
    plain = text.replace("\\", "/")
    spellings = [text, plain, *(unicodedata.normalize(form, plain) for form in ("NFC", "NFD"))]
    paths = [folder / spelling for spelling in spellings]
    found = (path for path in paths if os.path.lexists(path) or locate(path) is not None)
    return next(found, paths[0])
