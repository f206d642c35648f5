"""The synthetic corpus on disk."""

import functools
import importlib.util
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jax_avemo.media.encode import write_video
from jax_avemo.media.sandbox import Limits, run_isolated
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.files import locked, remove_leftovers, write_json
from jax_avemo.runtime.progress import Progress
from jax_avemo.schema import RAVDESS_EMOTIONS
from jax_avemo.synthetic.head import load_head
from jax_avemo.synthetic.look import Look, make_look
from jax_avemo.synthetic.perform import FRAMES_PER_SECOND, perform
from jax_avemo.synthetic.plan import PlannedTake, plan_corpus
from jax_avemo.synthetic.style import Style, make_style
from jax_avemo.synthetic.take import Take, draw_take

GENERATOR_VERSION = 1
"""Raised whenever the same arguments would make other clips."""

_MANIFEST = "corpus.json"
_TRUTH = "truth.json"
_UNFINISHED = "unfinished.json"
_CLIPS_A_JOB = 8
_LIMITS = Limits(seconds=300.0, cpu_seconds=300, memory_bytes=16 << 30)
"""Of a job; generous, for it takes a few seconds: they end a worker that hangs."""


@dataclass(frozen=True)
class _Request:
    """What was asked for; stands in the folder, so that two corpora are never mixed."""

    generator_version: int
    actors: int
    takes: int
    seed: int
    confound: float


def write_corpus(
    out_dir: Path,
    *,
    actors: int,
    takes: int,
    seed: int,
    confound: float = 0.0,
    workers: int | None = None,
) -> None:
    """Write a synthetic corpus under RAVDESS's file names: Actor_01/01-01-05-01-02-01-01.mp4.

    Every actor speaks two statements in eight emotions, `takes` times: 16 * takes clips. (seed,
    actor number) is a person, whatever `actors` is; odd numbers are men. Under a `confound` (see
    plan.emotion_counts) the people are the same and every take is a new one.

    Finished files are kept, so a killed run goes on when called again; `corpus.json` is written
    last, and its presence means that the corpus is whole. `truth.json` holds the parameters each
    clip was made from. The same arguments give the same bytes on one machine, whatever `workers`
    (None: one a core). Processes are spawned: a script must guard its main module.

    Raises UserError for impossible sizes, for a folder that holds something else, or when
    espeak-ng or pyworld is missing.
    """
    out_dir = Path(out_dir)
    plan = plan_corpus(actors, takes, seed, confound)
    for module in ("espeakng_loader", "pyworld"):
        if importlib.util.find_spec(module) is None:
            raise UserError(f"the demo corpus needs {module}; run: pip install 'jax_avemo[demo]'")
    request = _Request(GENERATOR_VERSION, actors, takes, seed, confound)
    if _read_request(out_dir / _MANIFEST) == request:
        return
    if out_dir.exists() and not out_dir.is_dir():
        raise UserError(f"{out_dir} is a file; give a folder for the demo corpus")
    busy = f"another process is writing the demo corpus in {out_dir}: wait for it or end it"
    with locked(out_dir, busy):
        _write(out_dir, request, plan, workers or len(os.sched_getaffinity(0)))


def _write(out_dir: Path, request: _Request, plan: list[PlannedTake], workers: int) -> None:
    """Write what is missing, and the manifest last."""
    seed, confound = request.seed, request.confound
    if _read_request(out_dir / _MANIFEST) == request:
        return  # by another process, before this one had the lock
    _claim(out_dir, request)
    for folder in out_dir.glob("Actor_*"):
        remove_leftovers(folder)
    targets = [(planned, out_dir / clip_name(planned, seed, confound)) for planned in plan]
    missing = [(planned, path) for planned, path in targets if not path.exists()]
    jobs = [missing[k : k + _CLIPS_A_JOB] for k in range(0, len(missing), _CLIPS_A_JOB)]
    done = len(targets) - len(missing)
    with Progress(len(targets), "making the demo corpus", unit="clips", start=done) as progress:
        for count in _run_jobs(jobs, seed, confound, workers):
            progress.advance(count)
    for folder in out_dir.glob("Actor_*"):
        remove_leftovers(folder)  # of workers that were lost
    truth = {
        path.relative_to(out_dir).as_posix(): {
            "actor": planned.actor,
            **asdict(_take_of(planned, seed, confound)),
        }
        for planned, path in targets
    }
    write_json(out_dir / _TRUTH, truth)
    write_json(
        out_dir / _MANIFEST,
        {
            "what": "synthetic corpus, made by jax_avemo's demo; file names as in RAVDESS",
            **asdict(request),
            "clips": len(targets),
            "frames_per_second": FRAMES_PER_SECOND,
        },
    )
    (out_dir / _UNFINISHED).unlink(missing_ok=True)


def clip_name(planned: PlannedTake, seed: int, confound: float) -> str:
    """Path below the corpus folder: modality 01, channel 01, emotion, intensity, statement, ..."""
    strong = _take_of(planned, seed, confound).strong
    fields = (
        1,
        1,
        planned.emotion + 1,
        2 if strong else 1,
        planned.statement,
        planned.repetition,
        planned.actor,
    )
    name = "-".join(f"{value:02d}" for value in fields)
    return f"Actor_{planned.actor:02d}/{name}.mp4"


def _is_female(actor: int) -> bool:
    return actor % 2 == 0


@functools.lru_cache(maxsize=128)
def actor_style(seed: int, actor: int) -> Style:
    """The acting habits of person (seed, actor)."""
    rng = np.random.default_rng([seed, 1, actor])
    # (actor - 1) // 2 counts men and women apart; a corpus starts anywhere in the list of voices.
    return make_style(female=_is_female(actor), voice_index=(actor - 1) // 2 + 3 * seed, rng=rng)


@functools.lru_cache(maxsize=2)
def actor_look(seed: int, actor: int) -> Look:
    """The appearance of person (seed, actor)."""
    rng = np.random.default_rng([seed, 2, actor])
    return make_look(load_head(), female=_is_female(actor), rng=rng)


def _take_seed(planned: PlannedTake, seed: int, confound: float) -> list[int]:
    takes = (planned.actor, planned.emotion, planned.statement, planned.repetition)
    return [seed, 3, *takes, round(confound * 1_000_000)]


def _take_of(planned: PlannedTake, seed: int, confound: float) -> Take:
    rng = np.random.default_rng([*_take_seed(planned, seed, confound), 0])
    style = actor_style(seed, planned.actor)
    return draw_take(style, RAVDESS_EMOTIONS[planned.emotion], planned.statement, rng)


def _write_clips(task: tuple[list[tuple[PlannedTake, Path]], int, float]) -> bytes:
    """Make the clips of one job; runs in a worker process."""
    job, seed, confound = task
    for planned, path in job:
        if path.exists():  # by a worker that was lost in the middle of the job
            continue
        performance = perform(
            load_head(),
            actor_look(seed, planned.actor),
            actor_style(seed, planned.actor),
            _take_of(planned, seed, confound),
            np.random.default_rng([*_take_seed(planned, seed, confound), 1]),
        )
        try:
            write_video(
                path,
                performance.frames,
                performance.sound,
                frames_per_second=FRAMES_PER_SECOND,
                sample_rate=performance.sample_rate,
            )
        except OSError as error:
            raise UserError(f"{error.strerror or error}: {path.parent}") from error
    return b""


def _run_jobs(
    jobs: list[list[tuple[PlannedTake, Path]]], seed: int, confound: float, workers: int
) -> Iterator[int]:
    """Yield the number of clips of every job that is done."""
    tasks = [(job, seed, confound) for job in jobs]
    for outcome in run_isolated(_write_clips, tasks, workers=workers, limits=_LIMITS):
        if outcome.error is not None:
            raise UserError(
                f"the demo corpus could not be written ({outcome.error}); when that is mended, "
                "the same command goes on"
            )
        yield len(jobs[outcome.index])


def _read_request(path: Path) -> _Request | None:
    """The request written in `path`; None when there is no such file or it is another's."""
    try:
        stored: dict[str, Any] = json.loads(path.read_text())
        return _Request(**{name: stored[name] for name in _Request.__dataclass_fields__})
    except (FileNotFoundError, KeyError, TypeError, json.JSONDecodeError):
        return None


def _claim(out_dir: Path, request: _Request) -> None:
    """Mark the folder as this corpus's, or refuse when it holds something else."""
    unfinished = out_dir / _UNFINISHED
    if _read_request(unfinished) == request:
        return
    foreign = (out_dir / _MANIFEST).exists() or unfinished.exists()
    if foreign or any(out_dir.glob("Actor_*")):
        raise UserError(
            f"{out_dir} holds another corpus (other arguments or version); "
            "give an empty folder or delete it"
        )
    write_json(unfinished, asdict(request))
