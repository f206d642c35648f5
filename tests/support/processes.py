"""How a test starts several processes that are one run."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LIMIT_SECONDS = 900
"""Far above what any of this takes alone: the machine may be busy."""


@dataclass(frozen=True)
class Ended:
    code: int
    stdout: str
    stderr: str


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(devices: int) -> dict[str, str]:
    """With so many fake CPU devices; the quick compilation of the other tests is kept."""
    others = [
        flag for flag in os.environ.get("XLA_FLAGS", "").split() if "device_count" not in flag
    ]
    count = f"--xla_force_host_platform_device_count={devices}"
    return os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": " ".join([*others, count])}


def start(
    command: Sequence[str], home: Path, *, processes: int, devices: int = 1
) -> list[subprocess.Popen[str]]:
    """The same command `processes` times, with the flags that make them one run."""
    flags = [f"--coordinator=127.0.0.1:{free_port()}", f"--process-count={processes}"]
    return [
        subprocess.Popen(
            [sys.executable, *command, *flags, f"--process-index={index}"],
            cwd=home,
            env=environment(devices),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(processes)
    ]


def ended(running: Sequence[subprocess.Popen[str]]) -> list[Ended]:
    """Wait for all of them; none is left behind if one does not end."""
    deadline = time.monotonic() + LIMIT_SECONDS
    try:
        found = []
        for process in running:
            said = process.communicate(timeout=max(1.0, deadline - time.monotonic()))
            found.append(Ended(process.returncode, *said))
        return found
    finally:
        for process in running:
            process.kill()
