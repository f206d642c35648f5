"""Reader of RAVDESS: labels from file names.

Livingstone & Russo 2018 (Zenodo 1188976): 24 actors speak 60 takes and sing 44 (18 does not sing).
"""

import dataclasses
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from jax_avemo.data.corpora.names import take_labels
from jax_avemo.data.corpora.scan import (
    Facts,
    Scan,
    find_files,
    is_audio,
    is_video,
    make_scan,
    with_notes,
)
from jax_avemo.schema import RAVDESS_EMOTIONS, Recording

_NAME = re.compile(r"(\d\d)-((\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d))\.\w+", re.ASCII)
_AUDIO_VIDEO, _VIDEO_ONLY, _AUDIO_ONLY = "01", "02", "03"
_CHANNELS = {"01": "speech", "02": "song"}
_INTENSITIES = {"01": "normal", "02": "strong"}
_SUNG = RAVDESS_EMOTIONS[:6]
_ACTORS = tuple(f"{actor:02d}" for actor in range(1, 25))
_SPOKEN_TAKES = {emotion: 96 if emotion == "neutral" else 192 for emotion in RAVDESS_EMOTIONS}
_SUNG_TAKES = {emotion: 92 if emotion == "neutral" else 184 for emotion in _SUNG}
_FACTS = {
    "speech": Facts(_ACTORS, _SPOKEN_TAKES, takes_a_subject=60, seconds=(2.94, 3.70, 5.27)),
    "song": Facts(_ACTORS[:17] + _ACTORS[18:], _SUNG_TAKES, takes_a_subject=44),
}
_LAYOUT = (
    "expected is RAVDESS's layout: Actor_01/01-01-03-01-02-01-01.mp4 (modality, channel, emotion, "
    "intensity, statement, repetition, actor), in folders or zips"
)


def scan_ravdess(source: Path, *, channel: str = "speech", whole: bool = True) -> Scan:
    """The takes of a `channel` ("speech" or "song"), whatever folders or zips they lie in.

    A take is its file with video and audio (01). Its silent twin (02) is the same take: counting
    both puts it on both sides of a split. Without 01 the twin is joined with the audio file (03);
    a lone 02 or 03 is a take without audio or video. `whole`: compare with the published corpus.
    """
    emotions = RAVDESS_EMOTIONS if channel == "speech" else _SUNG
    found = find_files(source)
    skipped: Counter[str] = Counter()
    takes: list[tuple[tuple[str, str], Recording]] = []
    for key, path in found.files:
        match = _NAME.fullmatch(path.name)
        if match is None:
            if is_video(path):
                skipped["videos whose names are not RAVDESS's"] += 1
            continue
        modality, take, sung, emotion, intensity, statement, repetition, actor = match.groups()
        if sung in _CHANNELS and _CHANNELS[sung] != channel:
            skipped[f"files of {_CHANNELS[sung]} (channel {sung})"] += 1
        elif (
            modality not in (_AUDIO_VIDEO, _VIDEO_ONLY, _AUDIO_ONLY)
            or sung not in _CHANNELS
            or not 1 <= int(emotion) <= len(emotions)
        ):
            skipped["files whose modality, channel or emotion is none of RAVDESS's"] += 1
        elif not is_video(path) and (modality != _AUDIO_ONLY or not is_audio(path)):
            skipped[f"files of modality {modality} of another type"] += 1
        else:
            labels = take_labels(
                key=key,
                emotion=emotions[int(emotion) - 1],
                subject=actor,
                sex="male" if int(actor) % 2 else "female",
                statement=statement,
                intensity=_INTENSITIES.get(intensity, intensity),
                take=repetition,
            )
            takes.append(((take, modality), Recording(labels, path)))
    facts = _FACTS[channel] if whole else None
    files = make_scan(source, found, takes, emotions, _LAYOUT, skipped=skipped, facts=facts)
    recordings, joined = _join(files.recordings)
    return with_notes(dataclasses.replace(files, recordings=recordings), joined)


def _join(files: Sequence[Recording]) -> tuple[tuple[Recording, ...], list[str]]:
    """One recording a take, made of the files of its modalities."""
    modalities: dict[str, dict[str, Recording]] = defaultdict(dict)
    for file in files:
        modalities[file.path.name[3:20]][file.path.name[:2]] = file
    recordings = []
    told: Counter[str] = Counter()
    for of in modalities.values():
        if _AUDIO_VIDEO in of:
            recordings.append(of[_AUDIO_VIDEO])
            for other, what in ((_VIDEO_ONLY, "without audio"), (_AUDIO_ONLY, "of audio alone")):
                told[f"skipped {{}} files {what} (modality {other}, the same takes)"] += other in of
        elif len(of) == 2:
            seen, heard = of[_VIDEO_ONLY], of[_AUDIO_ONLY]
            recordings.append(Recording(seen.labels, seen.path, sound=heard.path))
            told["joined {} silent videos (modality 02) with their audio (03)"] += 1
        elif _VIDEO_ONLY in of:
            file = of[_VIDEO_ONLY]
            recordings.append(Recording(file.labels, file.path, has_audio=False))
        else:
            file = of[_AUDIO_ONLY]
            recordings.append(Recording(file.labels, file.path, has_video=False))
    recordings.sort(key=lambda recording: recording.labels.key)
    return tuple(recordings), [text.format(count) for text, count in told.items() if count]
