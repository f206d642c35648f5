"""Which corpora can be read: name -> reader of a source folder."""

import functools
from collections.abc import Callable
from pathlib import Path

from jax_avemo.corpora.folder import scan_folder
from jax_avemo.corpora.ravdess import scan_ravdess
from jax_avemo.corpora.scan import Scan

READERS: dict[str, Callable[[Path], Scan]] = {
    "ravdess": scan_ravdess,
    "demo": functools.partial(scan_ravdess, whole=False),
    "folder": scan_folder,
}
