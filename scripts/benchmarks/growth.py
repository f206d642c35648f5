"""Benchmark of growth: what every part from clips to report costs as the clips become many.

    python scripts/benchmarks/growth.py                       # 1,000 and 10,000 clips
    python scripts/benchmarks/growth.py --clips 1000 --clips 10000 --clips 100000 --workdir DIR

The clips are 16 small ones (1 s of sound, 4 frames of 32 px) repeated under new keys: people of 100
clips each, 8 emotions. They are written to DIR (a temporary folder by default, 40 KB a clip) and
read by a network of size tiny that trains for one step. Leakage, verification and t-SNE read made
embeddings of 64 numbers in which people differ. Each part has a process of its own that runs it on
1,000 clips first, so that imports and compilation do not count. Seconds are of the part alone,
memory is the process's peak less what it had before. DIR/growth.json keeps what is measured: the
same command goes on.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np

from jax_avemo.runtime.files import write_json
from jax_avemo.runtime.progress import Progress
from jax_avemo.schema import RAVDESS_EMOTIONS, Labels

CLIPS_OF_A_PERSON = 100
WIDTH = 64
FEW_CLIPS = 1_000
"""Of the run before the one that is measured."""
RANDOM_ROWS = 1_000
WRITE, TRAIN = "write", "train: one step, erasure, validation, checkpoint"


def made_labels(count: int) -> list[Labels]:
    """Of `count` clips: every person shows every emotion, in two statements."""
    return [
        Labels(
            key=f"{clip:06d}",
            emotion=RAVDESS_EMOTIONS[clip % len(RAVDESS_EMOTIONS)],
            subject=f"{clip // CLIPS_OF_A_PERSON:05d}",
            sex="male" if clip // CLIPS_OF_A_PERSON % 2 else "female",
            statement=str(clip // len(RAVDESS_EMOTIONS) % 2),
            take=str(clip),
        )
        for clip in range(count)
    ]


def made_embeddings(count: int) -> np.ndarray:
    """Person plus noise, float32 [count, WIDTH]."""
    rng = np.random.default_rng(0)
    people = rng.normal(size=(-(-count // CLIPS_OF_A_PERSON), WIDTH))
    of_clips = people[np.arange(count) // CLIPS_OF_A_PERSON]
    return (of_clips + rng.normal(size=(count, WIDTH))).astype(np.float32)


def _split(labels: list[Labels], z: np.ndarray) -> None:
    from jax_avemo.data.splits import split_clips

    split_clips(
        labels,
        protocol="subject_independent",
        folds=5,
        fold=0,
        validation_subjects=2,
        seed=0,
    )


def _resample(labels: list[Labels], z: np.ndarray) -> None:
    from jax_avemo.data.resampling import draws, independence_weights

    draws(independence_weights([x.emotion for x in labels], [x.subject for x in labels]))


def _recall(labels: list[Labels], z: np.ndarray) -> None:
    from jax_avemo.evaluation import leakage, metrics
    from jax_avemo.evaluation.statistics import share_estimate

    emotions = np.unique(leakage.emotions_of(labels), return_inverse=True)[1]
    value, people = metrics.by_person(
        emotions,
        np.roll(emotions, 1),
        leakage.subjects_of(labels),
        metrics.unweighted_average_recall,
        classes=len(RAVDESS_EMOTIONS),
    )
    share_estimate(value, people)


def _enrol(labels: list[Labels], z: np.ndarray) -> None:
    from jax_avemo.evaluation import leakage
    from jax_avemo.evaluation.enrolment import mean_of_other_clips

    rng = np.random.default_rng(0)
    mean_of_other_clips(z, leakage.subjects_of(labels), leakage.takes_of(labels), 8, rng)


def _verify(labels: list[Labels], z: np.ndarray) -> None:
    from jax_avemo.evaluation import leakage

    people = leakage.People(labels, {"z_e": z})
    drawn = leakage.drawn_clips(leakage.subjects_of(labels), 0)
    leakage.verify_people(leakage.rows_of(people, drawn))


def _project(labels: list[Labels], z: np.ndarray) -> None:
    from jax_avemo.evaluation import leakage
    from jax_avemo.report import figures

    emotions = leakage.emotions_of(labels)
    # Two groups: a legend of a thousand people is not what is measured.
    figures.projections({"z_e": z}, emotions, emotions, "t-SNE")


def _attack(labels: list[Labels], z: np.ndarray) -> None:
    """As an evaluation does: a fifth of the clips is of test people, a tenth is held out."""
    from jax_avemo.evaluation import leakage

    def people(rows: np.ndarray) -> leakage.People:
        return leakage.rows_of(leakage.People(labels, {"z_e": z}), rows)

    fifth = len(labels) // 5
    held_out = np.arange(fifth, len(labels))[::8]
    leakage.measure(people(np.arange(fifth)), people(held_out), seed=0)


def _erase(labels: list[Labels], z: np.ndarray) -> None:
    from jax_avemo.erasure.fit import erasing_projection
    from jax_avemo.evaluation import leakage

    erasing_projection(
        z.astype(np.float64), leakage.subjects_of(labels), leakage.emotions_of(labels)
    )


PARTS: dict[str, Callable[[list[Labels], np.ndarray], None]] = {
    "split": _split,
    "resampling weights": _resample,
    "UAR by person": _recall,
    "enrolment means": _enrol,
    "erasure fit": _erase,
    "leakage": _attack,
    "verification": _verify,
    "t-SNE": _project,
}


def _open(labels: list[Labels], folder: Path) -> None:
    from jax_avemo.data.clip_store import read_clips

    read_clips(folder)


def _first_batch(labels: list[Labels], folder: Path, start_step: int = 0) -> None:
    from jax_avemo.data.augment import AugmentOptions
    from jax_avemo.data.clip_store import read_clips
    from jax_avemo.data.pipeline import LabelIndex
    from jax_avemo.training import build, train_loop

    config = _config(folder)
    clips = read_clips(folder)
    index = LabelIndex(clips.emotions, tuple(sorted({x.subject for x in clips.labels})))
    batches = train_loop.training_batches(
        clips,
        range(len(clips)),
        clips.labels,
        build.build_inputs(config, training=True),
        index,
        AugmentOptions(**config.augment),
        batch_size=config.train.batch_size,
        seed=0,
        start_step=start_step,
    )
    next(batches)


def _later_batch(labels: list[Labels], folder: Path) -> None:
    _first_batch(labels, folder, start_step=1_000_000)


def _random_rows(labels: list[Labels], folder: Path) -> None:
    from jax_avemo.data.clip_store import read_clips

    clips = read_clips(folder)
    for row in np.random.default_rng(0).integers(0, len(clips), RANDOM_ROWS):
        clips[int(row)]


def _train(labels: list[Labels], folder: Path) -> None:
    from jax_avemo.experiment import train_experiment
    from jax_avemo.training import train_loop

    with mock.patch.object(train_loop, "count_steps", return_value=1):
        train_experiment(_config(folder), _run(folder))


def _evaluate(labels: list[Labels], folder: Path) -> None:
    from jax_avemo.evaluation.evaluator import evaluate_run

    evaluate_run(_run(folder))


def _report(labels: list[Labels], folder: Path) -> None:
    from jax_avemo.report.write import write_report

    write_report(_run(folder))


def _config(folder: Path) -> Any:
    from jax_avemo import config as settings

    changes = {"data.corpus": "folder", "data.data_dir": str(folder)}
    changes["train.compilation_cache_dir"] = str(folder.parent / "compiled")
    return settings.make_config("growth", "tiny", changes | {"split.folds": 5})


def _run(folder: Path) -> Path:
    return folder / "run"


OF_CLIPS: dict[str, Callable[[list[Labels], Path], None]] = {
    "open": _open,
    "first batch": _first_batch,
    "batch a million steps later": _later_batch,
    f"{RANDOM_ROWS:,} clips in random order": _random_rows,
    TRAIN: _train,
    "evaluate": _evaluate,
    "report": _report,
}
"""Parts that read the stored clips, in the order in which a run goes through them."""


def write_corpus(count: int, folder: Path) -> None:
    """The stored clips, unless they are there; another process may use them later."""
    from jax_avemo.data.clip import ClipOptions
    from jax_avemo.data.clip_store import write_clips
    from jax_avemo.schema import Clip

    if (folder / "summary.json").exists():
        return
    rng = np.random.default_rng(0)
    frames = 4
    made = []
    for _ in range(16):
        blocks = rng.integers(0, 256, (frames, 8, 8, 3), dtype=np.uint8)
        pictures = [cv2.resize(block, (40, 40)) for block in blocks]
        jpegs = tuple(cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures)
        made.append((jpegs, (3000 * rng.normal(size=16_000)).astype(np.int16)))
    options = ClipOptions(frame_size=40, frames_per_second=4.0, max_seconds=10.0).to_dict()
    labels = made_labels(count)

    def clips() -> Iterator[Clip]:
        for number, label in enumerate(labels):
            jpegs, audio = made[number % len(made)]
            times = np.arange(frames, dtype=np.float32) / 4
            yield Clip(label, jpegs, times, np.ones(frames, bool), 40, audio, 1.0)

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_clips(
        folder,
        clips(),
        labels,
        emotions=RAVDESS_EMOTIONS,
        options=options,
        sources=[label.key for label in labels],
    )
    write_json(folder / "summary.json", {})


def alone(part: str, clips: int, workdir: Path) -> dict[str, float]:
    """Seconds and MB of one part, in this process, after a run on few clips."""

    def run(count: int, folder: Path) -> None:
        if part == WRITE:
            write_corpus(count, folder)
        elif part in OF_CLIPS:
            OF_CLIPS[part](made_labels(count), folder)
        else:
            PARTS[part](made_labels(count), made_embeddings(count))

    run(FEW_CLIPS, workdir / "few")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    run(clips, workdir / str(clips))
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "megabytes": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    }


def measure(
    parts: Sequence[str], clips: Sequence[int], workdir: Path
) -> dict[str, dict[int, dict[str, float]]]:
    """Part -> clips -> seconds and megabytes."""
    found: dict[str, dict[int, dict[str, float]]] = {part: {} for part in parts}
    record = workdir / "growth.json"
    known = json.loads(record.read_text()) if record.exists() else {}
    with Progress(len(parts) * len(clips), "measuring", unit="parts") as progress:
        for count in clips:
            for part in parts:
                if str(count) in known.get(part, {}):
                    found[part][count] = known[part][str(count)]
                    progress.advance(1)
                    continue
                for folder in (workdir / "few", workdir / str(count)):
                    if part == WRITE:
                        shutil.rmtree(folder, ignore_errors=True)
                    if part == TRAIN:  # a run that is finished does nothing
                        shutil.rmtree(_run(folder), ignore_errors=True)
                command = [sys.executable, __file__, "--alone", part, "--clips", str(count)]
                command += ["--workdir", str(workdir)]
                ran = subprocess.run(command, capture_output=True, text=True)
                if ran.returncode:
                    raise SystemExit(f"{part}, {count} clips: {ran.stderr[-2000:]}")
                found[part][count] = json.loads(ran.stdout.splitlines()[-1])
                write_json(record, found)
                progress.advance(1)
    return found


def table(found: dict[str, dict[int, dict[str, Any]]]) -> str:
    """Markdown: seconds, and MB beside them."""
    clips = list(next(iter(found.values())))
    lines = ["| | " + " | ".join(f"{count:,} clips" for count in clips) + " |"]
    lines.append("|---" * (len(clips) + 1) + "|")
    for part, by_clips in found.items():
        cells = [f"{x['seconds']:.2f} s, {x['megabytes']:.0f} MB" for x in by_clips.values()]
        lines.append(f"| {part} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Run what is asked; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, action="append", default=[])
    parser.add_argument("--workdir", type=Path, help="of the clips, which are kept there")
    every = (WRITE, *OF_CLIPS, *PARTS)
    parser.add_argument("--part", choices=every, action="append", metavar="PART", default=[])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--alone", choices=every, help=argparse.SUPPRESS)
    args = parser.parse_args()
    clips = args.clips or [1_000, 10_000]
    if args.alone:
        print(json.dumps(alone(args.alone, clips[0], args.workdir)))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        workdir = args.workdir or Path(temporary)
        write_corpus(FEW_CLIPS, workdir / "few")
        found = measure(args.part or every, clips, workdir)
    print(json.dumps(found) if args.json else table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
