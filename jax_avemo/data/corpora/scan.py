"""Input and output of a corpus reader: the files of a source, and its takes."""

import dataclasses
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from jax_avemo.media.decoding.archives import (
    ARCHIVE_SUFFIX,
    ArchiveError,
    Listing,
    list_archive,
    locate,
    read_small,
)
from jax_avemo.runtime.errors import UserError
from jax_avemo.schema import RAVDESS_EMOTIONS, Recording

VIDEO_SUFFIXES = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".3gp", ".avi", ".mkv", ".webm", ".flv"),
        *(".mpg", ".mpeg", ".vob", ".ts", ".mts", ".m2ts", ".wmv", ".asf"),
    )
)
AUDIO_SUFFIXES = frozenset((".wav", ".m4a", ".mp3", ".ogg", ".oga", ".opus", ".flac", ".wma"))
DEMO_MARKS = ("corpus.json", "unfinished.json")
"""What the demo corpus leaves in its folder; both have a `generator_version`."""


@dataclass(frozen=True)
class Facts:
    """What the paper of a corpus says of the whole of it."""

    subjects: tuple[str, ...]
    takes: Mapping[str, int]
    """Of each emotion, long sessions included."""
    takes_a_subject: int | None = None
    """None: not all have as many."""
    seconds: tuple[float, float, float] | None = None
    """Shortest, mean, longest take."""


@dataclass(frozen=True)
class Scan:
    """What lies in a source."""

    recordings: tuple[Recording, ...]
    """Sorted by key."""
    emotions: tuple[str, ...]
    """The corpus's classes, in the order of their indices."""
    notes: tuple[str, ...]
    """What was skipped or is missing, each kind of thing once."""
    long_sessions: tuple[Recording, ...] = ()
    """What is not cut into takes: in no fold, for prediction."""
    disagreements: tuple[str, ...] = ()
    """Takes whose folder and file name say different things; the folder is believed."""
    refused: tuple[tuple[str, str], ...] = ()
    """(key, reason) of what cannot be read: archives and entries in them, names, lines."""
    synthetic: bool = False
    """Whether the demo made these files, whatever corpus they are read as."""
    facts: Facts | None = None


@dataclass(frozen=True)
class Found:
    """The files of a source."""

    files: tuple[tuple[str, Path], ...]
    """(path below the source with '/', path), sorted; those in zips follow all others, so that
    of a take that is there twice the unpacked file comes first."""
    refused: tuple[tuple[str, str], ...]
    synthetic: bool
    notes: tuple[str, ...] = ()
    """What was passed over, and how names of unknown encoding were read."""


def find_files(source: Path) -> Found:
    """Every file of a folder and of the zips in it, or of a zip; hidden ones are left out.

    Links to folders are followed, each real folder once. A zip's file that lies unpacked beside the
    zip counts once. Raises UserError when `source` is neither a folder nor a zip.
    """
    if source.is_file() and source.suffix.lower() == ARCHIVE_SUFFIX:
        listing = list_archive(source)
        files = [(key, source / key) for key in sorted(listing.entries)]
        told = _encoding_notes(source.name, listing)
        return Found(tuple(files), listing.refused, is_synthetic(source, files), told)
    if not source.is_dir():
        what = "is neither a folder nor a zip" if source.exists() else "does not exist"
        raise UserError(f"{source} {what}: give the folder that holds the recordings")
    walked = sorted(_walk(source))
    plain = [(key, path) for key, path in walked if _shown(key) == key]
    misnamed = [_shown(key) for key, _ in walked if _shown(key) != key]
    refused = [(name, "has a name that is not UTF-8: rename it") for name in misnamed]
    unpacked = {unicodedata.normalize("NFC", key): path for key, path in plain}
    packed: list[tuple[str, Path]] = []
    notes: tuple[str, ...] = ()
    for key, path in plain:
        if path.suffix.lower() == ARCHIVE_SUFFIX and path.is_file():
            try:
                listing = list_archive(path)
            except (ArchiveError, OSError) as error:
                reason = error.reason if isinstance(error, ArchiveError) else str(error.strerror)
                refused.append((key, reason))
                continue
            names = sorted(listing.entries)
            new = [name for name in names if not _is_unpacked(unpacked, key, name, listing)]
            packed += ((f"{key}/{name}", path / name) for name in new)
            refused += ((f"{key}/{name}", reason) for name, reason in listing.refused)
            notes += _encoding_notes(key, listing)
            if repeated := len(names) - len(new):
                notes += (f"skipped {repeated} files of {key} that lie unpacked beside it",)
    files = [(key, path) for key, path in plain if path.suffix.lower() != ARCHIVE_SUFFIX]
    synthetic = is_synthetic(source, [*files, *packed])
    return Found((*files, *packed), tuple(refused), synthetic, notes)


def _shown(key: str) -> str:
    """A path with the bytes that are no UTF-8 written out."""
    return key.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _is_unpacked(plain: Mapping[str, Path], archive: str, name: str, listing: Listing) -> bool:
    """Whether a file of this name and size lies where the archive would have been unpacked."""
    folder = archive[: archive.rfind("/") + 1]
    size = listing.entries[name].file_size
    places = [f"{folder}{name}", f"{archive[: -len(ARCHIVE_SUFFIX)]}/{name}"]
    found = [plain.get(unicodedata.normalize("NFC", place)) for place in places]
    return any(path and path.is_file() and path.stat().st_size == size for path in found)


def _encoding_notes(archive: str, listing: Listing) -> tuple[str, ...]:
    if not listing.guessed_encoding:
        return ()
    return (
        f"{archive} does not say how its names are encoded: read as {listing.guessed_encoding}",
    )


def _walk(source: Path) -> Iterable[tuple[str, Path]]:
    seen: set[str] = set()
    for folder, subfolders, names in os.walk(source, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        # "__MACOSX" and "._name" are what archives from one system leave behind.
        subfolders[:] = sorted(s for s in subfolders if not s.startswith(".") and s != "__MACOSX")
        for name in names:
            if not name.startswith("."):
                path = Path(folder, name)
                yield path.relative_to(source).as_posix(), path


def is_synthetic(folder: Path, files: Iterable[tuple[str, Path]] = ()) -> bool:
    """Whether the demo's mark lies among the files, in the folder or above it."""
    marks = [path for key, path in files if key.rsplit("/", 1)[-1] in DEMO_MARKS]
    marks += [near / name for near in (folder, folder.absolute().parent) for name in DEMO_MARKS]
    return any(_is_mark(path) for path in marks)


def _is_mark(path: Path) -> bool:
    if locate(path) is None and not path.is_file():
        return False
    try:
        return "generator_version" in json.loads(read_small(path))
    except (UserError, OSError, ValueError, TypeError):
        return False


def is_video(path: Path) -> bool:
    """Whether a file is a film by its suffix."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def is_audio(path: Path) -> bool:
    """Whether a file is audio alone by its suffix."""
    return path.suffix.lower() in AUDIO_SUFFIXES


def make_scan(
    source: Path,
    found: Found,
    takes: Iterable[tuple[Hashable, Recording]],
    emotions: tuple[str, ...],
    layout: str,
    *,
    skipped: Mapping[str, int],
    facts: Facts | None = None,
) -> Scan:
    """The result of a reader: the first recording of each take.

    `skipped` counts the other files by what they are ("files of song"). UserError when there is no
    take: what was there instead, and the `layout` of the corpus.
    """
    recordings, repeated = one_of_each(takes)
    if not recordings:
        seen = [f"{count} {what}" for what, count in skipped.items()]
        if found.refused:
            key, reason = found.refused[0]
            seen.append(f"{len(found.refused)} refused, as {key}: {reason}")
        instead = f" ({'; '.join(seen)})" if seen else ""
        raise UserError(f"no take in {source}{instead}: {layout}")
    left_out = [f"skipped {count} {what}" for what, count in sorted(skipped.items())]
    return Scan(
        recordings,
        emotions,
        (*found.notes, *left_out, *repeated),
        refused=found.refused,
        synthetic=found.synthetic,
        facts=facts,
    )


def one_of_each(
    takes: Iterable[tuple[Hashable, Recording]],
) -> tuple[tuple[Recording, ...], list[str]]:
    """The first recording of every take, sorted by key, and a note of those that repeat one."""
    first: dict[Hashable, Recording] = {}
    repeated = []
    for take, recording in takes:
        kept = first.setdefault(take, recording)
        if kept is not recording:
            repeated.append(f"{recording.labels.key} (is {kept.labels.key})")
    notes = []
    if repeated:
        notes.append(f"skipped {len(repeated)} files that repeat a take, as {repeated[0]}")
    return tuple(sorted(first.values(), key=lambda recording: recording.labels.key)), notes


def order_emotions(recordings: Iterable[Recording]) -> tuple[str, ...]:
    """The emotions that occur: in RAVDESS's order if all are RAVDESS's, else sorted."""
    names = {recording.labels.emotion for recording in recordings}
    ordered = tuple(name for name in RAVDESS_EMOTIONS if name in names)
    return ordered if len(ordered) == len(names) else tuple(sorted(names))


def compare(scan: Scan) -> list[str]:
    """Notes of what is no take, and where the takes are not those that were published."""
    notes = []
    if scan.long_sessions:
        first = scan.long_sessions[0].labels.key
        notes.append(f"{len(scan.long_sessions)} long sessions are in no fold, as {first}")
    if scan.disagreements:
        count = len(scan.disagreements)
        notes.append(f"{count} names differ from their folders, as {scan.disagreements[0]}")
    return notes + ([] if scan.facts is None else _unlike_published(scan, scan.facts))


def _unlike_published(scan: Scan, facts: Facts) -> list[str]:
    everything = (*scan.recordings, *scan.long_sessions)
    of_subject = Counter(recording.labels.subject for recording in everything)
    of_emotion = Counter(recording.labels.emotion for recording in everything)
    differences = []
    if (usual := facts.takes_a_subject) is not None:
        differences += [
            f"{name} has {count} (published: {usual})"
            for name, count in sorted(of_subject.items())
            if count != usual
        ]
    if others := sorted(set(of_subject) - set(facts.subjects)):
        differences.append(f"{', '.join(others)} is no subject of it")
    absent = [name for name in facts.subjects if name not in of_subject]
    if not absent:
        differences += [
            f"{name} has {of_emotion[name]} (published: {count})"
            for name, count in facts.takes.items()
            if of_emotion[name] != count
        ]
    notes = []
    if differences:
        notes.append(f"warning: takes are not as published: {', '.join(differences)}")
    if absent:
        named = ", ".join(absent[:24]) + (", ..." if len(absent) > 24 else "")
        notes.append(f"no takes of {len(absent)} of {len(facts.subjects)} subjects: {named}")
    return notes


def with_modalities(scan: Scan, *, video: bool, audio: bool) -> Scan:
    """The takes that have what is wanted, and no more of them, with a note of the others.

    Raises UserError when none has: the corpus may be here with audio or video alone.
    """
    lacking: Counter[str] = Counter()
    usable = []
    for recording in scan.recordings:
        if video and not recording.has_video:
            lacking["takes have audio alone (--modality audio takes them)"] += 1
        elif audio and not recording.has_audio:
            lacking["takes have no audio (--modality video takes them)"] += 1
        else:
            usable.append(_part(recording, video=video, audio=audio))
    notes = [f"{count} {what}" for what, count in lacking.items()]
    if not usable:
        raise UserError(f"no take has all that is needed: {'; '.join(notes)}")
    return with_notes(dataclasses.replace(scan, recordings=tuple(usable)), notes)


def _part(recording: Recording, *, video: bool, audio: bool) -> Recording:
    if not video:
        path = recording.sound or recording.path
        return dataclasses.replace(recording, path=path, sound=None, has_video=False)
    if not audio:
        return dataclasses.replace(recording, sound=None, has_audio=False)
    return recording


def with_notes(scan: Scan, notes: Iterable[str]) -> Scan:
    """The same with more notes."""
    return dataclasses.replace(scan, notes=(*scan.notes, *notes))
