"""Reader of CREMA-D.

Cao et al. 2014: 91 actors say twelve sentences in six emotions, 7,442 takes.
"""

import csv
import io
import re
from collections import Counter
from pathlib import Path

from jax_avemo.data.corpora.names import take_labels
from jax_avemo.data.corpora.scan import (
    Facts,
    Found,
    Scan,
    find_files,
    is_audio,
    is_video,
    make_scan,
    with_notes,
)
from jax_avemo.media.decoding.archives import read_small
from jax_avemo.runtime.errors import UserError
from jax_avemo.schema import Recording

_EMOTIONS = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
# One name of the originals, 1040_ITH_SAD_X, has lost a letter.
_NAME = re.compile(rf"((\d{{4}})_([A-Z]{{3}})_({'|'.join(_EMOTIONS)})_(LO|MD|HI|XX?))", re.ASCII)
_INTENSITIES = {"LO": "low", "MD": "medium", "HI": "high"}
_FAULTY = frozenset({"1076_MTI_NEU_XX", "1076_MTI_SAD_XX", "1064_TIE_SAD_XX", "1064_IEO_DIS_MD"})
_DEMOGRAPHICS = "videodemographics.csv"
_FACTS = Facts(
    tuple(str(actor) for actor in range(1001, 1092)),
    {name: 1087 if name == "neutral" else 1271 for name in _EMOTIONS.values()},
)
_LAYOUT = (
    "expected is CREMA-D's layout: VideoFlash/1001_DFA_ANG_XX.flv (or AudioWAV/*.wav), beside "
    "VideoDemographics.csv"
)


def scan_crema_d(source: Path) -> Scan:
    """Every take; of the same take the video is read, or the audio where there is no other.

    The sex comes from VideoDemographics.csv: actors' numbers say nothing of it. Four takes known to
    be faulty are left out. Raises UserError when there is no take.
    """
    found = find_files(source)
    sexes, notes = _read_sexes(found)
    skipped: Counter[str] = Counter()
    seen: list[tuple[str, Recording]] = []
    heard: list[tuple[str, Recording]] = []
    faulty = set()
    for key, path in found.files:
        if not is_video(path) and not is_audio(path):
            continue
        match = _NAME.fullmatch(path.stem.upper())
        if match is None:
            skipped["files whose names are not CREMA-D's"] += 1
            continue
        take, actor, sentence, emotion, intensity = match.groups()
        if take in _FAULTY:
            faulty.add(take)
            continue
        labels = take_labels(
            key=key,
            emotion=_EMOTIONS[emotion],
            subject=actor,
            sex=sexes.get(actor, ""),
            statement=sentence,
            intensity=_INTENSITIES.get(intensity, ""),
        )
        recording = Recording(labels, path, has_video=is_video(path))
        (seen if recording.has_video else heard).append((take, recording))
    if faulty:
        notes.append(f"left out, known to be faulty: {', '.join(sorted(faulty))}")
    emotions = tuple(_EMOTIONS.values())
    scan = make_scan(source, found, seen + heard, emotions, _LAYOUT, skipped=skipped, facts=_FACTS)
    return with_notes(scan, notes)


def _read_sexes(found: Found) -> tuple[dict[str, str], list[str]]:
    """Actor -> "female" or "male", and a note where that is not known."""
    for key, path in found.files:
        if key.lower().rsplit("/", 1)[-1] == _DEMOGRAPHICS:
            try:
                rows = list(csv.DictReader(io.StringIO(read_small(path).decode("utf-8-sig"))))
                return {row["ActorID"]: row["Sex"].strip().lower() for row in rows}, []
            except (UnicodeDecodeError, KeyError, AttributeError, csv.Error) as error:
                raise UserError(f"{path} is no table with ActorID and Sex: {error}") from error
    return {}, ["no VideoDemographics.csv: folds are not balanced by sex"]
