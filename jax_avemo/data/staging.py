"""Staged clips: one file for each recording, a clip or the reason why there is none."""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jax_avemo.data.clip import ClipOptions, clip_to_bytes, make_clip
from jax_avemo.media.decoding.archives import locate, unpack
from jax_avemo.media.faces.main_face import FaceDetector
from jax_avemo.media.sandbox import run_isolated
from jax_avemo.runtime.files import write_atomic
from jax_avemo.schema import Recording

CLIP, REJECT = ".clip", ".reject"


@dataclass(frozen=True)
class ClipTask:
    """A recording, how its clip is made, and where it is staged."""

    recording: Recording
    options: ClipOptions
    stem: Path
    """Absolute; without the suffix."""

    def path(self, suffix: str) -> Path:
        """Of the clip (`CLIP`) or of the reason (`REJECT`)."""
        return self.stem.with_name(self.stem.name + suffix)

    def done(self) -> bool:
        """Whether either is there."""
        return any(self.path(suffix).is_file() for suffix in (CLIP, REJECT))


def make_clips(tasks: Sequence[ClipTask], *, workers: int) -> Iterator[ClipTask]:
    """Stage the clip of every task, in `workers` processes; yields each task that is done.

    Raises OSError when a file cannot be written: a full disk ends the run and rejects nothing.
    """
    for outcome in run_isolated(_make, tasks, workers=workers):
        task = tasks[outcome.index]
        if outcome.value is not None:
            write_atomic(task.path(CLIP), outcome.value)
        else:
            write_atomic(task.path(REJECT), str(outcome.error).encode())
        yield task


@functools.cache
def _detector() -> FaceDetector:
    """One for the life of a worker, which has a single thread."""
    return FaceDetector()


def _make(task: ClipTask) -> bytes:
    """What a worker does; what is in an archive is unpacked beside the staged clips meanwhile."""
    with contextlib.ExitStack() as cleanup:

        def at_hand(path: Path, use: str) -> Path:
            if path.exists() or locate(path) is None:
                return path
            # The suffix stays, since a container may be told by it; the rest of the name does not.
            plain = task.stem.with_name(f"{use}-{task.stem.name}-{os.getpid()}{path.suffix}")
            cleanup.callback(plain.unlink, missing_ok=True)
            unpack(path, plain)
            return plain

        recording = task.recording
        found = dataclasses.replace(recording, path=at_hand(recording.path, "seen"))
        if recording.sound is not None:
            found = dataclasses.replace(found, sound=at_hand(recording.sound, "heard"))
        return clip_to_bytes(make_clip(found, task.options, detector=_detector()))
