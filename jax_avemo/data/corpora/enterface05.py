"""Reader of eNTERFACE'05: labels from folders, checked against file names.

Martin, Kotsia, Macq & Pitas 2006: 44 subjects say five sentences in each of six emotions.
"""

import dataclasses
import re
from collections import Counter
from pathlib import Path

from jax_avemo.data.corpora.names import take_labels
from jax_avemo.data.corpora.scan import (
    Facts,
    Scan,
    find_files,
    is_video,
    make_scan,
    one_of_each,
    with_notes,
)
from jax_avemo.schema import Recording

_CODES = {
    "an": "anger",
    "di": "disgust",
    "fe": "fear",
    "ha": "happiness",
    "sa": "sadness",
    "su": "surprise",
}
_EMOTIONS = tuple(_CODES.values())
_FOLDERS = re.compile(
    r"(?:.*/)?subject[ _]*(\d+)/([^/]+)/(?:sentence[ _]*(\d+)/)?([^/]+)", re.IGNORECASE | re.ASCII
)
_NAME = re.compile(r"s(\d+)_([a-z]{2})(?:_(\d+))?", re.ASCII)
_LOOSE_NAME = re.compile(r"s_?(\d+)_([a-z]{2})(?:_(\d+))?(?:avi)?", re.IGNORECASE | re.ASCII)
_FACTS = Facts(
    tuple(f"{subject:02d}" for subject in range(1, 45)),
    # Subject 6's six long files included; without them 1,287.
    {emotion: 213 if emotion == "happiness" else 216 for emotion in _EMOTIONS},
    seconds=(1.12, 2.80, 6.84),
)
_LAYOUT = (
    "expected is eNTERFACE'05's layout: 'subject 1/anger/sentence 1/s1_an_1.avi', "
    "in folders or in project2_database.zip"
)


def scan_enterface05(source: Path) -> Scan:
    """Every take, labelled by its folders; a file in no sentence's folder is a long session.

    The originals' names are not to be trusted: all of subject 11's say 12. Where name and folders
    differ the take is listed among the disagreements. Of subject 6 there are long sessions only.
    """
    found = find_files(source)
    skipped: Counter[str] = Counter()
    takes, sessions = [], []
    said: dict[str, list[str]] = {}
    oddly_spelled = []
    for key, path in found.files:
        if not is_video(path):
            skipped["files that are no video (Thumbs.db and the like)"] += 1
            continue
        match = _FOLDERS.fullmatch(key)
        if match is None or match[2].lower() not in _EMOTIONS:
            skipped["videos outside of 'subject N/EMOTION/'"] += 1
            continue
        subject, sentence = int(match[1]), int(match[3] or 0)
        emotion = match[2].lower()
        labels = take_labels(
            key=key,
            emotion=emotion,
            subject=f"{subject:02d}",
            # Each emotion has sentences of its own.
            statement=f"{emotion} {sentence}" if sentence else "",
        )
        name = _LOOSE_NAME.fullmatch(path.stem)
        if name is not None and not _NAME.fullmatch(path.stem):
            oddly_spelled.append(key)
        said[key] = _differences(name, subject, emotion, sentence)
        if sentence:
            takes.append(((subject, emotion, sentence), Recording(labels, path)))
        else:
            sessions.append(((subject, emotion, path.stem.lower()), Recording(labels, path)))
    if sessions and not takes:
        skipped["long sessions"] = len(sessions)
    scan = make_scan(source, found, takes, _EMOTIONS, _LAYOUT, skipped=skipped, facts=_FACTS)
    long_sessions, notes = one_of_each(sessions)
    kept = [recording.labels.key for recording in (*scan.recordings, *long_sessions)]
    disagreements = tuple(f"{key}: {'; '.join(said[key])}" for key in sorted(kept) if said[key])
    if odd := sorted(set(oddly_spelled) & set(kept)):
        notes.append(f"{len(odd)} file names are spelled otherwise than s1_an_1, as {odd[0]}")
    scan = dataclasses.replace(scan, long_sessions=long_sessions, disagreements=disagreements)
    return with_notes(scan, notes)


def _differences(
    name: re.Match[str] | None, subject: int, emotion: str, sentence: int
) -> list[str]:
    """What a file's name says otherwise than its folders."""
    if name is None:
        return ["its name says neither subject, emotion nor sentence"]
    says = {
        "subject": (int(name[1]), subject),
        "emotion": (_CODES.get(name[2].lower(), name[2]), emotion),
        "sentence": (int(name[3] or 0), sentence),
    }
    return [
        f"its name says {what} {named}" for what, (named, true) in says.items() if named != true
    ]
