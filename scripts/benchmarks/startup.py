"""Benchmark of start-up: help, and the first step of a training.

    python scripts/benchmarks/startup.py                 # size `cpu`, 3 second runs
    python scripts/benchmarks/startup.py --size bench --repeats 5

Every line is a process of its own, with a cache folder that begins empty and is thrown away. Of
`avemo --help` the whole time is taken, of a training the imports, and from their end to the end of
the first step on a batch of zeros: with nothing compiled, with the programs in the cache, and the
median time of the steps after it. Clips, checkpoints and validation are not in it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from jax_avemo.runtime.progress import Progress

STEPS = 20


def train_shortly(size: str) -> dict[str, float]:
    """Seconds of the imports, of the first step after them, and of a later one."""
    began = time.perf_counter()
    import jax

    from jax_avemo import config as settings
    from jax_avemo.runtime.compilation import keep_compiled_programs
    from jax_avemo.runtime.devices import data_mesh, place_batch
    from jax_avemo.runtime.memory import keep_freed_memory
    from jax_avemo.training import build
    from jax_avemo.training.train_state import example_batch
    from jax_avemo.training.train_step import prepare_training

    imported = time.perf_counter()
    config = settings.make_config("decoupled", size)
    model = build.build_model(config, num_emotions=8, num_subjects=12)
    keep_compiled_programs("")
    keep_freed_memory()
    mesh = data_mesh()
    state, step = prepare_training(config, model, 1000, mesh)
    batch = place_batch(example_batch(config, config.train.batch_size), mesh)
    key = jax.random.key(0)
    state, _ = jax.block_until_ready(step(state, batch, key))
    first = time.perf_counter()
    later = []
    for _ in range(STEPS):
        start = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, batch, key))
        later.append(time.perf_counter() - start)
    return {
        "imports": imported - began,
        "first step": first - imported,
        "later step": statistics.median(later),
    }


def run(command: list[str], cache: str) -> tuple[float, str]:
    """Seconds of a process, and what it printed."""
    began = time.perf_counter()
    ran = subprocess.run(
        [sys.executable, *command],
        env=os.environ | {"XDG_CACHE_HOME": cache},
        check=True,
        capture_output=True,
        text=True,
    )
    return time.perf_counter() - began, ran.stdout


def measure(size: str, repeats: int) -> dict[str, dict[str, Any]]:
    """Medians with the least and the most, in seconds, by line."""
    rows: dict[str, dict[str, list[float]]] = {}
    with (
        tempfile.TemporaryDirectory() as cache,
        Progress(2 * repeats + 1, "starting", unit="processes") as progress,
    ):
        for number in range(2 * repeats + 1):
            if number < repeats:
                seconds, _ = run(["-m", "jax_avemo.cli", "--help"], cache)
                rows.setdefault("avemo --help", {}).setdefault("whole", []).append(seconds)
            else:
                name = (
                    "training, nothing compiled" if number == repeats else "training, a later run"
                )
                _, said = run([__file__, "--alone", size], cache)
                for part, value in json.loads(said.splitlines()[-1]).items():
                    rows.setdefault(name, {}).setdefault(part, []).append(value)
            progress.advance(1)
    return {
        name: {
            part: [statistics.median(values), min(values), max(values)]
            for part, values in parts.items()
        }
        for name, parts in rows.items()
    }


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Markdown."""
    lines = ["| | | seconds (least to most) |", "|---|---|---|"]
    for name, parts in rows.items():
        lines += [
            f"| {name} | {part} | {middle:.2f} ({least:.2f} to {most:.2f}) |"
            for part, (middle, least, most) in parts.items()
        ]
    return "\n".join(lines)


def main() -> int:
    """Run what is asked; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--alone", metavar="SIZE", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.alone:
        print(json.dumps(train_shortly(args.alone)))
        return 0
    rows = measure(args.size, args.repeats)
    print(json.dumps({"size": args.size, "seconds": rows}) if args.json else table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
