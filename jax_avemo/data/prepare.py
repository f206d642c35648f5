"""Preparation of a corpus: media to clips, in parallel, resumable, with a record of rejects."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jax_avemo.data.beam import BeamRunner, make_in_beam
from jax_avemo.data.clip import ClipOptions, clip_from_bytes, clip_to_bytes
from jax_avemo.data.corpora import Scan, scan_corpus
from jax_avemo.data.corpora.scan import with_modalities
from jax_avemo.data.same_takes import (
    content_digest,
    contradictions,
    find_same_takes,
    same_take_notes,
)
from jax_avemo.data.staging import CLIP, REJECT, ClipTask, make_clips
from jax_avemo.data.summary import (
    SUMMARY_NAME,
    ClipFigures,
    Reject,
    Summary,
    describe,
    face_found_rate,
    least_mean_most,
    measure,
    read_summary,
    to_text,
    unlike_published,
)
from jax_avemo.media.decoding.archives import ArchiveError, file_state
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.files import locked, write_atomic, write_json
from jax_avemo.runtime.progress import Progress
from jax_avemo.runtime.text_tables import to_csv
from jax_avemo.schema import Clip, Labels, Recording

REJECTS_NAME, TEXT_NAME = "rejects.csv", "summary.txt"
_STAGING_NAME = ".staging"
MakeClips = Callable[[Sequence[ClipTask]], Iterator[ClipTask]]
"""Stages the clips of tasks and yields each task that is done."""


def prepare(
    corpus: str,
    source: Path,
    data_dir: Path,
    options: ClipOptions,
    *,
    workers: int | None = None,
    beam: BeamRunner | None = None,
) -> Summary:
    """Make clips of the corpus at `source` in `data_dir`, or of what is new there.

    Writes `clips/` (see data.clip_store), `rejects.csv`, `summary.txt` and, last, `summary.json`. A
    killed run goes on where it was; with nothing new it returns at once. A file that hangs or
    crashes its decoder is rejected and the rest goes on. `workers` None = one a core. With `beam`
    the clips are made by Apache Beam's workers instead: the same bytes, the same rejects.

    Raises UserError when the source has no take, when all are rejected, when `data_dir` holds
    clips of another corpus or with other options, and when Beam fails.
    """
    source, data_dir = Path(source), Path(data_dir)
    summary = read_summary(data_dir)
    if summary is not None:
        _check_same(summary, corpus, options, data_dir)
        if not source.exists() and summary.source == str(source.absolute()):
            return summary  # the media may be gone once the clips are made
    scan = _scan(corpus, source, options)
    sources = [_source_fingerprint(recording) for recording in scan.recordings]
    fingerprint = _fingerprint(scan, sources)
    if summary is not None and summary.fingerprint == fingerprint:
        return summary
    busy = f"another process is preparing clips in {data_dir}: wait for it or end it"
    with locked(data_dir, busy):
        if beam is not None:
            make: MakeClips = functools.partial(make_in_beam, runner=beam)
        else:
            make = functools.partial(make_clips, workers=workers or len(os.sched_getaffinity(0)))
        return _Preparation(corpus, source, data_dir, options, scan, sources, fingerprint).run(make)


def _scan(corpus: str, source: Path, options: ClipOptions) -> Scan:
    scan = scan_corpus(corpus, source)
    return with_modalities(scan, video=options.need_video, audio=options.need_audio)


def _source_fingerprint(recording: Recording) -> str:
    known = [dataclasses.astuple(recording.labels), recording.start, recording.end]
    for path in (recording.path, recording.sound):
        if path is not None:
            state: tuple[int, int] | None = None  # rejected when it is its turn
            with contextlib.suppress(OSError, ValueError, ArchiveError):
                state = file_state(path)
            known.append(state)
    return _digest(known)


def _fingerprint(scan: Scan, sources: list[str]) -> str:
    others = [scan.refused, [recording.labels.key for recording in scan.long_sessions]]
    return _digest([sources, others] if any(others) else sources)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:32]


def _check_same(summary: Summary, corpus: str, options: ClipOptions, data_dir: Path) -> None:
    wanted = {"corpus": corpus, **options.to_dict()}
    stored = {"corpus": summary.corpus, **summary.options}
    differences = [
        f"{name} {stored.get(name)!r} (asked: {value!r})"
        for name, value in wanted.items()
        if stored.get(name) != value
    ]
    if differences:
        raise UserError(
            f"{data_dir} holds clips with {', '.join(differences)}: "
            "use another --data-dir, or delete this one"
        )


@dataclass(frozen=True)
class _Preparation:
    """One run of `prepare` that has something to do."""

    corpus: str
    source: Path
    data_dir: Path
    options: ClipOptions
    scan: Scan
    sources: list[str]
    fingerprint: str

    @property
    def synthetic(self) -> bool:
        return self.scan.synthetic or self.corpus == "demo"

    def run(self, make: MakeClips) -> Summary:
        staging = self.data_dir / _STAGING_NAME
        staging.mkdir(exist_ok=True)
        self._reuse()
        self._make_missing(make)
        figures, same_takes, rejects = self._collect()
        if not figures:
            self._write_rejects(rejects)
            shown = "; ".join(f"{reject.path}: {reject.reason}" for reject in rejects[:3])
            raise UserError(
                f"none of {len(rejects)} recordings could be used ({shown}): "
                f"all reasons are in {self.data_dir / REJECTS_NAME}"
            )
        summary = self._build(figures, same_takes, rejects)
        self._write_rejects(rejects)
        write_atomic(self.data_dir / TEXT_NAME, (to_text(summary) + "\n").encode())
        write_json(self.data_dir / SUMMARY_NAME, dataclasses.asdict(summary))
        shutil.rmtree(staging)
        return summary

    def _task(self, position: int) -> ClipTask:
        # Other options or another version of the file have another name.
        name = _digest([self.corpus, self.options.to_dict(), self.sources[position]])
        stem = self.data_dir.absolute() / _STAGING_NAME / name
        return ClipTask(self.scan.recordings[position], self.options, stem)

    def _missing(self) -> list[int]:
        return [k for k in range(len(self.sources)) if not self._task(k).done()]

    def _reuse(self) -> None:
        """Stage what an existing data set already has."""
        if not (self.data_dir / "clips").is_dir():
            return
        from jax_avemo.data.clip_store import read_clips

        with contextlib.suppress(UserError):  # damaged or half swapped: made anew
            stored = read_clips(self.data_dir)
            if stored.options != self.options.to_dict():
                return
            places = {source: index for index, source in enumerate(stored.sources)}
            for position in self._missing():
                index = places.get(self.sources[position])
                if index is not None:
                    write_atomic(self._task(position).path(CLIP), clip_to_bytes(stored[index]))

    def _make_missing(self, make: MakeClips) -> None:
        tasks = [self._task(position) for position in self._missing()]
        total = len(self.sources)
        rejected = 0
        with Progress(total, "preparing", unit="clips", start=total - len(tasks)) as progress:
            for task in make(tasks):
                rejected += task.path(REJECT).is_file()
                progress.advance(rejected=rejected)

    def _collect(self) -> tuple[dict[int, ClipFigures], list[list[Labels]], list[Reject]]:
        """Figures of the recordings that became clips, by position; equal ones; the rejects."""
        rejects = [Reject(key, reason) for key, reason in self.scan.refused]
        figures: dict[int, ClipFigures] = {}
        digests: dict[int, str] = {}
        for position, recording in enumerate(self.scan.recordings):
            task = self._task(position)
            if task.path(CLIP).is_file():
                clip = self._read_staged(position)
                figures[position] = measure(clip)
                digests[position] = content_digest(clip)
            else:
                reason = task.path(REJECT).read_text()
                rejects.append(Reject(recording.labels.key, reason))
        same_takes = []
        for positions in find_same_takes(digests):
            labels = [self.scan.recordings[position].labels for position in positions]
            if refused := contradictions(labels):
                rejects += [Reject(key, reason) for key, reason in refused.items()]
                for position in positions:
                    del figures[position]
            else:
                same_takes.append(labels)
        return figures, same_takes, rejects

    def _read_staged(self, position: int) -> Clip:
        path = self._task(position).path(CLIP)
        try:
            return clip_from_bytes(path.read_bytes())
        except ValueError as error:
            path.unlink()
            raise UserError(f"{path} was damaged ({error}) and is deleted: run it again") from error

    def _build(
        self,
        figures: dict[int, ClipFigures],
        same_takes: list[list[Labels]],
        rejects: list[Reject],
    ) -> Summary:
        from jax_avemo.data.clip_store import write_clips

        staging = self.data_dir / _STAGING_NAME
        new, old, place = staging / "new", staging / "old", self.data_dir / "clips"
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)
        new.mkdir()

        def clips() -> Iterator[Clip]:
            with Progress(len(figures), "writing", unit="clips") as progress:
                for position in figures:
                    yield self._read_staged(position)
                    progress.advance()

        labels = [self.scan.recordings[position].labels for position in figures]
        write_clips(
            new,
            clips(),
            labels,
            emotions=self.scan.emotions,
            options=self.options.to_dict(),
            corpus=self.corpus,
            synthetic=self.synthetic,
            sources=[self.sources[position] for position in figures],
            same_takes=[[take.key for take in takes] for takes in same_takes],
        )
        # From here on the old summary does not hold; the staged clips survive a kill.
        (self.data_dir / SUMMARY_NAME).unlink(missing_ok=True)
        if place.exists():
            place.rename(old)
        (new / "clips").rename(place)
        summary = self._summary(labels, list(figures.values()), rejects)
        notes = same_take_notes(same_takes) + unlike_published(self.scan.facts, summary)
        return dataclasses.replace(summary, notes=[*summary.notes, *notes])

    def _summary(
        self, labels: list[Labels], figures: list[ClipFigures], rejects: list[Reject]
    ) -> Summary:
        counts = Counter(label.emotion for label in labels)
        seconds = [clip.seconds for clip in figures]
        return Summary(
            corpus=self.corpus,
            source=str(self.source.absolute()),
            options=self.options.to_dict(),
            clips=len(figures),
            subjects=len({label.subject for label in labels}),
            emotions={name: counts[name] for name in self.scan.emotions},
            rejected=len(rejects),
            rejects=rejects,
            long_sessions=[recording.labels.key for recording in self.scan.long_sessions],
            notes=list(self.scan.notes),
            disagreements=list(self.scan.disagreements),
            synthetic=self.synthetic,
            statistics=describe(labels, figures),
            face_found_rate=face_found_rate(figures),
            duration_seconds=least_mean_most(seconds, 3) | {"total": round(sum(seconds), 3)},
            fingerprint=self.fingerprint,
        )

    def _write_rejects(self, rejects: list[Reject]) -> None:
        rows = [("path", "reason"), *((reject.path, reject.reason) for reject in rejects)]
        write_atomic(self.data_dir / REJECTS_NAME, to_csv(rows).encode())
