"""Statistics of a prepared data set, beside those of the corpus's paper."""

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int16

from jax_avemo.data.corpora.scan import Facts
from jax_avemo.runtime.errors import UserError
from jax_avemo.schema import Clip, Labels

SUMMARY_NAME = "summary.json"
_SOFT_DB = -60.0
"""Root mean square below this is named: a quiet voice has -45, RAVDESS's softest take -64."""
_FULL_SCALE = 32_390
"""0.1 dB below the largest sample."""
_CLIPPED_SHARE = 1e-3
"""16 samples a second at full scale are heard as clipping."""
_FEW_FACES = 0.5
_SECONDS_SLACK = 0.15
"""Containers round a take's end to whole frames and packets."""
_SHOWN_SUBJECTS = 30


@dataclass(frozen=True)
class Reject:
    """A recording that could not be used."""

    path: str
    """Below the source folder."""
    reason: str


@dataclass(frozen=True)
class Summary:
    """What a data set holds; its file is written last, so that it stands for a whole one."""

    corpus: str
    source: str
    options: dict[str, Any]
    clips: int
    subjects: int
    emotions: dict[str, int]
    """Clips of each emotion, in the order of their indices."""
    rejected: int
    rejects: list[Reject]
    long_sessions: list[str]
    """Recordings that are no takes and in no fold."""
    notes: list[str]
    face_found_rate: float | None
    """Share of frames in which the face was detected; None without a frame."""
    duration_seconds: dict[str, float]
    """Of the clips: min, mean, max, total."""
    fingerprint: str
    """Of the source: names, sizes, dates and labels."""
    disagreements: list[str] = dataclasses.field(default_factory=list)
    """Takes whose folder and file name say different things; the folder is believed."""
    synthetic: bool = False
    """Whether the demo made the media, whatever corpus they are read as."""
    statistics: dict[str, Any] = dataclasses.field(default_factory=dict)
    """See `describe`."""

    def to_dict(self) -> dict[str, Any]:
        """As the JSON file and `avemo prepare --json` have it."""
        return dataclasses.asdict(self)


def read_summary(data_dir: Path) -> Summary | None:
    """What `summary.json` says; None where there is no whole data set.

    Raises UserError when the file is damaged.
    """
    path = data_dir / SUMMARY_NAME
    if not path.is_file() or not (data_dir / "clips").is_dir():
        return None
    try:
        value = json.loads(path.read_text())
        rejects = [Reject(**reject) for reject in value.pop("rejects")]
        return Summary(rejects=rejects, **value)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({error}): delete {data_dir} and prepare again"
        ) from error


@dataclass(frozen=True)
class ClipFigures:
    """What is measured of one clip."""

    seconds: float
    frames: int
    found: int
    """Frames in which the face was detected."""
    level_db: float | None
    """Root mean square, dB below full scale; None without a sample that is not 0."""
    clipped_share: float
    """Of the samples, those at full scale."""


def measure(clip: Clip) -> ClipFigures:
    """The figures of a clip."""
    return ClipFigures(
        seconds=clip.duration,
        frames=len(clip.frames),
        found=int(np.sum(clip.face_found)),
        level_db=_level_db(clip.audio),
        clipped_share=float(np.mean(np.abs(clip.audio.astype(np.int32)) >= _FULL_SCALE))
        if clip.audio.size
        else 0.0,
    )


def _level_db(audio: Int16[np.ndarray, " N"]) -> float | None:
    if not audio.any():
        return None
    power = np.mean(np.square(audio.astype(np.float64) / 32768))
    return float(10 * np.log10(power))


def describe(labels: Sequence[Labels], figures: Sequence[ClipFigures]) -> dict[str, Any]:
    """Statistics of a data set, a value for `json.dumps`.

    `by_emotion`, `by_subject`: clips, mean seconds, face_found_rate, mean level_db, and of a
    subject its sex and its clips by emotion. `sexes`: subjects of each. `contents`: clips of each
    sentence. `audio`: lowest, mean and highest level_db, and the keys of clipped clips (over 0.1 %
    of the samples at full scale) and soft ones (below -60 dB).
    `few_faces`: keys of clips with the face found in less than half of the frames.
    """
    pairs = list(zip(labels, figures, strict=True))
    levels = [clip.level_db for clip in figures if clip.level_db is not None]
    subjects = sorted({label.subject for label in labels})
    by_subject = {}
    for subject in subjects:
        mine = [(label, clip) for label, clip in pairs if label.subject == subject]
        counts = Counter(label.emotion for label, _ in mine)
        by_subject[subject] = {
            "sex": max(label.sex for label, _ in mine),
            **_averages([clip for _, clip in mine]),
            "emotions": dict(sorted(counts.items())),
        }
    return {
        "by_emotion": {
            emotion: _averages([clip for label, clip in pairs if label.emotion == emotion])
            for emotion in sorted({label.emotion for label in labels})
        },
        "by_subject": by_subject,
        "sexes": dict(
            sorted(Counter(entry["sex"] or "?" for entry in by_subject.values()).items())
        ),
        "contents": dict(sorted(Counter(x.statement for x in labels if x.statement).items())),
        "audio": {
            "level_db": {
                name: round(float(reduce(levels)), 1)
                for name, reduce in (("min", min), ("mean", np.mean), ("max", max))
            }
            if levels
            else None,
            "clipped": [x.key for x, clip in pairs if clip.clipped_share > _CLIPPED_SHARE],
            "soft": [
                x.key for x, clip in pairs if clip.level_db is not None and clip.level_db < _SOFT_DB
            ],
        },
        "few_faces": [
            x.key for x, clip in pairs if clip.frames and clip.found < _FEW_FACES * clip.frames
        ],
    }


def _averages(figures: Sequence[ClipFigures]) -> dict[str, Any]:
    frames = sum(clip.frames for clip in figures)
    levels = [clip.level_db for clip in figures if clip.level_db is not None]
    return {
        "clips": len(figures),
        "seconds": round(float(np.mean([clip.seconds for clip in figures])), 3),
        "face_found_rate": round(sum(clip.found for clip in figures) / frames, 4)
        if frames
        else None,
        "level_db": round(float(np.mean(levels)), 1) if levels else None,
    }


def unlike_published(facts: Facts | None, summary: Summary) -> list[str]:
    """A warning when takes of a whole corpus last shorter or longer than its paper says."""
    if facts is None or facts.seconds is None:
        return []
    if set(facts.subjects) - set(summary.statistics["by_subject"]):
        return []
    found = [summary.duration_seconds[name] for name in ("min", "mean", "max")]
    far = [abs(a - b) > _SECONDS_SLACK for a, b in zip(found, facts.seconds, strict=True)]
    if not any(far):
        return []
    here, there = (" / ".join(f"{value:.2f}" for value in row) for row in (found, facts.seconds))
    return [f"warning: clips last {here} s (shortest, mean, longest), published: {there}"]


def to_text(summary: Summary) -> str:
    """The summary as a person reads it: a line for each subject and for all, then what is odd."""
    told = summary.statistics
    if "audio" not in told:  # prepared by version 0.1
        return f"{summary.corpus}: {summary.clips} clips of {summary.subjects} subjects"
    emotions = list(summary.emotions)
    width = max([len("subject"), *(len(name) for name in told["by_subject"])])
    columns = [max(len(name), 4) for name in emotions]

    def line(name: str, sex: str, counts: dict[str, int], entry: dict[str, Any]) -> str:
        cells = [f"{counts.get(e, 0):>{w}}" for e, w in zip(emotions, columns, strict=True)]
        rate, level = entry["face_found_rate"], entry["level_db"]
        return (
            f"{name:{width}} {sex:6} {' '.join(cells)} {entry['clips']:>6} {entry['seconds']:>8.2f}"
            f" {'-' if rate is None else f'{100 * rate:.1f}':>6}"
            f" {'-' if level is None else f'{level:.1f}':>7}"
        )

    shown = list(told["by_subject"].items())[:_SHOWN_SUBJECTS]
    minutes = summary.duration_seconds["total"] / 60
    sexes = ", ".join(
        f"{n} {'of unknown sex' if s == '?' else s}" for s, n in told["sexes"].items()
    )
    lines = [
        f"{summary.corpus}{' (SYNTHETIC)' if summary.synthetic else ''}: {summary.clips} clips of "
        f"{summary.subjects} subjects ({sexes}), {minutes:.1f} minutes, from {summary.source}",
        "",
        f"{'subject':{width}} {'sex':6} "
        + " ".join(f"{e:>{w}}" for e, w in zip(emotions, columns, strict=True))
        + f" {'clips':>6} {'mean s':>8} {'face %':>6} {'dBFS':>7}",
        *(line(name, entry["sex"], entry["emotions"], entry) for name, entry in shown),
    ]
    if left := len(told["by_subject"]) - len(shown):
        lines.append(f"... and {left} more, in {SUMMARY_NAME}")
    level = told["audio"]["level_db"]
    everything = {
        "clips": summary.clips,
        "seconds": summary.duration_seconds["mean"],
        "face_found_rate": summary.face_found_rate,
        "level_db": level and level["mean"],
    }
    lines += [line("all", "", summary.emotions, everything), ""]
    seconds = [summary.duration_seconds[name] for name in ("min", "mean", "max")]
    lines.append("seconds: {:.2f} shortest, {:.2f} mean, {:.2f} longest".format(*seconds))
    if told["contents"]:
        lines.append(f"sentences: {len(told['contents'])}")
    if level:
        lines.append(f"audio: {level['min']} lowest, {level['max']} highest mean level, dBFS")
    odd = (
        ("clipped", told["audio"]["clipped"]),
        ("soft (mean level below -60 dBFS)", told["audio"]["soft"]),
        ("face found in less than half of the frames", told["few_faces"]),
        ("refused", [f"{reject.path}: {reject.reason}" for reject in summary.rejects]),
    )
    lines += [f"{what}: {len(keys)}, as {keys[0]}" for what, keys in odd if keys]
    return "\n".join([*lines, *(f"note: {note}" for note in summary.notes)])
