"""How files are written: whole or not at all, and by one process at a time."""

import contextlib
import errno
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jax_avemo.runtime.errors import UserError

_TEMPORARY = ".tmp-"
_LOCK = ".lock"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it onto `path` when the block succeeds.

    The temporary name keeps the suffix (encoders choose the container by it). It is removed when
    the block raises, so that a failed write leaves whatever stood at `path` untouched. When the
    disk is full the OSError names the folder.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with names_full_disk(path.parent):
        handle, name = tempfile.mkstemp(prefix=_TEMPORARY, suffix=path.suffix, dir=path.parent)
        os.close(handle)
    temporary = Path(name)
    try:
        with names_full_disk(path.parent):
            yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def names_full_disk(folder: Path) -> Iterator[None]:
    """An OSError of a full disk or quota, as a write raises it, says nothing of where: say it."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise OSError(error.errno, os.strerror(error.errno), str(folder)) from error
        raise


@contextlib.contextmanager
def locked(folder: Path, busy: str) -> Iterator[None]:
    """Hold `folder` for this process; the kernel frees it when the process ends, in whatever way.

    What a killed process left half-written directly in `folder` is removed.

    Args:
      folder: is made if need be.
      busy: what the UserError says when another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(busy) from error
        except OSError as error:
            raise UserError(f"{folder} is on a file system that locks no files: {error}") from error
        remove_leftovers(folder)
        yield


def remove_leftovers(folder: Path) -> None:
    """Delete what killed writers left; only for the holder of the lock over `folder`."""
    for leftover in folder.glob(f"{_TEMPORARY}*"):
        leftover.unlink(missing_ok=True)


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a reader sees the old file or the new one, never a part."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN and infinity are refused (ValueError)."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_atomic(path, (text + "\n").encode())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
