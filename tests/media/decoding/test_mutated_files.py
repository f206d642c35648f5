"""Mutated files: nothing but clips and reasons come of them, and nothing else happens."""

import os
import re
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from support.media_files import face_takes, tone, write_media

from jax_avemo.data import staging as module
from jax_avemo.data.clip import ClipOptions, clip_from_bytes
from jax_avemo.media.sandbox import Limits, run_isolated
from jax_avemo.schema import Labels, Recording

MUTANTS = 1500
LIMITS = Limits(seconds=60, cpu_seconds=20)
CODECS = {
    "mp4": {},
    "mov": {"audio_codec": "pcm_s16le"},
    "mkv": {},
    "avi": {"video_codec": "mpeg4", "audio_codec": "pcm_s16le"},
    "mts": {"audio_codec": "ac3"},
    "mpg": {"video_codec": "mpeg2video", "audio_codec": "mp2"},
    "wmv": {"video_codec": "wmv2", "audio_codec": "wmav2"},
    "wav": {"audio_codec": "pcm_s16le"},
    "mp3": {"audio_codec": "libmp3lame"},
    "ogg": {"audio_codec": "libopus"},
    "flac": {"audio_codec": "flac"},
}
AUDIO_ALONE = ("wav", "mp3", "ogg", "flac")


def originals(folder: Path) -> dict[str, bytes]:
    """A second of a face and a tone in each container."""
    found = {}
    for suffix, options in CODECS.items():
        pictures = [] if suffix in AUDIO_ALONE else face_takes(8, side=96)
        rate = 48_000 if suffix in ("mts", "mpg", "wmv", "ogg") else 16_000
        path = write_media(
            folder / f"x.{suffix}",
            pictures,
            sound=tone(0.8, rate=rate),
            rate=rate,
            frames_per_second=25 if suffix == "mpg" else 10,
            **options,
        )
        found[suffix] = path.read_bytes()
    return found


def mutant(suffix: str, files: dict[str, bytes], rng: np.random.Generator) -> bytes:
    """The file with bits flipped, numbers made extreme, or parts cut off, moved or replaced."""
    data = bytearray(files[suffix])
    # Headers are where numbers lie that a reader believes.
    reach = len(data) if rng.random() < 0.5 else min(len(data), 2048)
    for _ in range(int(rng.integers(1, 4))):
        place = int(rng.integers(reach))
        length = int(rng.integers(1, max(2, reach // 4)))
        match rng.integers(7):
            case 0:
                for at in rng.integers(0, reach, int(rng.integers(1, 64))):
                    data[min(at, len(data) - 1)] ^= 1 << int(rng.integers(8))
            case 1:
                data = data[: max(place, 1)]
            case 2:
                other = files[str(rng.choice(sorted(files)))]
                start = int(rng.integers(len(other)))
                data[place : place + length] = other[start : start + length]
            case 3:
                value = int(rng.choice([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]))
                order = "big" if rng.random() < 0.5 else "little"
                data[place : place + 4] = value.to_bytes(4, order)
            case 4:
                data[place:place] = data[place : place + length]
            case 5:
                del data[place : place + length]
            case 6:
                data[place : place + length] = rng.bytes(length)
        reach = min(reach, len(data))
        if not data:
            break
    return bytes(data)


@pytest.mark.slow
def test_mutants_give_clips_or_reasons_and_nothing_else(tmp_path, capsys):
    rng = np.random.default_rng(0)
    (tmp_path / "originals").mkdir()
    files = originals(tmp_path / "originals")
    source, staging = tmp_path / "source", tmp_path / "staging"
    source.mkdir()
    staging.mkdir()
    tasks = []
    for index in range(MUTANTS):
        suffix = list(CODECS)[index % len(CODECS)]
        path = source / f"{index}.{suffix}"
        path.write_bytes(mutant(suffix, files, rng))
        options = ClipOptions(
            frame_size=48, frames_per_second=10, max_seconds=5, need_video=suffix not in AUDIO_ALONE
        )
        recording = Recording(Labels(path.name, "happy", "01"), path)
        tasks.append(module.ClipTask(recording, options, staging / path.name))
    before = snapshot(tmp_path)
    reasons: Counter[str] = Counter()
    began = time.monotonic()
    done = set()
    workers = len(os.sched_getaffinity(0))
    for outcome in run_isolated(module._make, tasks, workers=workers, limits=LIMITS):
        done.add(outcome.index)
        if outcome.value is not None:
            clip = clip_from_bytes(outcome.value)
            assert clip.duration <= 5.5
            reasons["(a clip)"] += 1
        else:
            assert outcome.error
            assert "\n" not in outcome.error
            reasons[re.sub(r"-?\d+(\.\d+)?", "N", outcome.error)] += 1
    assert done == set(range(MUTANTS))
    assert snapshot(tmp_path) == before
    with capsys.disabled():
        seconds = time.monotonic() - began
        print(f"\n{MUTANTS} mutants, {seconds:.0f} s", file=sys.stderr)
        for reason, count in reasons.most_common():
            print(f"{count:5}  {reason}", file=sys.stderr)
    unexplained = [r for r in reasons if r.startswith("failed (")]
    assert not unexplained


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }
