"""Preparation in Apache Beam: clips are staged by the machines of a cluster.

TFDS can run a builder in Beam too, but then a run that is stopped begins anew. Here every clip is
a file of its own, as in a preparation on one machine, so the two go on from each other.
"""

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jax_avemo.data.staging import CLIP, REJECT, ClipTask, make_clips
from jax_avemo.runtime.errors import UserError

BATCH_CLIPS = 16
"""A worker makes this many in one decoding process, and at most these are made twice."""
_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class BeamRunner:
    """Which runner, and Beam's own options for it, such as `--direct_num_workers=2`."""

    name: str
    options: tuple[str, ...] = ()


def make_in_beam(tasks: Sequence[ClipTask], runner: BeamRunner) -> Iterator[ClipTask]:
    """Stage the clip of every task in a Beam pipeline; yields each task that is done.

    The workers see the media and the staged clips under the paths that they have here.

    Raises UserError when Beam is not installed, refuses its options, or fails.
    """
    if not tasks:
        return
    ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def run() -> None:
        try:
            _run_pipeline(tasks, runner)
        except BaseException as error:
            ended.put(error)
        else:
            ended.put(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    waiting = {task.stem.name: task for task in tasks}
    folder = tasks[0].stem.parent
    alive = True
    while waiting and alive:
        thread.join(_POLL_SECONDS)
        alive = thread.is_alive()
        # One listing, because a question for every clip is slow on a network file system.
        staged = {path.stem for path in folder.iterdir() if path.suffix in (CLIP, REJECT)}
        for name in waiting.keys() & staged:
            yield waiting.pop(name)
    thread.join()
    if (error := ended.get()) is not None:
        raise _told(error, runner) from error
    if waiting:
        first = next(iter(waiting.values()))
        raise UserError(
            f"Beam ended without {len(waiting)} clips, as {first.recording.labels.key}: do its "
            f"workers write to {folder}, as this process does?"
        )


def _run_pipeline(tasks: Sequence[ClipTask], runner: BeamRunner) -> None:
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise UserError("--beam-runner needs pip install 'jax_avemo[beam]'") from error
    options = PipelineOptions(["--runner", runner.name, *runner.options])
    with beam.Pipeline(options=options) as pipeline:
        (
            pipeline
            | "Batches" >> beam.Create(list(_batches(tasks)))
            | "Spread" >> beam.Reshuffle()
            | "MakeClips" >> beam.Map(_make_batch)
        )


def _batches(tasks: Sequence[ClipTask]) -> Iterator[list[ClipTask]]:
    for start in range(0, len(tasks), BATCH_CLIPS):
        yield list(tasks[start : start + BATCH_CLIPS])


def _make_batch(tasks: Sequence[ClipTask]) -> None:
    """What a Beam worker does; after a failure Beam gives the same batch once more."""
    for _ in make_clips([task for task in tasks if not task.done()], workers=1):
        pass


def _told(error: BaseException, runner: BeamRunner) -> BaseException:
    if isinstance(error, UserError):
        return error
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[-1] if lines else type(error).__name__
    return UserError(f"Beam's {runner.name} failed: {reason}")
