"""Benchmark of checkpoints: what saving holds up, beside Orbax by itself.

    python scripts/benchmarks/checkpoint.py                     # size `cpu`, on 1 and 2 devices
    python scripts/benchmarks/checkpoint.py --size full --devices 8

The state of a training, its values random, is saved five times. `ours` fetches it to the host, sums
every leaf and hands Orbax NumPy arrays. `Orbax` is its `CheckpointManager` with the arrays as they
lie on the devices, replicated, and no checksums. `held up` is the time until training could go on,
`written` until the last byte is on the disk. Each line is a process of its own; its devices are
fake and share the cores.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from jax_avemo.runtime.progress import Progress

SAVES = 5
WAYS = ("ours", "Orbax")


def save_often(way: str, size: str) -> dict[str, float]:
    """Seconds of the first save and, the median, of those after it."""
    import jax
    import orbax.checkpoint as ocp

    from jax_avemo import config as settings
    from jax_avemo.runtime.devices import data_mesh
    from jax_avemo.training import build, checkpoints
    from jax_avemo.training.train_step import describe_state

    config = settings.make_config("decoupled", size)
    model = build.build_model(config, num_emotions=8, num_subjects=12)
    like = describe_state(config, model, 1000, data_mesh())
    rng = np.random.default_rng(0)
    values = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(x.dtype), like)
    shardings = jax.tree.map(lambda x: x.sharding, like)
    state = jax.block_until_ready(jax.device_put(values, shardings))
    held_up, written = [], []
    with tempfile.TemporaryDirectory() as folder:
        manager = (
            checkpoints.open_checkpoints(Path(folder))
            if way == "ours"
            else ocp.CheckpointManager(folder)
        )
        for step in range(1, SAVES + 1):
            began = time.perf_counter()
            if way == "ours":
                checkpoints.save(manager, step, state, {"step": step}, 0.5)
            else:
                manager.save(step, args=ocp.args.StandardSave(state))
            held_up.append(time.perf_counter() - began)
            manager.wait_until_finished()
            written.append(time.perf_counter() - began)
        manager.close()
    return {
        "first held up": held_up[0],
        "first written": written[0],
        "later held up": statistics.median(held_up[1:]),
        "later written": statistics.median(written[1:]),
    }


def measure(size: str, counts: list[int]) -> dict[str, dict[str, float]]:
    """Seconds by part, by "way, devices"."""
    rows = {}
    with Progress(len(WAYS) * len(counts), "saving", unit="processes") as progress:
        for devices in counts:
            for way in WAYS:
                flag = f"--xla_force_host_platform_device_count={devices}"
                ran = subprocess.run(
                    [sys.executable, __file__, "--alone", way, "--size", size],
                    env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flag},
                    check=True,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
                rows[f"{way}, {devices}"] = json.loads(ran.stdout.splitlines()[-1])
                progress.advance(1)
    return rows


def table(rows: dict[str, dict[str, float]]) -> str:
    """Markdown: seconds, and how many times as long Orbax by itself takes."""
    parts = list(next(iter(rows.values())))
    lines = [f"| way, devices | {' | '.join(parts)} |", "|---" * (len(parts) + 1) + "|"]
    for name, seconds in rows.items():
        way, devices = name.split(", ")
        ours = rows[f"ours, {devices}"]
        cells = [
            f"{seconds[part]:.2f}"
            + ("" if way == "ours" else f" (x{seconds[part] / ours[part]:.1f})")
            for part in parts
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Run what is asked; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="cpu")
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--alone", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.alone:
        print(json.dumps(save_often(args.alone, args.size)))
        return 0
    rows = measure(args.size, args.devices)
    print(json.dumps({"size": args.size, "seconds": rows}) if args.json else table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
