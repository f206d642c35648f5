"""Reader of a folder LABEL/SUBJECT/*.mp4."""

from collections import Counter
from pathlib import Path

from jax_avemo.data.corpora.manifest import MANIFEST_NAME, scan_manifest
from jax_avemo.data.corpora.names import plain_name, take_labels
from jax_avemo.data.corpora.scan import (
    Scan,
    find_files,
    is_audio,
    is_video,
    make_scan,
    order_emotions,
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
    films = {path.with_suffix("") for _, path in found.files if is_video(path)}
    recordings = {}
    misplaced: list[str] = []
    skipped: Counter[str] = Counter()
    for key, path in found.files:
        parts = [part for part in key.split("/") if not part.lower().endswith(ARCHIVE_SUFFIX)]
        if not is_video(path) and not is_audio(path):
            skipped["files that are neither video nor audio"] += 1
        elif len(parts) != 3 or not all(map(plain_name, parts)):
            misplaced.append(key)
        elif is_audio(path) and path.with_suffix("") in films:
            skipped["audio files beside a film of the same name"] += 1
        else:
            labels = take_labels(key=key, emotion=parts[0], subject=parts[1])
            recordings[key] = Recording(labels, path, has_video=is_video(path))
    if misplaced:
        skipped[f"files not at LABEL/SUBJECT/, as {misplaced[0]}"] = len(misplaced)
    emotions = order_emotions(recordings.values())
    return make_scan(source, found, recordings.items(), emotions, _LAYOUT, skipped=skipped)
