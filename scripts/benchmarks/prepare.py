"""Benchmark of preparation: CPU milliseconds a stage, ratio to decoding, memory, workers.

    python scripts/benchmarks/prepare.py                   # 720p clips like RAVDESS's, made here
    python scripts/benchmarks/prepare.py --source FOLDER   # your own RAVDESS tree
    python scripts/benchmarks/prepare.py --scaling --memory 2000

Stages are timed in CPU seconds of one process, `--repeats` times, and their medians are shown;
ratios are taken within one repeat, so that a busy machine moves both sides. Made clips: actors of
the demo corpus at RAVDESS's size of face, 1280 x 720, 30 frames a second, film grain, H.264 and
AAC at 48 kHz. `--json` prints the numbers.
"""

import argparse
import gc
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from jax_avemo.data.clip import ClipOptions, encode_jpeg, make_clip
from jax_avemo.data.prepare import prepare
from jax_avemo.media.decoding.container import TimedFrame
from jax_avemo.media.decoding.decode import read_media
from jax_avemo.media.encode import write_video
from jax_avemo.media.faces.blazeface import Face, FaceDetector
from jax_avemo.media.faces.main_face import track_and_crop
from jax_avemo.schema import Labels, Recording
from jax_avemo.synthetic.corpus import write_corpus

OPTIONS = ClipOptions(frame_size=256, frames_per_second=15, max_seconds=12)
WIDTH, HEIGHT, RATE, SOUND_RATE = 1280, 720, 30, 48_000
FACE_SCALE = 2.0
"""Of the demo's 224 px, so that the eyes are 100 px apart, as in RAVDESS."""
GRAIN = 1.0
"""Standard deviation of the film grain, grey levels: 3 Mbit/s, as RAVDESS has."""


def make_clips(folder: Path, count: int) -> list[Path]:
    """Write `count` takes of the demo corpus as RAVDESS films them."""
    with tempfile.TemporaryDirectory() as scratch:
        write_corpus(Path(scratch), actors=1, takes=1, seed=1)
        takes = sorted(Path(scratch).rglob("*.mp4"))
        chosen = [takes[round(k)] for k in np.linspace(0, len(takes) - 1, count)]
        return [enlarged(take, folder / f"Actor_{take.stem[-2:]}" / take.name) for take in chosen]


def enlarged(take: Path, path: Path) -> Path:
    """A demo take at 720p, 30 frames a second and 48 kHz, on a plain ground."""
    media = read_media(take, frames_per_second=60)
    pictures = list(media.frames)
    times = np.array([picture.time for picture in pictures])
    rng = np.random.default_rng(0)
    side = round(pictures[0].image.shape[0] * FACE_SCALE)
    top, left = (HEIGHT - side) // 2, (WIDTH - side) // 2
    frames = np.empty((round(media.duration * RATE), HEIGHT, WIDTH, 3), np.uint8)
    grain = rng.normal(0, GRAIN, (HEIGHT + 64, WIDTH + 64, 1))
    for index, frame in enumerate(frames):
        after = min(int(np.searchsorted(times, index / RATE)), len(pictures) - 1)
        face = cv2.resize(pictures[after].image, (side, side), interpolation=cv2.INTER_CUBIC)
        frame[:] = np.median(face[0], axis=0)
        frame[top : top + side, left : left + side] = face
        y, x = rng.integers(0, 64, 2)
        frame[:] = np.clip(frame + grain[y : y + HEIGHT, x : x + WIDTH], 0, 255)
    sound = np.interp(
        np.arange(round(media.duration * SOUND_RATE)) / SOUND_RATE,
        np.arange(media.audio.size) / 16_000,
        media.audio / 32768,
    )
    write_video(path, frames, sound, frames_per_second=RATE, sample_rate=SOUND_RATE)
    return path


class TimedDetector(FaceDetector):
    """Counts what detection costs."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds, self._inside = 0.0, False

    def _timed(self, function: Any, *arguments: Any, **keywords: Any) -> list[Face]:
        if self._inside:  # a search detects
            return list(function(*arguments, **keywords))
        self._inside = True
        began = time.process_time()
        try:
            return list(function(*arguments, **keywords))
        finally:
            self.seconds += time.process_time() - began
            self._inside = False

    def detect(self, image_rgb: np.ndarray) -> list[Face]:
        return self._timed(super().detect, image_rgb)

    def survey(self, image_rgb: np.ndarray) -> list[Face]:
        return self._timed(super().survey, image_rgb)

    def search(self, image_rgb: np.ndarray, *, thorough: bool = True) -> list[Face]:
        return self._timed(super().search, image_rgb, thorough=thorough)


def decode_alone(path: Path) -> int:
    """Decode every frame of the picture and drop it; returns how many."""
    count = 0
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        video.thread_type, video.codec_context.thread_count = "SLICE", 1
        for _ in container.decode(video):
            count += 1
    return count


def stages(paths: list[Path], detector: TimedDetector) -> dict[str, float]:
    """CPU seconds of each stage over all clips, and of `make_clip` as a whole."""
    spent = dict.fromkeys(("decode", "sound", "convert", "detect", "crop", "jpeg", "whole"), 0.0)
    spent["decoded"] = spent["stored"] = 0

    def timed(name: str, function: Any, *arguments: Any, **keywords: Any) -> Any:
        began = time.process_time()
        result = function(*arguments, **keywords)
        spent[name] += time.process_time() - began
        return result

    def counted(frames: Iterator[TimedFrame]) -> Iterator[TimedFrame]:
        while (frame := timed("convert", next, frames, None)) is not None:
            yield frame

    for path in paths:
        decode_before = spent["decode"]
        spent["decoded"] += timed("decode", decode_alone, path)
        media = timed(
            "sound",
            read_media,
            path,
            frames_per_second=OPTIONS.frames_per_second,
            max_seconds=OPTIONS.max_seconds,
        )
        convert_before, detector.seconds = spent["convert"], 0.0
        began = time.process_time()
        track = track_and_crop(counted(media.frames), OPTIONS.frame_size, detector=detector)
        together = time.process_time() - began
        spent["crop"] += together - (spent["convert"] - convert_before) - detector.seconds
        spent["detect"] += detector.seconds
        spent["convert"] -= spent["decode"] - decode_before
        for crop in track.crops:
            timed("jpeg", encode_jpeg, crop, OPTIONS.jpeg_quality)
        spent["stored"] += len(track.crops)
        timed("whole", make_clip, recording(path), OPTIONS, detector=detector)
    return spent


def recording(path: Path) -> Recording:
    """The clip as a take."""
    return Recording(Labels(key=path.name, emotion="happy", subject="01"), path)


def benchmark_stages(paths: list[Path], repeats: int) -> dict[str, Any]:
    """Medians over repeats of milliseconds a stage and clip, and of the ratio to decoding."""
    detector = TimedDetector()
    stages(paths, detector)  # caches, lazy loading
    runs = [stages(paths, detector) for _ in range(repeats)]
    names = ("decode", "sound", "convert", "detect", "crop", "jpeg", "whole")
    ratios = [run["whole"] / run["decode"] for run in runs]
    return {
        "clips": len(paths),
        "frames_decoded": runs[0]["decoded"],
        "frames_stored": runs[0]["stored"],
        "milliseconds_a_clip": {
            name: round(1e3 * statistics.median(run[name] for run in runs) / len(paths), 2)
            for name in names
        },
        "ratio_to_decoding": round(statistics.median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in sorted(ratios)],
    }


def resident_megabytes() -> float:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def benchmark_memory(paths: list[Path], clips: int) -> dict[str, Any]:
    """Resident memory of one process while it makes the same clips again and again."""
    detector = FaceDetector()
    readings = []
    for index in range(clips):
        make_clip(recording(paths[index % len(paths)]), OPTIONS, detector=detector)
        if index == min(20, clips // 4) or index == clips - 1 or (index + 1) % (clips // 4) == 0:
            gc.collect()
            readings.append((index + 1, round(resident_megabytes(), 1)))
    return {"clips": clips, "resident_megabytes": readings}


def benchmark_workers(paths: list[Path], folder: Path, copies: int) -> dict[str, Any]:
    """Seconds of whole runs by number of workers, of a second run, and after a file is added."""
    source = folder / "source"
    source.mkdir()
    for index in range(copies):
        path = paths[index % len(paths)]
        # Of one actor: the same take of two people is refused.
        shutil.copy(path, source / f"01-01-03-01-{index // 99 + 1:02}-{index % 99 + 1:02}-01.mp4")

    def seconds(name: str, workers: int) -> float:
        began = time.monotonic()
        prepare("ravdess", source, folder / name, OPTIONS, workers=workers)
        return round(time.monotonic() - began, 2)

    cores = len(os.sched_getaffinity(0))
    result: dict[str, Any] = {"clips": copies, "cores": cores, "load": os.getloadavg()[0]}
    counts = [1, *(count for count in (2, 4, 8, 16, 32) if count <= cores)]
    result["seconds_by_workers"] = {count: seconds(f"w{count}", count) for count in counts}
    last = f"w{counts[-1]}"
    result["second_run_seconds"] = seconds(last, counts[-1])
    shutil.copy(paths[0], source / "01-01-05-01-01-01-01.mp4")
    result["one_file_added_seconds"] = seconds(last, counts[-1])
    return result


def main(arguments: list[str] | None = None) -> int:
    """Run the parts asked for; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", type=Path, help="folder with mp4 files, instead of made ones")
    parser.add_argument("--clips", type=int, default=6, help="clips that are timed")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--memory", type=int, default=0, help="clips made to watch memory")
    parser.add_argument("--scaling", action="store_true", help="time whole runs by workers")
    parser.add_argument("--copies", type=int, default=48, help="files of the whole runs")
    parser.add_argument("--json", action="store_true")
    parsed = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as scratch:
        if parsed.source:
            paths = sorted(parsed.source.rglob("*.mp4"))[: parsed.clips]
        else:
            paths = make_clips(Path(scratch) / "clips", parsed.clips)
        if not paths:
            print(f"error: no mp4 file in {parsed.source}", file=sys.stderr)
            return 1
        found: dict[str, Any] = {"load": round(os.getloadavg()[0], 1)}
        found["stages"] = benchmark_stages(paths, parsed.repeats)
        if parsed.memory:
            found["memory"] = benchmark_memory(paths, parsed.memory)
        if parsed.scaling:
            found["workers"] = benchmark_workers(paths, Path(scratch), parsed.copies)
    print(json.dumps(found) if parsed.json else table(found))
    return 0


def table(found: dict[str, Any]) -> str:
    """The numbers as Markdown."""
    part = found["stages"]
    lines = [
        f"{part['clips']} clips, {part['frames_decoded']} frames decoded, "
        f"{part['frames_stored']} stored; load of the machine {found['load']}",
        "",
        "| stage | ms a clip | of decoding |",
        "|---|---|---|",
    ]
    decode = part["milliseconds_a_clip"]["decode"]
    for name, milliseconds in part["milliseconds_a_clip"].items():
        lines.append(f"| {name} | {milliseconds:.1f} | {milliseconds / decode:.2f} |")
    lines += [
        "",
        f"whole to decoding alone: {part['ratio_to_decoding']} (all: {part['ratios']})",
    ]
    if "memory" in found:
        shown = ", ".join(
            f"{mb} MB after {clips}" for clips, mb in found["memory"]["resident_megabytes"]
        )
        lines.append(f"memory: {shown} clips")
    if "workers" in found:
        part = found["workers"]
        times = ", ".join(f"{n}: {s} s" for n, s in part["seconds_by_workers"].items())
        lines.append(
            f"{part['clips']} clips by workers: {times}; a second run {part['second_run_seconds']} "
            f"s; with one file added {part['one_file_added_seconds']} s"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
