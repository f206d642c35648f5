"""Benchmark of several devices: steps a second, what travels between them, equality of losses.

    python scripts/benchmarks/devices.py
    python scripts/benchmarks/devices.py --config configs/ablations.py:person_centred,bench

The same steps on 1, 2, 4 and 8 devices of one process, and on two processes with one each. On a CPU
the devices are fake and share its cores: a batch is then divided without more hands, and what a
step takes longer than on one device is what dividing it costs (`lost`: the share of the step).
`travels` is read from the compiled step: bytes that all collectives of a step give to one device,
which is the same on any hardware. `differs` is the largest relative difference of a loss from one
device's, over all steps. The batch is random and the same everywhere.
"""

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from jax_avemo.runtime.progress import Progress

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "f64": 8}
LAYOUTS = ((1, 1), (1, 2), (1, 4), (1, 8), (2, 1))
"""Processes, and devices of each."""
_INSTRUCTION = re.compile(r"= (.+?) (" + "|".join(COLLECTIVES) + r")(?:-start)?\(")
_SHAPE = re.compile(r"(" + "|".join(BYTES) + r")\[([\d,]*)\]")


def collectives(hlo: str) -> dict[str, dict[str, int]]:
    """Of a compiled program: kind of collective -> how many, and bytes of what they give.

    >>> collectives("%x = (f32[2,3]{1,0}, f32[]) all-reduce(%a, %b), to_apply=%sum")
    {'all-reduce': {'count': 1, 'bytes': 28}}
    """
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for shapes, kind in _INSTRUCTION.findall(hlo):
        counts[kind] += 1
        for dtype, dimensions in _SHAPE.findall(shapes):
            sides = [int(side) for side in dimensions.split(",") if side]
            sizes[kind] += BYTES[dtype] * int(np.prod(sides, dtype=np.int64))
    return {kind: {"count": counts[kind], "bytes": sizes[kind]} for kind in counts}


def made_batch(config: Any, rows: int) -> dict[str, np.ndarray]:
    """A random batch of 8 emotions, eight clips of each person beside each other."""
    from jax_avemo.training.train_state import example_batch

    rng = np.random.default_rng(0)
    batch = {name: np.array(x) for name, x in example_batch(config, rows=rows).items()}
    batch["video"] = rng.integers(0, 256, batch["video"].shape, dtype=np.uint8)
    batch["audio"] = rng.normal(0, 0.1, batch["audio"].shape).astype(np.float32)
    batch["emotion"] = (np.arange(rows) % 8).astype(np.int32)
    batch["subject"] = (np.arange(rows) // 8).astype(np.int32)
    return batch


def work(spec: str, rows: int, steps: int, flags: Sequence[str]) -> dict[str, Any]:
    """Train for some steps in this process; what was seen."""
    import jax

    if flags:
        jax.distributed.initialize(flags[0], int(flags[1]), int(flags[2]))
    from jax_avemo.config import load_config
    from jax_avemo.runtime import devices
    from jax_avemo.training import build
    from jax_avemo.training.train_step import prepare_training

    config = load_config(spec, [f"train.batch_size={rows}"])
    model = build.build_model(config, 8, max(2, -(-rows // 8)))
    mesh = devices.data_mesh()
    state, step = prepare_training(config, model, steps + 1, mesh)
    share = slice(
        jax.process_index() * rows // jax.process_count(),
        (jax.process_index() + 1) * rows // jax.process_count(),
    )
    local = {name: x[share] for name, x in made_batch(config, rows).items()}
    batch, key = devices.place_batch(local, mesh), jax.random.key(0)
    compiled = step.lower(state, batch, key).compile()
    losses, seconds = [], []
    for _ in range(steps):
        began = time.perf_counter()
        state, metrics = compiled(state, batch, key)
        losses.append({k: float(v) for k, v in metrics.items() if k.startswith("loss")})
        seconds.append(time.perf_counter() - began)
    return {
        "devices": mesh.size,
        "losses": losses,
        "seconds": statistics.median(seconds[1:]),
        "collectives": collectives(compiled.as_text()),
        "parameters": sum(x.size for x in jax.tree.leaves(state.params)),
    }


def run(spec: str, rows: int, steps: int, processes: int, devices: int) -> dict[str, Any]:
    """`work` in so many processes with so many devices each; what the first one saw."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    count = f"--xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": count}
    command = [sys.executable, __file__, "--config", spec, "--rows", str(rows)]
    command += ["--steps", str(steps), "--work"]
    started = []
    for index in range(processes):
        flags = [f"127.0.0.1:{port}", str(processes), str(index)] if processes > 1 else []
        started.append(
            subprocess.Popen(
                [*command, *flags],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    ended = [process.communicate() for process in started]
    for process, (_, errors) in zip(started, ended, strict=True):
        if process.returncode:
            raise SystemExit(f"{processes} processes, {devices} devices: {errors[-2000:]}")
    return dict(json.loads(ended[0][0].splitlines()[-1]))


def difference(losses: Sequence[dict[str, float]], of_one: Sequence[dict[str, float]]) -> float:
    """The largest relative difference of a loss at any step."""
    return max(
        abs(here[name] - there[name]) / max(abs(there[name]), 1e-6)
        for here, there in zip(losses, of_one, strict=True)
        for name in there
    )


def table(found: dict[tuple[int, int], dict[str, Any]]) -> str:
    """Markdown, a line for each layout."""
    one = found[1, 1]
    lines = [
        "| processes x devices | steps/s | lost | travels a step, MB | collectives | differs |",
        "|---" * 6 + "|",
    ]
    for (processes, devices), seen in found.items():
        kinds = seen["collectives"]
        size = sum(kind["bytes"] for kind in kinds.values()) / 1e6
        counts = ", ".join(f"{kind['count']} {name}" for name, kind in kinds.items())
        lost = max(0.0, 1 - one["seconds"] / seen["seconds"])
        lines.append(
            f"| {processes} x {devices} | {1 / seen['seconds']:.2f} | {lost:.0%} | {size:.2f} | "
            f"{counts or 'none'} | {difference(seen['losses'], one['losses']):.0e} |"
        )
    lines.append(f"\n{one['parameters']:,} parameters: {4 * one['parameters'] / 1e6:.2f} MB")
    return "\n".join(lines)


def main() -> int:
    """Run what is asked; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="configs/decoupled.py:bench")
    parser.add_argument("--rows", type=int, default=32, help="clips a step, over all devices")
    parser.add_argument("--steps", type=int, default=10)
    layouts = [f"{processes}x{devices}" for processes, devices in LAYOUTS]
    parser.add_argument("--layout", choices=layouts, action="append", help="only these, and 1x1")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--work", nargs="*", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work is not None:
        print(json.dumps(work(args.config, args.rows, args.steps, args.work)))
        return 0
    found = {}
    asked = {"1x1", *(args.layout or layouts)}
    chosen = [pair for pair, name in zip(LAYOUTS, layouts, strict=True) if name in asked]
    with Progress(len(chosen), "measuring", unit="layouts") as progress:
        for processes, devices in chosen:
            seen = run(args.config, args.rows, args.steps, processes, devices)
            found[processes, devices] = seen
            progress.advance()
    if args.json:
        print(json.dumps({f"{p}x{d}": seen for (p, d), seen in found.items()}))
    else:
        print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
