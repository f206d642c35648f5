"""What a reader of a corpus returns, and how it walks a folder."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jax_avemo.errors import UserError
from jax_avemo.schema import Recording

VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".3gp", ".avi", ".mkv", ".webm", ".flv"})


@dataclass(frozen=True)
class Scan:
    """What lies in a source folder."""

    recordings: tuple[Recording, ...]
    """Sorted by key."""
    emotions: tuple[str, ...]
    """The corpus's classes, in the order of their indices."""
    notes: tuple[str, ...]
    """What was skipped or is missing, each kind of thing once."""


def walk_files(source: Path) -> Iterator[tuple[str, Path]]:
    """(path below `source` with '/', path) of every file, sorted, without hidden ones.

    Links to folders are followed, each real folder once. Raises UserError when `source` is no
    folder.
    """
    if not source.is_dir():
        what = "is not a folder" if source.exists() else "does not exist"
        raise UserError(f"{source} {what}: give the folder that holds the recordings")
    seen: set[str] = set()
    found: list[tuple[str, Path]] = []
    for folder, subfolders, files in os.walk(source, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        # "__MACOSX" and "._name" are what archives from one system leave behind.
        subfolders[:] = sorted(s for s in subfolders if not s.startswith(".") and s != "__MACOSX")
        for name in files:
            if not name.startswith("."):
                path = Path(folder, name)
                found.append((path.relative_to(source).as_posix(), path))
    yield from sorted(found)
