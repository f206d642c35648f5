"""Which files of a folder LABEL/SUBJECT/*.mp4 are takes."""

from pathlib import Path

from jax_avemo.corpora.scan import VIDEO_SUFFIXES, Scan, walk_files
from jax_avemo.errors import UserError
from jax_avemo.schema import RAVDESS_EMOTIONS, Labels, Recording

_LAYOUT = "expected is LABEL/SUBJECT/NAME.mp4, as happy/anna/take1.mp4"


def scan_folder(source: Path) -> Scan:
    """Every video at LABEL/SUBJECT/NAME; labels differ by more than letter case.

    Emotions are sorted, and stand in RAVDESS's order if all are RAVDESS's. Raises UserError when
    there is no video at that depth.
    """
    recordings = []
    misplaced: list[str] = []
    others = 0
    for key, path in walk_files(source):
        parts = key.split("/")
        if path.suffix.lower() not in VIDEO_SUFFIXES:
            others += 1
        elif len(parts) != 3:
            misplaced.append(key)
        else:
            labels = Labels(key=key, emotion=parts[0].casefold(), subject=parts[1])
            recordings.append(Recording(labels, path))
    if not recordings:
        found = f" ({len(misplaced)} videos elsewhere, as {misplaced[0]})" if misplaced else ""
        raise UserError(f"no take in {source}{found}: {_LAYOUT}")
    names = {recording.labels.emotion for recording in recordings}
    ordered = [name for name in RAVDESS_EMOTIONS if name in names]
    emotions = ordered if len(ordered) == len(names) else sorted(names)
    notes = []
    if misplaced:
        notes.append(f"skipped {len(misplaced)} videos not at LABEL/SUBJECT/, as {misplaced[0]}")
    if others:
        notes.append(f"skipped {others} files that are no video")
    return Scan(tuple(recordings), tuple(emotions), tuple(notes))
