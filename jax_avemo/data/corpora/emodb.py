"""Reader of EMO-DB, the Berlin database of emotional speech.

Burkhardt, Paeschke, Rolfes, Sendlmeier & Weiss 2005: ten actors say ten German sentences in seven
emotions; the 535 takes that listeners recognised are published. Audio alone.
"""

import re
from collections import Counter
from pathlib import Path

from jax_avemo.data.corpora.names import take_labels
from jax_avemo.data.corpora.scan import Facts, Scan, find_files, is_audio, make_scan
from jax_avemo.schema import Recording

# The letters are those of the German words: Wut, Langeweile, Ekel, Angst, Freude, Trauer.
_EMOTIONS = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "T": "sadness",
    "N": "neutral",
}
_SEXES = {
    **dict.fromkeys(("03", "10", "11", "12", "15"), "male"),
    **dict.fromkeys(("08", "09", "13", "14", "16"), "female"),
}
# Speaker, sentence, emotion, and a letter where there are several versions.
_NAME = re.compile(rf"(\d\d)([ab]\d\d)([{''.join(_EMOTIONS)}])([a-z]?)", re.ASCII | re.IGNORECASE)
_TAKES = (127, 81, 46, 69, 71, 62, 79)
_FACTS = Facts(tuple(sorted(_SEXES)), dict(zip(_EMOTIONS.values(), _TAKES, strict=True)))
_LAYOUT = "expected is EMO-DB's layout: wav/03a01Fa.wav (speaker, sentence, emotion, version)"


def scan_emodb(source: Path) -> Scan:
    """Every take; labels lie beside the audio in the original (lablaut, silb) and are not read.

    Raises UserError when there is no take.
    """
    found = find_files(source)
    skipped: Counter[str] = Counter()
    takes = []
    for key, path in found.files:
        if not is_audio(path):
            continue
        match = _NAME.fullmatch(path.stem)
        if match is None or match[1] not in _SEXES:
            skipped["audio files whose names are not EMO-DB's"] += 1
            continue
        speaker, sentence, emotion, version = match.groups()
        labels = take_labels(
            key=key,
            emotion=_EMOTIONS[emotion.upper()],
            subject=speaker,
            sex=_SEXES[speaker],
            statement=sentence.lower(),
            take=version.lower(),
        )
        takes.append((path.stem.lower(), Recording(labels, path, has_video=False)))
    emotions = tuple(_EMOTIONS.values())
    return make_scan(source, found, takes, emotions, _LAYOUT, skipped=skipped, facts=_FACTS)
