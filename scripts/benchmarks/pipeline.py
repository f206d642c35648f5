"""Benchmark of the input pipeline, and of the time that training waits for it.

    python scripts/benchmarks/pipeline.py                     # noise clips of size `cpu`, made here
    python scripts/benchmarks/pipeline.py --clips FOLDER      # prepared ones (avemo prepare)
    python scripts/benchmarks/pipeline.py --no-train          # without the training step
    python scripts/benchmarks/pipeline.py --size full --no-train

Shown, as medians of `--repeats` passes over the clips, in clips a second: reading a record through
TFDS and as raw ArrayRecord; decoding the frames of a training row; making the whole row (decoding
and augmenting included), for training and for evaluation; stacking rows to a batch; the product's
input as a whole, beside PyTorch's DataLoader making the same rows of the same files (without and
with worker processes). Last, the share of training's time that passes between one step's end and
the next batch.
PyTorch comes with the extra `bench`.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from array_record.python.array_record_data_source import ArrayRecordDataSource

from jax_avemo import config as settings
from jax_avemo.data import pipeline
from jax_avemo.data.augment import AugmentOptions
from jax_avemo.data.clip import encode_jpeg
from jax_avemo.data.clip_store import ClipSource, read_clips, write_clips
from jax_avemo.data.pipeline import LabelIndex, make_example, training_batches
from jax_avemo.runtime.progress import Progress
from jax_avemo.schema import AUDIO_SAMPLE_RATE, RAVDESS_EMOTIONS, Clip, Labels
from jax_avemo.training import build

CLIPS, SUBJECTS, SECONDS = 128, 16, 3.5
JPEG_QUALITY = 92
Rate = dict[str, float]


def make_clips(folder: Path, config: Any) -> None:
    """Clips with the size, rate and length of the demo's: blurred noise to see and to hear."""
    rng = np.random.default_rng(0)
    side, rate = config.data.stored_size, config.data.stored_fps
    labels = [
        Labels(f"{k:04}", RAVDESS_EMOTIONS[k % 8], f"{k % SUBJECTS:02}") for k in range(CLIPS)
    ]

    def clips() -> Iterator[Clip]:
        for label in labels:
            times = np.arange(0, SECONDS, 1 / rate)
            noise = rng.integers(0, 256, (len(times), side, side, 3), dtype=np.uint8)
            frames = tuple(
                encode_jpeg(cv2.GaussianBlur(image, (0, 0), 2), JPEG_QUALITY) for image in noise
            )
            sound = rng.normal(0, 3000, round(SECONDS * AUDIO_SAMPLE_RATE)).astype(np.int16)
            found = np.ones(len(times), bool)
            yield Clip(label, frames, times.astype(np.float32), found, side, sound, SECONDS)

    options = {"frame_size": side, "frames_per_second": rate}
    sources = [label.key for label in labels]
    write_clips(
        folder, clips(), labels, emotions=RAVDESS_EMOTIONS, options=options, sources=sources
    )


class Rows(torch.utils.data.Dataset):
    """The product's rows for PyTorch's DataLoader."""

    def __init__(self, clips: ClipSource, make: Callable[[Clip, int], dict[str, Any]]) -> None:
        self.clips, self.make = clips, make

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, position: int) -> dict[str, Any]:
        return self.make(self.clips[position], position)


class Maker:
    """A clip -> a training row; a class, so that worker processes can have it."""

    def __init__(self, config: Any, index: LabelIndex) -> None:
        self.inputs = build.build_inputs(config, training=True)
        self.variation = AugmentOptions(**config.augment)
        self.index = index

    def __call__(self, clip: Clip, position: int) -> dict[str, Any]:
        rng = np.random.default_rng(position)
        return make_example(clip, self.inputs, self.index, variation=self.variation, rng=rng)


def timed(work: Callable[[], Any], count: int) -> float:
    """Clips a second."""
    began = time.perf_counter()
    work()
    return count / (time.perf_counter() - began)


def stages(clips: ClipSource, config: Any, index: LabelIndex) -> Rate:
    """One pass over the clips for every stage, one thread each but the last three."""
    found: Rate = {}
    count, batch = len(clips), config.train.batch_size
    make = Maker(config, index)
    files = sorted(map(str, clips.folder.rglob("*.array_record*")))
    raw = ArrayRecordDataSource(files)
    found["read a record, raw ArrayRecord"] = timed(lambda: [raw[k] for k in range(count)], count)
    held: list[Clip] = []
    anew = read_clips(clips.folder.parent)  # `clips` keeps what it has read
    found["read a clip through TFDS"] = timed(lambda: held.extend(anew), count)
    wanted = [
        held[k].frames[:: max(1, len(held[k].frames) // make.inputs.frames)] for k in range(count)
    ]
    frames = [list(some[: make.inputs.frames]) for some in wanted]
    found["decode a row's frames"] = timed(
        lambda: [pipeline._decode(jpeg) for row in frames for jpeg in row], count
    )
    rows: list[dict[str, Any]] = []
    found["make a row of a clip"] = timed(
        lambda: rows.extend(make(clip, k) for k, clip in enumerate(held)), count
    )
    inputs = build.build_inputs(config, training=False)
    found["make a row of a clip, evaluation"] = timed(
        lambda: [make_example(clip, inputs, index) for clip in held], count
    )
    found["stack rows to a batch"] = timed(lambda: stacked(rows, batch), count)
    whole = count // batch * batch
    batches = product_batches(clips, config, index)
    next(batches)
    # The prefetch buffer, eight batches, is emptied first.
    for _ in range(8):
        next(batches)
    found["the product's input"] = timed(
        lambda: [next(batches) for _ in range(whole // batch)], whole
    )
    for workers in (0, os.cpu_count() or 1):
        loader = torch.utils.data.DataLoader(
            Rows(clips, make),
            batch,
            shuffle=True,
            num_workers=workers,
            drop_last=True,
            persistent_workers=workers > 0,
            multiprocessing_context="spawn" if workers else None,
        )
        if workers:
            list(loader)  # starting workers is not counted
        name = f"PyTorch DataLoader, {workers} workers"
        found[name] = timed(lambda loader=loader: list(loader), whole)
    return found


def stacked(rows: Sequence[dict[str, Any]], batch: int) -> None:
    """Every batch of the rows."""
    for begin in range(0, len(rows), batch):
        part = rows[begin : begin + batch]
        {name: np.stack([row[name] for row in part]) for name in part[0]}


def product_batches(clips: ClipSource, config: Any, index: LabelIndex) -> Iterator[Any]:
    """What training reads."""
    return training_batches(
        clips,
        range(len(clips)),
        clips.labels,
        build.build_inputs(config, training=True),
        index,
        AugmentOptions(**config.augment),
        batch_size=config.train.batch_size,
        seed=0,
    )


def waiting(clips: ClipSource, config: Any, index: LabelIndex, steps: int) -> dict[str, float]:
    """Training's time, and the part of it between a step's end and the next batch."""
    import jax

    from jax_avemo.runtime.compilation import keep_compiled_programs
    from jax_avemo.runtime.devices import data_mesh, place_batch
    from jax_avemo.runtime.memory import keep_freed_memory
    from jax_avemo.training.train_step import prepare_training

    keep_compiled_programs("")
    keep_freed_memory()
    mesh = data_mesh()
    model = build.build_model(config, len(index.emotions), len(index.subjects))
    state, step = prepare_training(config, model, 10_000, mesh)
    batches, key = product_batches(clips, config, index), jax.random.key(0)
    waited, began = 0.0, 0.0
    with Progress(steps, "training", unit="steps") as progress:
        for number in range(-5, steps):  # the first compile and fill the buffer
            if number == 0:
                waited, began = 0.0, time.perf_counter()
            asked = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - asked
            state, metrics = step(state, place_batch(batch, mesh), key)
            jax.block_until_ready(metrics)
            if number >= 0:
                progress.advance()
    whole = time.perf_counter() - began
    return {"steps_a_second": steps / whole, "waiting_share": waited / whole}


def main(argv: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=Path, metavar="FOLDER", help="prepared clips")
    parser.add_argument("--size", default="cpu", choices=("cpu", "full"))
    parser.add_argument("--repeats", type=int, default=5, help="passes over the clips")
    parser.add_argument("--steps", type=int, default=100, help="of training")
    parser.add_argument("--no-train", action="store_true", help="leave the training step out")
    parser.add_argument("--json", action="store_true", help="print numbers, not a table")
    args = parser.parse_args(argv)
    config = settings.make_config("benchmark", args.size)
    with tempfile.TemporaryDirectory() as scratch:
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        folder = args.clips or Path(scratch)
        if args.clips is None:
            make_clips(folder, config)
        clips = read_clips(folder)
        subjects = tuple(sorted({label.subject for label in clips.labels}))
        index = LabelIndex(clips.emotions, subjects)
        passes = []
        with Progress(args.repeats, "stages", unit="passes") as progress:
            for _ in range(args.repeats):
                passes.append(stages(clips, config, index))
                progress.advance()
        found: dict[str, Any] = {
            "clips": len(clips),
            "load": os.getloadavg()[0],
            "clips_a_second": {
                name: [statistics.median(p[name] for p in passes)]
                + [f(p[name] for p in passes) for f in (min, max)]
                for name in passes[0]
            },
        }
        if not args.no_train:
            found |= waiting(clips, config, index, args.steps)
    print(json.dumps(found) if args.json else table(found))
    return 0


def table(found: dict[str, Any]) -> str:
    """The numbers as Markdown."""
    lines = [
        f"{found['clips']} clips, {os.cpu_count()} cores, load {found['load']:.1f}",
        "",
        "| stage | clips a second (least to most) |",
        "|---|---|",
    ]
    for name, (median, least, most) in found["clips_a_second"].items():
        lines.append(f"| {name} | {median:.0f} ({least:.0f} to {most:.0f}) |")
    if "waiting_share" in found:
        lines += [
            "",
            f"training: {found['steps_a_second']:.2f} steps/s, "
            f"{100 * found['waiting_share']:.2f} % of the time waits for a batch",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
