"""Readers of corpora, by name."""

import functools
from collections.abc import Callable
from pathlib import Path

from jax_avemo.data.corpora.crema_d import scan_crema_d
from jax_avemo.data.corpora.emodb import scan_emodb
from jax_avemo.data.corpora.enterface05 import scan_enterface05
from jax_avemo.data.corpora.folder import scan_folder
from jax_avemo.data.corpora.manifest import scan_manifest
from jax_avemo.data.corpora.names import one_spelling
from jax_avemo.data.corpora.ravdess import scan_ravdess
from jax_avemo.data.corpora.scan import Scan, compare, with_notes
from jax_avemo.runtime.errors import UserError

READERS: dict[str, Callable[[Path], Scan]] = {
    "ravdess": scan_ravdess,
    "ravdess_song": functools.partial(scan_ravdess, channel="song"),
    "demo": functools.partial(scan_ravdess, whole=False),
    "enterface05": scan_enterface05,
    "crema_d": scan_crema_d,
    "emodb": scan_emodb,
    "folder": scan_folder,
    "manifest": scan_manifest,
}


def scan_corpus(corpus: str, source: Path) -> Scan:
    """What the reader of `corpus` finds at `source`, compared with the published corpus.

    Subjects that differ only in letter case are one.

    Raises UserError for an unknown corpus and when there is no take.
    """
    if corpus not in READERS:
        raise UserError(f"no corpus {corpus!r}: known are {', '.join(sorted(READERS))}")
    scan = one_spelling(READERS[corpus](source))
    return with_notes(scan, compare(scan))


def customary_folds(corpus: str, *, content_independent: bool = False) -> int:
    """How many folds a corpus is split into when nobody says.

    By subject 3 for the demo corpus, 6 for RAVDESS (4 actors each, as its literature has them),
    else 5; content-independent as many for every group of sentences (`splits.group_contents`).
    """
    few_sentences = corpus in ("demo", "ravdess", "ravdess_song")  # two, said with every emotion
    folds = {"demo": 3, "ravdess": 6, "ravdess_song": 6}.get(corpus, 5)
    return folds * (2 if few_sentences else 5) if content_independent else folds
