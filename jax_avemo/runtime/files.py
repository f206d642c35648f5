"""Atomic file writes, and locks that end with their process."""

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

TEMPORARY = ".tmp-"
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
        handle, name = tempfile.mkstemp(prefix=TEMPORARY, suffix=path.suffix, dir=path.parent)
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
def try_lock(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold the lock file at `path` while the block runs; False = another process holds it.

    The kernel frees it when the process ends, in whatever way.

    Args:
      path: is made if need be, and its folder.
      wait: until the other process is done, instead of False.

    Raises:
      UserError: the file system locks no files (some network file systems).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        except OSError as error:
            raise UserError(
                f"{path.parent} is on a file system that locks no files ({error.strerror}), and "
                "without a lock two processes could write there: use a folder on a local disk, or "
                "mount this one with locks (Lustre: -o flock)"
            ) from error
        yield True


@contextlib.contextmanager
def locked(folder: Path, busy: str) -> Iterator[None]:
    """Hold `folder` for this process, as `try_lock` does.

    What a killed process left half-written directly in `folder` is removed.

    Args:
      folder: is made if need be.
      busy: what the UserError says when another process holds it.
    """
    with try_lock(folder_lock(folder)) as ours:
        if not ours:
            raise UserError(busy)
        remove_leftovers(folder)
        yield


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock file at `path`; False where there is none."""
    try:
        with path.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # no such file, or a file system where nobody can hold one
    return False


def folder_lock(folder: Path) -> Path:
    """The lock file by which `locked` holds a folder."""
    return folder / ".lock"


def user_cache() -> Path:
    """The folder for what may be lost: `$XDG_CACHE_HOME/jax_avemo`, or that of the home."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser(
        "~/.cache"
    )  # "~" if there is none
    return Path(home) / "jax_avemo"


def why_unwritable(folder: Path) -> str | None:
    """Why no file can be written in `folder`, which is made if need be; None = one can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=TEMPORARY, dir=folder):
            return None
    except OSError as error:
        return error.strerror or str(error)


def remove_leftovers(folder: Path) -> None:
    """Delete what killed writers left; only for the holder of the lock over `folder`."""
    for leftover in folder.glob(f"{TEMPORARY}*"):
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
