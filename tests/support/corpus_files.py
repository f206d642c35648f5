"""Corpora laid out on disk as the originals are."""

import zipfile
from pathlib import Path

from jax_avemo.data.clip import ClipOptions

OPTIONS = ClipOptions(frame_size=32, frames_per_second=5, max_seconds=10)


def lay(folder: Path, files: dict[str, bytes]) -> None:
    """Write files by their path below `folder`."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def pack(archive: Path, files: dict[str, bytes]) -> Path:
    """A deflated zip with the given entries, under whatever names."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, data in files.items():
            opened.writestr(name, data)
    return archive
