"""Benchmark of growth: what the parts between clips and results cost as the clips become many.

    python scripts/benchmarks/growth.py                       # 1,000 and 10,000 clips
    python scripts/benchmarks/growth.py --clips 1000 --clips 100000

Labels and embeddings are made up: people of 100 clips each, 8 emotions, embeddings of 64 numbers in
which people differ. Each part has a process of its own; seconds are of the part alone, memory is
the process's peak less what it had before. Media, training and attackers that learn are not in it.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jax_avemo.runtime.progress import Progress
from jax_avemo.schema import RAVDESS_EMOTIONS, Labels

CLIPS_OF_A_PERSON = 100
WIDTH = 64


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


PARTS: dict[str, Callable[[list[Labels], np.ndarray], None]] = {
    "split": _split,
    "resampling weights": _resample,
    "UAR by person": _recall,
    "enrolment means": _enrol,
    "verification": _verify,
    "t-SNE": _project,
}


def alone(part: str, clips: int) -> dict[str, float]:
    """Seconds and MB of one part, in this process, after a run on few clips that imports."""
    PARTS[part](made_labels(800), made_embeddings(800))
    labels, z = made_labels(clips), made_embeddings(clips)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    PARTS[part](labels, z)
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "megabytes": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    }


def measure(clips: Sequence[int]) -> dict[str, dict[int, dict[str, float]]]:
    """Part -> clips -> seconds and megabytes."""
    found: dict[str, dict[int, dict[str, float]]] = {part: {} for part in PARTS}
    with Progress(len(PARTS) * len(clips), "measuring", unit="parts") as progress:
        for part in PARTS:
            for count in clips:
                command = [sys.executable, __file__, "--alone", part, "--clips", str(count)]
                ran = subprocess.run(command, check=True, capture_output=True, text=True)
                found[part][count] = json.loads(ran.stdout.splitlines()[-1])
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
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--alone", choices=tuple(PARTS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    clips = args.clips or [1_000, 10_000]
    if args.alone:
        print(json.dumps(alone(args.alone, clips[0])))
        return 0
    found = measure(clips)
    print(json.dumps(found) if args.json else table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
