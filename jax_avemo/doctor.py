"""Checks of this machine for `avemo doctor`."""

import importlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Literal

from jax_avemo.findings import (
    DECODERS,
    ENCODERS,
    Finding,
    Status,
    device_finding,
    first_line,
    missing_codecs,
    opencv_wheels,
    requirement_findings,
)
from jax_avemo.runtime.accelerators import accelerator_present
from jax_avemo.runtime.files import user_cache, why_unwritable

_MEMORY_BYTES = 4 << 30
_DISK_BYTES = 3 << 30
"""The default experiment leaves 0.5 GB; a compiled-program cache and a corpus want the rest."""
_DEVICE_SECONDS = 120.0

_DEVICES = """
import json, jax, jax.numpy as jnp
a = jnp.ones((64, 64))
assert float((a @ a).sum()) == 64.0**3
print(json.dumps([{"kind": d.device_kind, "platform": d.platform} for d in jax.devices()]))
"""


def examine() -> list[Finding]:
    """Look at everything; whatever goes wrong in a check is a finding, never an exception."""
    found: list[Finding] = []
    for topic, check in _CHECKS.items():
        try:
            found += check()
        except Exception as error:  # a broken installation breaks in any way it likes
            found.append(Finding(topic, "bad", f"{type(error).__name__}: {first_line(error)}"))
    return found


def _system() -> list[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    machine = f"{platform.system()} {platform.machine()}, {cores} cores, {memory / 2**30:.0f} GB"
    found = Finding("system", "ok", machine)
    if platform.system() != "Linux":
        found = Finding("system", "bad", f"{machine}: Linux is needed", "use Linux or WSL 2")
    elif memory < _MEMORY_BYTES:
        found = Finding("system", "note", machine, "training needs 4 GB: use size 'tiny'")
    version = platform.python_version()
    python = Finding("python", "ok", f"{version} ({sys.executable})")
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        python = Finding("python", "bad", f"{version}: 3.11 to 3.13 is needed", "make a new venv")
    return [found, python]


def _packages() -> list[Finding]:
    from packaging.utils import canonicalize_name

    found = ((d.metadata["Name"], d.version) for d in metadata.distributions())
    installed: dict[str, str] = {
        canonicalize_name(name): version for name, version in found if name
    }
    try:
        requirements = metadata.requires("jax_avemo") or []
    except metadata.PackageNotFoundError:
        return [Finding("packages", "bad", "jax_avemo is not installed", "pip install -e .")]
    shown = (f"{n} {installed[n]}" for n in ("jax", "flax", "numpy", "av") if n in installed)
    versions = Finding("versions", "ok", ", ".join(shown))
    return [versions, *requirement_findings(requirements, installed), opencv_wheels(installed)]


def _faces() -> list[Finding]:
    mend = "pip install --force-reinstall 'opencv-python-headless>=5'"
    try:
        import cv2
        import numpy as np

        from jax_avemo.media.faces.main_face import FaceDetector
    except ImportError as error:
        return [Finding("faces", "bad", f"cv2 does not load: {first_line(error)}", mend)]
    if not hasattr(cv2, "triangleRasterize"):
        return [Finding("faces", "bad", f"OpenCV {cv2.__version__} is too old", mend)]
    FaceDetector().detect(np.zeros((128, 128, 3), np.uint8))
    return [Finding("faces", "ok", f"the face detector runs on OpenCV {cv2.__version__}")]


def _codecs() -> list[Finding]:
    try:
        import av
    except ImportError as error:
        return [Finding("codecs", "bad", first_line(error), "pip install --force-reinstall av")]

    def has(name: str, mode: Literal["r", "w"]) -> bool:
        try:
            av.codec.Codec(name, mode)
        except ValueError:  # PyAV's UnknownCodecError
            return False
        return True

    return [
        missing_codecs([n for n in DECODERS if has(n, "r")], DECODERS, "decoder"),
        missing_codecs([n for n in ENCODERS if has(n, "w")], ENCODERS, "encoder"),
    ]


def decoded_seconds(path: str) -> bytes:
    """In the sandbox: read a film whole, and say how long it is."""
    from jax_avemo.media.decoding.decode import read_media

    media = read_media(Path(path), frames_per_second=5.0)
    frames = sum(1 for _ in media.frames)
    return json.dumps({"frames": frames, "seconds": media.duration}).encode()


def _film() -> list[Finding]:
    import numpy as np

    from jax_avemo.media.encode import write_video
    from jax_avemo.media.sandbox import run_isolated

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        frames = np.zeros((5, 64, 64, 3), np.uint8)
        tone = 0.1 * np.sin(np.arange(16_000) / 6)
        write_video(path, frames, tone, frames_per_second=5, sample_rate=16_000)
        outcome = next(iter(run_isolated(decoded_seconds, [str(path)], workers=1)))
    if outcome.value is None or json.loads(outcome.value)["frames"] != 5:
        said = outcome.error or "frames were lost"
        return [Finding("sandbox", "bad", f"a film can't be written and read again: {said}")]
    return [Finding("sandbox", "ok", "a film was written, and read again in a process of its own")]


def _devices() -> list[Finding]:
    # In a process of its own: a broken driver hangs or kills it, not the doctor.
    command = [sys.executable, "-c", _DEVICES]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=_DEVICE_SECONDS)
        code = told.returncode
        said = (told.stderr.strip().splitlines() or [f"exit code {code}"])[-1]
    except subprocess.TimeoutExpired:
        said, code = f"JAX did not start within {_DEVICE_SECONDS:g} s", 1
    if code:
        remedy = "try JAX_PLATFORMS=cpu avemo doctor; if that helps, look at the driver"
        return [Finding("devices", "bad", said, remedy)]
    found = [device_finding(json.loads(told.stdout.splitlines()[-1]), accelerator_present())]
    if any(Path("/dev").glob("nvidia[0-9]*")) and not accelerator_present():
        remedy = "pip install -U 'jax[cuda13]', or unset JAX_PLATFORMS"
        found.append(Finding("devices", "note", "an NVIDIA card is there but not used", remedy))
    return found


def _folders() -> list[Finding]:
    places = {
        "cache": (user_cache(), "set XDG_CACHE_HOME to a folder you can write to"),
        "here": (Path.cwd(), "change to a folder you can write to: runs/ and data/ go there"),
        "temporary": (Path(tempfile.gettempdir()), "set TMPDIR to a folder you can write to"),
    }
    found = []
    for topic, (folder, remedy) in places.items():
        if (reason := why_unwritable(folder)) is not None:
            # Without a cache every run compiles anew, and works.
            status: Status = "note" if topic == "cache" else "bad"
            found.append(Finding(topic, status, f"{folder}: {reason}", remedy))
            continue
        free = shutil.disk_usage(folder).free
        says = f"{folder} can be written to, {free / 2**30:.1f} GB free"
        if topic == "here" and free < _DISK_BYTES:
            found.append(Finding(topic, "note", says, "the default experiment wants 3 GB"))
        else:
            found.append(Finding(topic, "ok", says))
    return found


def _voices() -> list[Finding]:
    if importlib.util.find_spec("espeakng_loader") is None:
        return []  # told with the extras
    if Path(importlib.import_module("espeakng_loader").get_library_path()).exists():
        return [Finding("voices", "ok", "espeak-ng is there")]
    remedy = "pip install --force-reinstall espeakng-loader"
    return [Finding("voices", "bad", "espeak-ng's library is not where it should be", remedy)]


_CHECKS: dict[str, Callable[[], list[Finding]]] = {
    "system": _system,
    "packages": _packages,
    "faces": _faces,
    "codecs": _codecs,
    "sandbox": _film,
    "voices": _voices,
    "devices": _devices,
    "folders": _folders,
}
