"""Statistics of a prepared data set, beside those of the corpus's paper."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jax_avemo.data.corpora.scan import Facts
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.records import from_json
from jax_avemo.runtime.text_tables import aligned
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
    disagreements: list[str]
    """Takes whose folder and file name say different things; the folder is believed."""
    synthetic: bool
    """Whether the demo made the media, whatever corpus they are read as."""
    statistics: dict[str, Any]
    """See `describe`."""


def read_summary(data_dir: Path) -> Summary | None:
    """What `summary.json` says; None where there is no whole data set.

    Raises UserError when the file is damaged.
    """
    path = data_dir / SUMMARY_NAME
    if not path.is_file() or not (data_dir / "clips").is_dir():
        return None
    try:
        return from_json(Summary, json.loads(path.read_text()))
    except (ValueError, AttributeError) as error:
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
    audio = clip.audio.astype(np.float64)
    heard = audio.any()
    return ClipFigures(
        seconds=clip.duration,
        frames=len(clip.frames),
        found=int(np.sum(clip.face_found)),
        level_db=float(10 * np.log10(np.mean((audio / 32768) ** 2))) if heard else None,
        clipped_share=float(np.mean(np.abs(audio) >= _FULL_SCALE)) if heard else 0.0,
    )


def describe(labels: Sequence[Labels], figures: Sequence[ClipFigures]) -> dict[str, Any]:
    """Statistics of a data set, a value for `json.dumps`.

    `by_emotion`, `by_subject`: clips, mean seconds, face_found_rate, mean level_db, and of a
    subject its sex and its clips by emotion. `sexes`: subjects of each. `contents`: clips of each
    sentence. `audio`: lowest, mean and highest level_db, and the keys of clipped clips (over 0.1 %
    of the samples at full scale) and soft ones (below -60 dB).
    `few_faces`: keys of clips with the face found in less than half of the frames.
    """
    pairs = list(zip(labels, figures, strict=True))
    by_emotion: dict[str, list[ClipFigures]] = defaultdict(list)
    by_subject: dict[str, list[tuple[Labels, ClipFigures]]] = defaultdict(list)
    for label, clip in pairs:
        by_emotion[label.emotion].append(clip)
        by_subject[label.subject].append((label, clip))
    subjects = {
        subject: {
            "sex": max(label.sex for label, _ in mine),
            **_averages([clip for _, clip in mine]),
            "emotions": _counts(label.emotion for label, _ in mine),
        }
        for subject, mine in sorted(by_subject.items())
    }
    levels = [clip.level_db for clip in figures if clip.level_db is not None]
    soft = [x.key for x, c in pairs if c.level_db is not None and c.level_db < _SOFT_DB]
    return {
        "by_emotion": {name: _averages(clips) for name, clips in sorted(by_emotion.items())},
        "by_subject": subjects,
        "sexes": _counts(entry["sex"] or "?" for entry in subjects.values()),
        "contents": _counts(label.statement for label in labels if label.statement),
        "audio": {
            "level_db": least_mean_most(levels, 1) if levels else None,
            "clipped": [x.key for x, clip in pairs if clip.clipped_share > _CLIPPED_SHARE],
            "soft": soft,
        },
        "few_faces": [x.key for x, c in pairs if c.frames and c.found < _FEW_FACES * c.frames],
    }


def _counts(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def least_mean_most(values: Sequence[float], digits: int) -> dict[str, float]:
    """`min`, `mean` and `max` of some numbers, rounded."""
    found = {"min": min(values), "mean": float(np.mean(values)), "max": max(values)}
    return {name: round(value, digits) for name, value in found.items()}


def face_found_rate(figures: Sequence[ClipFigures]) -> float | None:
    """Share of the frames in which the face was detected; None without a frame."""
    frames = sum(clip.frames for clip in figures)
    return round(sum(clip.found for clip in figures) / frames, 4) if frames else None


def _averages(figures: Sequence[ClipFigures]) -> dict[str, Any]:
    levels = [clip.level_db for clip in figures if clip.level_db is not None]
    return {
        "clips": len(figures),
        "seconds": round(float(np.mean([clip.seconds for clip in figures])), 3),
        "face_found_rate": face_found_rate(figures),
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
    minutes = summary.duration_seconds["total"] / 60
    sexes = ", ".join(
        f"{n} {'of unknown sex' if s == '?' else s}" for s, n in told["sexes"].items()
    )
    lines = [
        f"{summary.corpus}{' (SYNTHETIC)' if summary.synthetic else ''}: {summary.clips} clips of "
        f"{summary.subjects} subjects ({sexes}), {minutes:.1f} minutes, from {summary.source}",
        "",
    ]
    level = told["audio"]["level_db"]
    everything = {
        "clips": summary.clips,
        "seconds": summary.duration_seconds["mean"],
        "face_found_rate": summary.face_found_rate,
        "level_db": level and level["mean"],
    }
    shown = list(told["by_subject"].items())[:_SHOWN_SUBJECTS]
    emotions = list(summary.emotions)
    head = ["subject", "sex", *emotions, "clips", "mean s", "face %", "dBFS"]
    rows = [_row(name, entry["sex"], entry["emotions"], emotions, entry) for name, entry in shown]
    *by_subject, last = aligned(
        [head, *rows, _row("all", "", summary.emotions, emotions, everything)], left=2
    )
    lines += by_subject
    if left := len(told["by_subject"]) - len(shown):
        lines.append(f"... and {left} more, in {SUMMARY_NAME}")
    lines += [last, ""]
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


def _row(
    name: str, sex: str, counts: dict[str, int], emotions: list[str], entry: dict[str, Any]
) -> list[str]:
    rate, level = entry["face_found_rate"], entry["level_db"]
    return [
        name,
        sex,
        *(str(counts.get(emotion, 0)) for emotion in emotions),
        str(entry["clips"]),
        f"{entry['seconds']:.2f}",
        "-" if rate is None else f"{100 * rate:.1f}",
        "-" if level is None else f"{level:.1f}",
    ]
