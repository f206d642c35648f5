"""Folders at a URL (gs://, s3://): a copy on this machine, kept in step with the original.

Clips are read in random order, logs grow and locks are held, which object stores cannot do. So a
command works on a copy below the user's cache. The copy is brought up to date first. What changes
is uploaded while the command runs and when it ends, in whatever way.
"""

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.files import TEMPORARY, atomic_path, folder_lock, user_cache, write_json
from jax_avemo.runtime.progress import Progress, say

T = TypeVar("T")
RETRY_SECONDS = (1.0, 4.0, 16.0)
"""Waits between the attempts at a request."""
UPLOAD_SECONDS = 30.0
"""Between the uploads of what changed."""
_CONNECTIONS = 8
_KEPT_HERE = (TEMPORARY, "orbax-checkpoint-tmp", ".remote.json")
"""Parts of the names of files that are not uploaded: unfinished ones, and our own record."""
_VERSION_KEYS = ("ETag", "etag", "generation", "created", "mtime", "LastModified")
"""What stores call the thing that changes with a file; the first that is there is used."""


def is_remote(location: str | Path) -> bool:
    """Whether `location` is a URL.

    >>> is_remote("gs://bucket/clips"), is_remote("data/clips")
    (True, False)
    """
    return "://" in str(location)


def local_path(location: str | Path) -> Path:
    """Where the copy of a URL lies; any other path is its own.

    >>> local_path("data/clips")
    PosixPath('data/clips')
    """
    if not is_remote(location):
        return Path(location)
    scheme, _, rest = str(location).partition("://")
    parts = [part for part in PurePosixPath(rest).parts if part not in ("/", "..")]
    if not parts:
        raise UserError(f"'{location}' names no folder: {scheme}://BUCKET/FOLDER")
    return user_cache().joinpath("remote", scheme, *parts)


def fetch(location: str | Path) -> Path:
    """Bring the copy of a URL up to date, for reading; returns its path. A path is its own.

    A CSV file comes with all that lies in its folder, because it names files there.

    Raises:
      UserError: nothing is there, it can't be reached, or its package is not installed.
    """
    if not is_remote(location):
        return Path(location)
    url = str(location)
    whole = url.rpartition("/")[0] if url.endswith(".csv") else url
    if not _Copy(whole).download():
        raise UserError(f"there is nothing at {url}")
    return local_path(url)


@contextlib.contextmanager
def in_step(*locations: str | Path) -> Iterator[list[Path]]:
    """Copies of URLs that the block may read and write; yields their paths. A path is its own.

    Raises:
      UserError: as `fetch`; and at the end, when what is new could not be uploaded.
    """
    copies = [_Copy(str(location)) for location in locations if is_remote(location)]
    for copy in copies:
        copy.download()
    ended = threading.Event()
    thread = threading.Thread(target=_keep_uploading, args=(copies, ended), daemon=True)
    if copies:
        thread.start()
    try:
        yield [local_path(location) for location in locations]
    finally:
        ended.set()
        if copies:
            thread.join()
        for copy in copies:
            copy.upload()


def _keep_uploading(copies: Iterable["_Copy"], ended: threading.Event) -> None:
    while not ended.wait(UPLOAD_SECONDS):
        try:
            for copy in copies:
                copy.upload()
        except UserError as error:
            say(f"warning: {error}; it is tried again")


class _Copy:
    """A folder or file at a URL and its copy on this machine."""

    def __init__(self, url: str) -> None:
        self.url, self.path = url.rstrip("/"), local_path(url)
        self._record = self.path.with_name(self.path.name + ".remote.json")
        self._store, self._root = self._open()
        self._agreed = self._read_record()

    def _open(self) -> tuple[Any, str]:
        import fsspec

        try:
            store, root = fsspec.core.url_to_fs(self.url)
        except ImportError as error:
            scheme = self.url.partition("://")[0]
            raise UserError(
                f"{scheme}:// needs another package: pip install 'jax_avemo[remote]'"
            ) from error
        except ValueError as error:
            raise UserError(f"{self.url}: {error}") from error
        return store, str(root)

    def _read_record(self) -> dict[str, list[Any]]:
        """By name: the version there and the state here, when both were last the same."""
        if not self.path.exists():
            return {}  # the copy was deleted
        try:
            return dict(json.loads(self._record.read_bytes()))
        except (OSError, ValueError):
            return {}

    def _write_record(self) -> None:
        write_json(self._record, self._agreed)

    def _tried(self, action: Callable[[], T]) -> T:
        """The result of a request, which is repeated when it fails."""
        for wait in (*RETRY_SECONDS, None):
            try:
                return action()
            except FileNotFoundError:
                raise
            except Exception as error:  # each store has its own
                if isinstance(error, UserError) or wait is None:
                    raise UserError(
                        f"{self.url} can't be reached ({type(error).__name__}: {error}); tried "
                        f"{len(RETRY_SECONDS) + 1} times. The same command goes on from there"
                    ) from error
                time.sleep(wait)
        raise AssertionError

    def _there(self) -> dict[str, dict[str, Any]]:
        """The files at the URL by name; "" is the name of a file that is itself the URL."""

        def listing() -> dict[str, dict[str, Any]]:
            self._store.invalidate_cache()
            found = self._store.find(self._root, detail=True)
            return {
                path.removeprefix(self._root).lstrip("/"): info
                for path, info in found.items()
                if info.get("type") != "directory"
            }

        try:
            return self._tried(listing)
        except FileNotFoundError:
            return {}

    def _address(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _place(self, name: str) -> Path:
        return self.path / name if name else self.path

    def download(self) -> int:
        """Fetch what is new at the URL, and drop what went away there; the number of files there.

        A file that changed on both sides is the one at the URL from then on, with a line.
        """
        there = self._there()
        if bad := [name for name in there if name and {"..", ""} & set(name.split("/"))]:
            raise UserError(f"{self.url} has a file with the name {bad[0]!r}: it is not copied")
        if self._agreed and not there:
            raise UserError(
                f"nothing is left at {self.url}; its copy {self.path} is whole: put it back, or "
                "delete it to begin anew"
            )
        wanted = [name for name, info in there.items() if self._is_new(name, info)]
        if lost := [name for name in wanted if self._changed_here(name)]:
            say(f"{len(lost)} files changed here and at {self.url}: those at {self.url} are used")
        for name in self._agreed.keys() - there.keys():
            if not self._changed_here(name):
                self._remove(self._place(name))
            del self._agreed[name]
        if wanted:
            self._download(wanted, there)
        return len(there)

    def _is_new(self, name: str, info: dict[str, Any]) -> bool:
        """Whether the file at the URL is not the one that was last the same on both sides."""
        agreed = self._agreed.get(name)
        if agreed is None or agreed[0] != _version(info):
            return True
        # What was deleted here since is deleted there by `upload`; a single file comes again.
        return not name and not self.path.exists()

    def _changed_here(self, name: str) -> bool:
        state = _state(self._place(name))
        agreed = self._agreed.get(name)
        return state is not None and (agreed is None or state != agreed[1])

    def _remove(self, path: Path) -> None:
        """Delete a file, and the folders that it leaves empty: a checkpoint is a folder."""
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            while path.parent != self.path:
                path = path.parent
                path.rmdir()

    def _download(self, names: list[str], there: dict[str, dict[str, Any]]) -> None:
        def one(name: str) -> str:
            place, info = self._place(name), there[name]
            with atomic_path(place) as temporary:
                self._tried(partial(self._store.get_file, self._address(name), str(temporary)))
            if (moment := _modified(info)) is not None:
                os.utime(place, (moment, moment))  # the same on every machine
            return name

        label = f"fetching {self.url}"
        with (
            ThreadPoolExecutor(_CONNECTIONS) as pool,
            Progress(len(names), label, unit="files") as progress,
        ):
            try:
                for name in pool.map(one, names):
                    self._agreed[name] = [_version(there[name]), _state(self._place(name))]
                    progress.advance()
            finally:
                pool.shutdown(cancel_futures=True)
                self._write_record()

    def upload(self) -> None:
        """Send what is new here, the newest last; then delete there what was deleted here."""
        here = self._here()
        new = [name for name in here if self._agreed.get(name, [None, None])[1] != here[name]]
        gone = self._agreed.keys() - here.keys()
        if not new and not gone:
            return
        new.sort(key=lambda name: here[name][1])
        for part in (new[:-1], new[-1:]):  # summaries are written when all else is there
            self._upload(part, here)
        for name in gone:
            with contextlib.suppress(FileNotFoundError):
                self._tried(partial(self._store.rm_file, self._address(name)))
            del self._agreed[name]
        self._write_record()

    def _upload(self, names: list[str], here: dict[str, list[int]]) -> None:
        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            try:
                for name, version in zip(names, pool.map(self._send, names), strict=True):
                    if version is not None:
                        self._agreed[name] = [version, here[name]]
            finally:
                pool.shutdown(cancel_futures=True)
                self._write_record()

    def _send(self, name: str) -> list[Any] | None:
        """The version of the file at the URL once it is sent; None = it is not here any more."""
        place, address = str(self._place(name)), self._address(name)
        try:
            self._tried(partial(self._store.put_file, place, address))
            return _version(self._tried(partial(self._store.info, address)))
        except FileNotFoundError:
            return None

    def _here(self) -> dict[str, list[int]]:
        found = {}
        for folder, _, files in os.walk(self.path):
            for file in files:
                path = Path(folder, file)
                name = path.relative_to(self.path).as_posix()
                unfinished = any(part in name for part in _KEPT_HERE)
                state = _state(path)
                if not unfinished and path.name != folder_lock(path.parent).name and state:
                    found[name] = state
        return found


def _version(info: dict[str, Any]) -> list[Any]:
    """JSON values that change with the file at a URL."""
    stamps = [str(info[key]) for key in _VERSION_KEYS if info.get(key) is not None]
    return [info.get("size"), *stamps[:1]]


def _modified(info: dict[str, Any]) -> float | None:
    """Seconds since 1970; None = the store does not say."""
    for key in ("LastModified", "mtime", "updated", "created"):
        moment = info.get(key)
        if isinstance(moment, str):
            moment = datetime.fromisoformat(moment)
        if isinstance(moment, datetime):
            return moment.timestamp()
        if isinstance(moment, int | float):
            return float(moment)
    return None


def _state(path: Path) -> list[int] | None:
    """Size and date of a file here; None = there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]
