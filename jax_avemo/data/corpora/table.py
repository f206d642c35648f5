"""Rows of CSV tables as spreadsheets write them; a bad row costs itself alone."""

import codecs
import contextlib
import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

from jax_avemo.media.decoding.archives import read_small
from jax_avemo.runtime.errors import UserError

_MAX_BYTES = 256 << 20
_MOST_LINES_A_ROW = 50
"""A quoted cell may run over lines; a quote that never closes costs its own line alone."""


def read_rows(table: Path) -> Iterator[tuple[int, list[str] | None]]:
    """(number of its line, cells) of every row that is not empty, the columns' names first.

    None = the row cannot be read. Delimited by comma, semicolon or tab, or by what a line "sep=;"
    above says; lines end as on any system; UTF-8, or UTF-16 with its mark.
    """
    data = read_small(table, limit=_MAX_BYTES)
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    # Bytes that are no UTF-8 become lone surrogates, which `checked_cells` refuses.
    text = data.decode("utf-16" if wide else "utf-8-sig", errors="surrogateescape")
    lines = list(io.StringIO(text, newline=None))
    first = next((at for at, line in enumerate(lines) if line.strip(' \t\n,;"')), len(lines))
    delimiter = max(",;\t", key=lines[first].count) if first < len(lines) else ","
    if told := re.fullmatch(r'"?sep=(.)"?\s*', "".join(lines[first : first + 1]), re.IGNORECASE):
        delimiter, first = told[1], first + 1
    while first < len(lines):
        cells: list[str] | None = None
        for last in range(first + 1, min(first + _MOST_LINES_A_ROW, len(lines)) + 1):
            with contextlib.suppress(csv.Error):
                (cells,) = csv.reader(lines[first:last], delimiter=delimiter, strict=True)
                break
        else:
            last = first + 1
        if cells is None or any(map(str.strip, cells)):
            yield first + 1, cells
        first = last


def checked_cells(cells: list[str] | None) -> list[str]:
    """The cells of a row; UserError where it cannot be read, or has what no text has."""
    if cells is None:
        raise UserError("a quote is not closed, or closed inside of a cell")
    if any("\0" in cell for cell in cells):
        raise UserError("has a NUL character")
    if any("\ud800" <= letter <= "\udfff" for cell in cells for letter in cell):
        raise UserError("is not UTF-8: save it as 'CSV UTF-8'")
    return cells
