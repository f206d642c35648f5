"""Files inside zips, listed and unpacked under limits.

A path may lead into an archive: `corpus.zip/Actor_01/x.mp4`. `list_archive` tells which entries may
be used, `unpack` writes one of them to a place that the caller chose, so that an entry's name
(`../../x`, `/etc/x`) decides nothing about where bytes go.
"""

import contextlib
import functools
import re
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from jax_avemo.runtime.errors import UserError

ARCHIVE_SUFFIX = ".zip"
MAX_ENTRY_BYTES = 1 << 30
"""Unpacked; a film of ten minutes has less."""
_MAX_DIRECTORY_BYTES = 16 << 20
"""Of the archive's list of entries: 100,000 files have less; it takes ten times that to hold."""
_MAX_RATIO = 100
"""Films and sound hardly shrink: more than this is a bomb, unless the entry is small."""
_SMALL_BYTES = 16 << 20
_UTF8_FLAG = 0x800
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_END, _END64, _LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_DRIVE = re.compile(r"[A-Za-z]:")


class ArchiveError(UserError):
    """An archive or entry that is not used; `reason` says why in one line, without the path."""

    def __init__(self, reason: str, path: Path) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


@dataclass(frozen=True)
class Listing:
    """The files of an archive."""

    entries: dict[str, zipfile.ZipInfo]
    """By name with '/', neither leading out of the archive nor hidden; folders are left out."""
    refused: tuple[tuple[str, str], ...]
    """(name, reason) of entries that are not unpacked."""
    guessed_encoding: str = ""
    """How names were read that the archive does not mark as UTF-8; "" = there is none but UTF-8."""


def list_archive(path: Path) -> Listing:
    """What is in the zip at `path`; nothing is unpacked. Raises ArchiveError when it is no zip."""
    status = path.stat()
    return _list(path, status.st_size, status.st_mtime_ns)


def locate(path: Path) -> tuple[Path, str] | None:
    """(archive, entry's name) of a path that leads into a zip; None when it does not."""
    for parent in path.parents:
        if parent.suffix.lower() == ARCHIVE_SUFFIX and parent.is_file():
            return parent, path.relative_to(parent).as_posix()
    return None


def file_state(path: Path) -> tuple[int, int]:
    """What changes when the file does: size and date, or in an archive size and checksum.

    Raises FileNotFoundError.
    """
    found = locate(path)
    if found is None:
        status = path.stat()
        return status.st_size, status.st_mtime_ns
    info = list_archive(found[0]).entries.get(found[1])
    if info is None:
        raise FileNotFoundError(path)
    return info.file_size, info.CRC


def unpack(path: Path, target: Path) -> None:
    """Write the entry that `path` leads to as the file `target`; a failure leaves none.

    Raises ArchiveError when it is refused, damaged, or larger than it says.
    """
    try:
        with _opened_entry(path) as source, target.open("wb") as sink:
            # A stream that is longer than its entry says ends there, with a wrong checksum.
            shutil.copyfileobj(source, sink)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def read_small(path: Path, limit: int = 1 << 20) -> bytes:
    """The content of a file or an archive's entry of at most `limit` bytes.

    Raises ArchiveError when it is larger or cannot be read.
    """
    with path.open("rb") if locate(path) is None else _opened_entry(path) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ArchiveError(f"is larger than {limit} bytes", path)
    return data


@contextlib.contextmanager
def _opened_entry(path: Path) -> Iterator[IO[bytes]]:
    found = locate(path)
    if found is None:
        raise ArchiveError("no such file", path)
    archive, name = found
    listing = list_archive(archive)
    info = listing.entries.get(name)
    if info is None:
        raise ArchiveError(dict(listing.refused).get(name, "no such file"), path)
    try:
        with zipfile.ZipFile(archive) as opened, opened.open(info) as source:
            yield source
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as error:
        raise ArchiveError("is damaged inside its archive", path) from error


@functools.lru_cache(maxsize=64)
def _list(path: Path, size: int, modified_ns: int) -> Listing:
    """As `list_archive`; kept, because every entry's fingerprint asks for it."""
    entries: dict[str, zipfile.ZipInfo] = {}
    refused: list[tuple[str, str]] = []
    try:
        if _directory_bytes(path, size) > _MAX_DIRECTORY_BYTES:
            raise ArchiveError("is an archive with an endless list of entries", path)
        with zipfile.ZipFile(path) as opened:
            infos = opened.infolist()
    except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError) as error:
        raise ArchiveError("is no zip archive that can be read", path) from error
    names, guessed = _decoded_names(infos)
    for info, decoded in zip(infos, names, strict=True):
        name = decoded.replace("\\", "/")
        reason = _refusal(info, name)
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if reason is None and info.is_dir():
            continue
        # What archives from one system leave behind, as the walk of a folder skips it.
        if any(part.startswith(".") and part != ".." or part == "__MACOSX" for part in parts):
            continue
        name = "/".join(parts) if reason is None else name
        if reason is None and name in entries:
            reason = "stands twice in its archive"
        if reason is None:
            entries[name] = info
        else:
            refused.append((name.encode(errors="replace").decode(), reason))
    return Listing(entries, tuple(refused), guessed)


def _decoded_names(infos: list[zipfile.ZipInfo]) -> tuple[list[str], str]:
    """Names as they were meant, and the encoding they were read by where it is a guess.

    Without the mark of UTF-8, zipfile reads code page 437, as the format says. Many systems write
    UTF-8 all the same, or the code page of their country; told by what all the names can be.
    """
    raw: list[bytes | None] = []
    for info in infos:
        unmarked = not info.flag_bits & _UTF8_FLAG and not info.filename.isascii()
        try:
            raw.append(info.filename.encode("cp437") if unmarked else None)
        except UnicodeEncodeError:  # told by an extra field, which newer versions of zipfile read
            raw.append(None)
    unknown = b"/".join(name for name in raw if name is not None)
    encoding = "cp437"
    if _can_be_utf8(unknown):
        encoding = "utf-8"
    elif _can_be_chinese(unknown):
        encoding = "gbk"
    names = [
        info.filename if name is None else name.decode(encoding)
        for info, name in zip(infos, raw, strict=True)
    ]
    return names, encoding if unknown and encoding != "utf-8" else ""


def _can_be_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _can_be_chinese(data: bytes) -> bool:
    """Whether bytes are GBK of which half of the characters are among the common 6,763 (GB 2312).

    A letter with an accent in front of a plain one, in code page 437, is a rare character at most.
    """
    try:
        letters = [letter for letter in data.decode("gbk") if not letter.isascii()]
    except UnicodeDecodeError:
        return False
    common = sum(bool(letter.encode("gb2312", errors="ignore")) for letter in letters)
    return 2 * common >= len(letters)


def _refusal(info: zipfile.ZipInfo, name: str) -> str | None:
    """Why an entry is not to be unpacked; None when it may be."""
    if name.startswith("/") or _DRIVE.match(name) or ".." in name.split("/"):
        return "has a name that leads out of its archive"
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        return "has a name with control characters"
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "is a link"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is neither a file nor a folder"
    if info.flag_bits & 0x1:
        return "is encrypted"
    if info.compress_type not in _METHODS:
        return "is compressed by another method than deflate"
    if info.file_size > MAX_ENTRY_BYTES:
        return f"unpacks to {info.file_size / 2**30:.1f} GB, the limit is {MAX_ENTRY_BYTES >> 30}"
    if info.file_size > max(_SMALL_BYTES, _MAX_RATIO * info.compress_size):
        return f"unpacks to over {_MAX_RATIO} times its size"
    return None


def _directory_bytes(path: Path, size: int) -> int:
    """How long the archive says its list of entries is; zipfile reads it whole, whatever it says.

    Layout: PKWARE's APPNOTE, 4.3.14 to 4.3.16.
    """
    with path.open("rb") as file:
        start = max(0, size - 65_557 - 20)
        file.seek(start)
        tail = file.read(65_557 + 20)
        at = tail.rfind(_END)
        if at < 0:
            raise zipfile.BadZipFile("no end record")
        (directory,) = struct.unpack_from("<I", tail, at + 12)
        if at >= 20 and tail[at - 20 : at - 16] == _LOCATOR64:
            (place,) = struct.unpack_from("<Q", tail, at - 12)
            if place > size:
                raise zipfile.BadZipFile("end record out of the file")
            file.seek(place)
            record = file.read(56)
            if record[:4] == _END64:
                (directory,) = struct.unpack_from("<Q", record, 40)
    return int(directory)
