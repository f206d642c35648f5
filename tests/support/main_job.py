"""The main job as a user starts it, in a process of its own, at size tiny."""

import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np

from jax_avemo.training import checkpoints

CONFIGS = Path(__file__).parents[2] / "configs"
TINY = f"--config={CONFIGS}/tiny.py"


def command(home: Path, workdir: str, *more: str) -> dict:
    flags = os.environ["XLA_FLAGS"].replace("device_count=2", "device_count=1")
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    cache = f"--config.train.compilation_cache_dir={home}/compiled"
    arguments = [TINY, f"--workdir={workdir}", "--config.train.epochs=4", cache, *more]
    return {
        "args": [sys.executable, "-m", "jax_avemo.main", *arguments],
        "cwd": home,
        "env": environment,
        "text": True,
    }


def experiment(home: Path, workdir: str, *more: str) -> subprocess.CompletedProcess:
    return subprocess.run(**command(home, workdir, *more), capture_output=True, timeout=3600)


def fingerprint(run: Path) -> dict[str, int]:
    """CRC of every file of weights' content, through Orbax: bitwise equality of the states."""
    manager = checkpoints.open_checkpoints(run, read_only=True)
    tree = manager.restore(
        manager.latest_step(),
        args=checkpoints.ocp.args.Composite(state=checkpoints.ocp.args.StandardRestore()),
    )["state"]
    flat: dict[str, int] = {}

    def walk(prefix: str, node) -> None:
        if isinstance(node, dict):
            for name, child in node.items():
                walk(f"{prefix}/{name}", child)
        elif isinstance(node, list | tuple):
            for name, child in enumerate(node):
                walk(f"{prefix}/{name}", child)
        elif node is not None:
            flat[prefix] = zlib.crc32(np.asarray(node).tobytes())

    walk("", tree)
    assert len(flat) > 50
    return flat
