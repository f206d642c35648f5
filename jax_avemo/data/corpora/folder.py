"""Takes of a folder LABEL/SUBJECT/*.mp4."""

from collections import Counter
from pathlib import Path

from jax_avemo.data.corpora.manifest import MANIFEST_NAME, scan_manifest
from jax_avemo.data.corpora.names import plain_name, take_labels
from jax_avemo.data.corpora.scan import (
    AUDIO_SUFFIXES,
    VIDEO_SUFFIXES,
    Scan,
    find_files,
    nothing_found,
    order_emotions,
    skipped_notes,
)
from jax_avemo.media.decoding.archives import ARCHIVE_SUFFIX
from jax_avemo.schema import Recording

_LAYOUT = "expected is LABEL/SUBJECT/NAME.mp4, as happy/anna/take1.mp4"


def scan_folder(source: Path) -> Scan:
    """Every film and audio file at LABEL/SUBJECT/NAME; of a film and its audio, the film.

    A CSV file, or a folder with `manifest.csv` in it, is read as a manifest. Raises UserError when
    there is no take at that depth.
    """
    if source.suffix.lower() == ".csv" or (source / MANIFEST_NAME).is_file():
        return scan_manifest(source)
    found = find_files(source)
    films = {path.with_suffix("") for _, path in found.files if _is_film(path)}
    recordings = []
    misplaced: list[str] = []
    skipped: Counter[str] = Counter()
    for key, path in found.files:
        parts = [part for part in key.split("/") if not part.lower().endswith(ARCHIVE_SUFFIX)]
        if path.suffix.lower() not in VIDEO_SUFFIXES | AUDIO_SUFFIXES:
            skipped["files that are neither video nor audio"] += 1
        elif len(parts) != 3 or not all(map(plain_name, parts)):
            misplaced.append(key)
        elif not _is_film(path) and path.with_suffix("") in films:
            skipped["audio files beside a film of the same name"] += 1
        else:
            labels = take_labels(key=key, emotion=parts[0], subject=parts[1])
            recordings.append(Recording(labels, path, has_video=_is_film(path)))
    if misplaced:
        skipped[f"files not at LABEL/SUBJECT/, as {misplaced[0]}"] = len(misplaced)
    if not recordings:
        raise nothing_found(source, found, skipped, _LAYOUT)
    recordings.sort(key=lambda recording: recording.labels.key)
    return Scan(
        tuple(recordings),
        order_emotions(recordings),
        tuple(skipped_notes(found, skipped)),
        refused=found.refused,
        synthetic=found.synthetic,
    )


def _is_film(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES
