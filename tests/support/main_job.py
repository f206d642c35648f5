"""The main job at size tiny: as a user starts it, in a process of its own, or in this one."""

import contextlib
import io
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np

from jax_avemo import config as settings
from jax_avemo import main
from jax_avemo.runtime.files import write_json
from jax_avemo.synthetic.corpus import GENERATOR_VERSION, clip_name
from jax_avemo.synthetic.plan import plan_corpus
from jax_avemo.training import checkpoints
from support.media_files import face_takes, tone, write_media

CONFIGS = Path(__file__).parents[2] / "configs"
TINY = f"--config={CONFIGS}/tiny.py"


def begin_corpus(home: Path) -> None:
    """The demo corpus of size tiny as a killed job leaves it: one take of each actor is missing.

    The takes that are there are short films of one face, no two alike: making all takes a minute.
    """
    config = settings.make_config("x", "tiny")
    folder = home / settings.demo_source(config)
    corpus = {"actors": config.data.demo_actors, "takes": 1, "seed": 0, "confound": 0.0}
    films = face_takes(8)
    for index, take in enumerate(plan_corpus(**corpus)):
        if index % 16:
            sound = tone(0.8, 200 + 20 * index)
            write_media(folder / clip_name(take, 0, 0.0), films, sound=sound)
    write_json(folder / "unfinished.json", corpus | {"generator_version": GENERATOR_VERSION})


def arguments(workdir: str) -> list[str]:
    # JAX takes its first folder of programs for good: this process and its children share one.
    cache = f"--config.train.compilation_cache_dir={os.environ['JAX_COMPILATION_CACHE_DIR']}"
    return [TINY, f"--workdir={workdir}", "--config.train.epochs=4", cache]


def command(home: Path, workdir: str, *more: str, devices: int = 1) -> dict:
    """Arguments of `subprocess`."""
    flags = os.environ["XLA_FLAGS"].replace("device_count=2", f"device_count={devices}")
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    return {
        "args": [sys.executable, "-m", "jax_avemo.main", *arguments(workdir), *more],
        "cwd": home,
        "env": environment,
        "text": True,
    }


def experiment(home: Path, workdir: str, *more: str) -> subprocess.CompletedProcess:
    return subprocess.run(**command(home, workdir, *more), capture_output=True, timeout=3600)


def experiment_here(home: Path, workdir: str) -> str:
    """What the main job prints, in this process: it traces a network's programs once."""
    printed = io.StringIO()
    with contextlib.chdir(home), contextlib.redirect_stdout(printed):
        assert main.main(arguments(workdir)) == 0
    return printed.getvalue()


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
