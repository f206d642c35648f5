"""What `avemo doctor` looks at: whether this machine can do the work, and what to do where not."""

import importlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from jax_avemo import __version__
from jax_avemo.diagnosis import (
    DECODERS,
    ENCODERS,
    Finding,
    Status,
    device_finding,
    first_line,
    missing_codecs,
    normalised,
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


def sound(findings: Iterable[Finding]) -> bool:
    """Whether everything that is not optional works."""
    return all(finding.status != "bad" for finding in findings)


def as_text(findings: Iterable[Finding]) -> str:
    """The findings for a person: a line each, and what to do below those that need it."""
    findings = list(findings)
    width = max(len(finding.topic) for finding in findings)
    lines = [f"jax_avemo {__version__}"]
    for finding in findings:
        lines.append(f"{finding.status:5}{finding.topic:{width}}  {finding.says}")
        if finding.remedy:
            lines.append(f"{'':5}{'':{width}}  -> {finding.remedy}")
    bad = sum(finding.status == "bad" for finding in findings)
    lines.append("everything needed works" if not bad else f"{bad} of these will not work")
    return "\n".join(lines)


def as_json(findings: Iterable[Finding]) -> dict[str, Any]:
    """The findings for a program."""
    findings = list(findings)
    return {
        "jax_avemo": __version__,
        "ok": sound(findings),
        "findings": [asdict(finding) for finding in findings],
    }


def _system() -> list[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    machine = f"{platform.system()} {platform.machine()}, {cores} cores, {memory / 2**30:.0f} GB"
    found = []
    if platform.system() != "Linux":
        found.append(
            Finding("system", "bad", f"{machine}: only Linux is supported", "use Linux or WSL 2")
        )
    elif memory < _MEMORY_BYTES:
        found.append(Finding("system", "note", machine, "training wants 4 GB: use size 'tiny'"))
    else:
        found.append(Finding("system", "ok", machine))
    python = platform.python_version()
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        found.append(Finding("python", "ok", f"{python} ({sys.executable})"))
    else:
        found.append(
            Finding("python", "bad", f"{python}: 3.11 to 3.13 are supported", "make a new venv")
        )
    return found


def _installed() -> dict[str, str]:
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            found.setdefault(normalised(name), distribution.version)
    return found


def _packages() -> list[Finding]:
    installed = _installed()
    try:
        requirements = metadata.requires("jax_avemo") or []
    except metadata.PackageNotFoundError:
        return [Finding("packages", "bad", "jax_avemo is not installed", "pip install -e .")]
    versions = ", ".join(
        f"{name} {installed[name]}"
        for name in ("jax", "flax", "numpy", "av", "opencv-python-headless")
        if name in installed
    )
    found = [
        Finding(f.topic, f.status, versions, f.remedy)
        if (f.topic, f.status) == ("packages", "ok")
        else f
        for f in requirement_findings(requirements, installed)
    ]
    return [*found, opencv_wheels(installed)]


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
        write_video(path, frames, np.zeros(16_000), frames_per_second=5, sample_rate=16_000)
        outcome = next(iter(run_isolated(decoded_seconds, [str(path)], workers=1)))
    if outcome.value is None or json.loads(outcome.value)["frames"] != 5:
        said = outcome.error or "frames were lost"
        return [Finding("sandbox", "bad", f"a film can't be written and read again: {said}")]
    return [Finding("sandbox", "ok", "a film was written, and read again in a process of its own")]


def _devices() -> list[Finding]:
    # In a process of its own: a broken driver hangs or kills it, not the doctor.
    try:
        told = subprocess.run(
            [sys.executable, "-c", _DEVICES],
            capture_output=True,
            text=True,
            timeout=_DEVICE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        said, code = f"JAX did not start within {_DEVICE_SECONDS:g} s", 1
    else:
        said = (told.stderr.strip().splitlines() or [f"exit code {told.returncode}"])[-1]
        code = told.returncode
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
    espeak = importlib.import_module("espeakng_loader")
    if not Path(espeak.get_library_path()).exists():
        remedy = "pip install --force-reinstall espeakng-loader"
        return [Finding("voices", "bad", "espeak-ng's library is not where it should be", remedy)]
    return [Finding("voices", "ok", "espeak-ng is there")]


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
