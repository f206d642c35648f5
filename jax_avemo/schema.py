"""Types of recordings, clips and batches, and the emotions of the corpora."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

AUDIO_SAMPLE_RATE = 16_000
"""Samples a second of every stored sound (mono)."""

RAVDESS_EMOTIONS = (
    "neutral",
    "calm",
    "happy",
    "sad",
    "angry",
    "fearful",
    "disgust",
    "surprised",
)
_SHARED_EMOTIONS = {
    "anger": "angry",
    "ang": "angry",
    "disgusted": "disgust",
    "dis": "disgust",
    "fear": "fearful",
    "afraid": "fearful",
    "fea": "fearful",
    "happiness": "happy",
    "joy": "happy",
    "hap": "happy",
    "sadness": "sad",
    "surprise": "surprised",
    "neu": "neutral",
    "neutrality": "neutral",
    "calmness": "calm",
}
UNKNOWN = -1
"""The index that stands for an unknown emotion or subject in a batch."""


def shared_emotion(name: str) -> str:
    """One name for an emotion that corpora call differently: RAVDESS's; else the name itself.

    RAVDESS and eNTERFACE'05 share Ekman's six (angry, disgust, fearful, happy, sad, surprised),
    RAVDESS and CREMA-D the first five and neutral.
    """
    plain = name.strip().casefold()
    return _SHARED_EMOTIONS.get(plain, plain)


@dataclass(frozen=True)
class Labels:
    """What is known of a take besides its pixels and samples; "" = the corpus does not say."""

    key: str
    """Unique and stable: the path below the source folder with '/', '#start-end' for a part."""
    emotion: str
    """A name of the corpus's emotion list; "" when unknown."""
    subject: str
    """Who acts or speaks, as the corpus names them ("07")."""
    sex: str = ""
    """"female", "male" or ""."""
    statement: str = ""
    """Which words are spoken: the same words have the same value, others have another."""
    intensity: str = ""
    take: str = ""
    """The repetition of this emotion and statement."""


@dataclass(frozen=True)
class Recording:
    """Where a take is."""

    labels: Labels
    path: Path
    """May lead into a zip (see media.archives)."""
    start: float = 0.0
    """Seconds from the beginning of the file."""
    end: float | None = None
    """Seconds; None = the end of the file."""
    sound: Path | None = None
    """The file that is heard, where it is another than the one that is seen."""
    has_video: bool = True
    has_audio: bool = True
    """False: there is none, or it is not wanted, and it is not read. True promises nothing."""


@dataclass(frozen=True)
class Clip:
    """A prepared take, as it is stored.

    `frames` are aligned face crops with a margin, JPEG-coded RGB, square, `frame_size` px; every
    frame has a time (seconds from the start of the clip) and a flag that says whether the face was
    found in it, or just before and just after at the same place (False: placed by interpolation, or
    by the fallback).
    """

    labels: Labels
    frames: tuple[bytes, ...] = field(repr=False)
    frame_times: Any
    """float32 [F], seconds, ascending."""
    face_found: Any
    """bool [F]."""
    frame_size: int
    audio: Any
    """int16 [N], mono, 16 kHz; empty when the file has no sound."""
    duration: float
    """Seconds: the longer of picture and sound."""


class Batch(TypedDict):
    """What a model eats. B clips, F frames, N samples.

    video          uint8   [B, F, H, W, 3]  aligned face crops, RGB
    video_mask     bool    [B, F]           True = real frame
    video_time     float32 [B, F]           seconds from clip start
    audio          float32 [B, N]           16 kHz mono in [-1, 1]
    audio_length   int32   [B]              real samples
    emotion        int32   [B]              -1 = unknown
    subject        int32   [B]              index among *training* subjects; -1 = not one of them
    valid          bool    [B]              False = padding row, counts nowhere
    """

    video: Any
    video_mask: Any
    video_time: Any
    audio: Any
    audio_length: Any
    emotion: Any
    subject: Any
    valid: Any
