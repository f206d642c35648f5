"""Which files of a RAVDESS tree are takes, and what their names say.

Livingstone & Russo 2018, speech audio-video (Zenodo 1188976): 24 actors x 60 takes.
"""

import re
from collections import Counter
from pathlib import Path

from jax_avemo.corpora.scan import VIDEO_SUFFIXES, Scan, walk_files
from jax_avemo.errors import UserError
from jax_avemo.schema import RAVDESS_EMOTIONS, Labels, Recording

_NAME = re.compile(r"(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)\.\w+", re.ASCII)
_AUDIO_VIDEO, _VIDEO_ONLY, _AUDIO_ONLY = "01", "02", "03"
_SPEECH = "01"
_INTENSITIES = {"01": "normal", "02": "strong"}
_TAKES_AN_ACTOR = 60
_LAYOUT = (
    "expected is RAVDESS's layout: Actor_01/01-01-03-01-02-01-01.mp4 (modality, channel, emotion, "
    "intensity, statement, repetition, actor)"
)


def scan_ravdess(source: Path, *, whole: bool = True) -> Scan:
    """The speech takes with picture and sound below `source`, whatever the folders are called.

    Modality 02 (the same takes without sound) and 03 (sound alone) and the songs are left out:
    counting a take twice puts it on both sides of a split. `whole` notes actors with other than 60
    takes. Raises UserError when there is no take.
    """
    recordings: list[Recording] = []
    skipped: Counter[str] = Counter()
    takes: dict[str, str] = {}
    repeated: list[str] = []
    silent: set[str] = set()
    for key, path in walk_files(source):
        match = _NAME.fullmatch(path.name)
        if match is None:
            if path.suffix.lower() in VIDEO_SUFFIXES:
                skipped["videos whose names are not RAVDESS's"] += 1
            continue
        modality, channel, emotion, intensity, statement, repetition, actor = match.groups()
        if channel != _SPEECH:
            skipped["files of song (channel 02)"] += 1
        elif modality == _AUDIO_ONLY:
            skipped["files of sound alone (modality 03)"] += 1
        elif modality == _VIDEO_ONLY:
            skipped["files without sound (modality 02, the same takes)"] += 1
            silent.add(path.name[3:20])
        elif path.suffix.lower() not in VIDEO_SUFFIXES:
            skipped["files of modality 01 that are no video"] += 1
        elif not 1 <= int(emotion) <= len(RAVDESS_EMOTIONS) or modality != _AUDIO_VIDEO:
            skipped["files whose modality or emotion is none of RAVDESS's"] += 1
        elif path.name[3:20] in takes:
            repeated.append(f"{key} (is {takes[path.name[3:20]]})")
        else:
            takes[path.name[3:20]] = key
            labels = Labels(
                key=key,
                emotion=RAVDESS_EMOTIONS[int(emotion) - 1],
                subject=actor,
                sex="male" if int(actor) % 2 else "female",
                statement=statement,
                intensity=_INTENSITIES.get(intensity, intensity),
                take=repetition,
            )
            recordings.append(Recording(labels, path))
    if not recordings:
        seen = "; ".join(f"{count} {what}" for what, count in skipped.items())
        raise UserError(f"no take in {source}{f' ({seen})' if seen else ''}: {_LAYOUT}")
    notes = [f"skipped {count} {what}" for what, count in sorted(skipped.items())]
    if repeated:
        notes.append(f"skipped {len(repeated)} files that repeat a take, as {repeated[0]}")
    if alone := silent - takes.keys():
        notes.append(
            f"{len(alone)} takes exist without sound only (modality 02), as 02-{min(alone)}"
        )
    if whole:
        notes.extend(_missing(recordings))
    return Scan(tuple(recordings), RAVDESS_EMOTIONS, tuple(notes))


def _missing(recordings: list[Recording]) -> list[str]:
    counts = Counter(recording.labels.subject for recording in recordings)
    short = [
        f"actor {actor} has {count}"
        for actor, count in sorted(counts.items())
        if count != _TAKES_AN_ACTOR
    ]
    notes = []
    if short:
        notes.append(f"incomplete, {_TAKES_AN_ACTOR} takes an actor are whole: {', '.join(short)}")
    absent = [f"{actor:02d}" for actor in range(1, 25) if f"{actor:02d}" not in counts]
    if absent:
        notes.append(f"no takes of actor {', '.join(absent)}")
    return notes
