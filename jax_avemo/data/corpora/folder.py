"""Which files of a folder LABEL/SUBJECT/*.mp4 are takes."""

from collections import Counter
from pathlib import Path

from jax_avemo.data.corpora.manifest import MANIFEST_NAME, scan_manifest
from jax_avemo.data.corpora.scan import (
    VIDEO_SUFFIXES,
    Scan,
    find_files,
    nothing_found,
    order_emotions,
    skipped_notes,
)
from jax_avemo.media.decoding.archives import ARCHIVE_SUFFIX
from jax_avemo.schema import Labels, Recording

_LAYOUT = "expected is LABEL/SUBJECT/NAME.mp4, as happy/anna/take1.mp4"


def scan_folder(source: Path) -> Scan:
    """Every video at LABEL/SUBJECT/NAME; labels differ by more than letter case.

    A CSV file, or a folder with `manifest.csv` in it, is read as a manifest. Raises UserError when
    there is no video at that depth.
    """
    if source.suffix.lower() == ".csv" or (source / MANIFEST_NAME).is_file():
        return scan_manifest(source)
    found = find_files(source)
    recordings = []
    misplaced: list[str] = []
    skipped: Counter[str] = Counter()
    for key, path in found.files:
        parts = [part for part in key.split("/") if not part.lower().endswith(ARCHIVE_SUFFIX)]
        if path.suffix.lower() not in VIDEO_SUFFIXES:
            skipped["files that are no video"] += 1
        elif len(parts) != 3:
            misplaced.append(key)
        else:
            labels = Labels(key=key, emotion=parts[0].casefold(), subject=parts[1])
            recordings.append(Recording(labels, path))
    if misplaced:
        skipped[f"videos not at LABEL/SUBJECT/, as {misplaced[0]}"] = len(misplaced)
    if not recordings:
        raise nothing_found(source, found, skipped, _LAYOUT)
    recordings.sort(key=lambda recording: recording.labels.key)
    return Scan(
        tuple(recordings),
        order_emotions(recordings),
        tuple(skipped_notes(skipped)),
        refused=found.refused,
        synthetic=found.synthetic,
    )
