"""Findings of `avemo doctor`: facts about a machine, their meaning and the remedy."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from jax_avemo import __version__

Status = Literal["ok", "note", "bad"]
"""`note`: something optional lacks, or is worth knowing; `bad`: something will not work."""

DECODERS = {
    "h264": "mp4, mov",
    "hevc": "mp4 of newer phones",
    "mpeg4": "avi",
    "mjpeg": "avi of cameras",
    "dvvideo": "eNTERFACE'05",
    "flv": "CREMA-D",
    "vp8": "webm",
    "vp9": "webm",
    "libdav1d": "AV1 in webm, mp4",
    "aac": "mp4",
    "mp3": "avi, flv",
    "opus": "webm",
    "vorbis": "webm",
    "pcm_s16le": "wav, avi",
}
"""What FFmpeg must decode, and where it occurs."""
ENCODERS = {"libx264": "the demo corpus and annotated films", "aac": "their sound"}
EXTRAS = {
    "demo": "the synthetic demo corpus (the default experiment makes it)",
    "web": "avemo serve",
    "onnx": "avemo export --format onnx",
    "report": "avemo report",
    "beam": "avemo prepare --beam-runner",
    "remote": "media, clips and runs at gs:// and s3://",
    "bench": "benchmarks beside PyTorch, and weights in its .pth files",
    "dev": "the tests",
}
"""What an extra of the package is for; extras that are not here are shown by name alone."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    topic: str
    status: Status
    says: str
    remedy: str = ""
    """What to do; "" where nothing needs doing."""


def first_line(error: BaseException) -> str:
    """The first line of an error's text."""
    return (str(error).strip().splitlines() or ["no more is said"])[0]


def sound(findings: Iterable[Finding]) -> bool:
    """Whether everything that is not optional works."""
    return all(finding.status != "bad" for finding in findings)


def as_text(findings: Sequence[Finding]) -> str:
    """The findings for a person: a line each, and what to do below those that need it."""
    width = max(len(finding.topic) for finding in findings)
    lines = [f"jax_avemo {__version__}"]
    for finding in findings:
        lines.append(f"{finding.status:5}{finding.topic:{width}}  {finding.says}")
        if finding.remedy:
            lines.append(f"{'':5}{'':{width}}  -> {finding.remedy}")
    bad = sum(finding.status == "bad" for finding in findings)
    lines.append("everything needed works" if not bad else f"{bad} of these will not work")
    return "\n".join(lines)


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """The findings for a program."""
    return {
        "jax_avemo": __version__,
        "ok": sound(findings),
        "findings": [asdict(finding) for finding in findings],
    }


def opencv_wheels(installed: Mapping[str, str]) -> Finding:
    """Which OpenCV is there. All wheels write the same folder `cv2`: two of them make a mixture.

    Args:
      installed: distribution name -> version.
    """
    wheels = {name: installed[name] for name in sorted(installed) if name.startswith("opencv-")}
    names = " ".join(wheels)
    shown = ", ".join(f"{name} {version}" for name, version in wheels.items())
    remedy = f"pip uninstall -y {names} && pip install 'opencv-python-headless>=5'"
    if len(wheels) > 1:
        says = f"{len(wheels)} wheels that overwrite each other: {shown}"
        return Finding("opencv", "bad", says, remedy)
    if not wheels:
        return Finding("opencv", "note", "not installed as a wheel; cv2 comes from elsewhere")
    if "headless" not in names:
        says = f"{shown}: needs libGL, which machines without a screen lack"
        return Finding("opencv", "note", says, f"{remedy} (the same module)")
    return Finding("opencv", "ok", shown)


def missing_codecs(available: Iterable[str], wanted: Mapping[str, str], what: str) -> Finding:
    """Which of the wanted decoders or encoders (`what`) lack."""
    lacking = {name: use for name, use in wanted.items() if name not in set(available)}
    if not lacking:
        return Finding("codecs", "ok", f"all {len(wanted)} {what}s: {', '.join(wanted)}")
    listed = ", ".join(f"{name} ({use})" for name, use in lacking.items())
    # Without these nothing works; the others each lock out one kind of file.
    needed = {"h264", "aac", "libx264"} & set(lacking)
    return Finding(
        "codecs",
        "bad" if needed else "note",
        f"this PyAV has no {what} for {listed}",
        "pip install --force-reinstall --only-binary :all: av",
    )


def requirement_findings(
    requirements: Iterable[str], installed: Mapping[str, str]
) -> list[Finding]:
    """What the package says it needs against what is installed; extras get a finding each.

    Args:
      requirements: PEP 508 strings, as the package's metadata has them.
      installed: normalised distribution name -> version.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lacking: dict[str, list[str]] = {}
    for text in requirements:
        requirement = Requirement(text)
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", text)
        group = extra.group(1) if extra else ""
        if requirement.marker and not requirement.marker.evaluate({"extra": group}):
            continue
        lacking.setdefault(group, [])
        version = installed.get(canonicalize_name(requirement.name))
        wanted = f"{requirement.name}{requirement.specifier}"
        if version is None:
            lacking[group].append(f"{wanted} (absent)")
        elif not requirement.specifier.contains(version, prereleases=True):
            lacking[group].append(f"{wanted} (is {version})")
    found = []
    for group, names in lacking.items():
        topic = "packages" if not group else f"extra {group}"
        if not names:
            found.append(Finding(topic, "ok", EXTRAS.get(group, "") or "all there"))
            continue
        command = f"pip install 'jax_avemo[{group}]'" if group else "pip install -U jax_avemo"
        used = f"; for {EXTRAS[group]}" if group in EXTRAS else ""
        found.append(
            Finding(topic, "note" if group else "bad", f"lacks {', '.join(names)}{used}", command)
        )
    return found


def device_finding(devices: list[dict[str, str]], accelerator_expected: bool) -> Finding:
    """What JAX computes on."""
    kinds = Counter(device["kind"] for device in devices)
    shown = ", ".join(f"{count} x {kind}" for kind, count in kinds.items())
    only_cpu = all(device["platform"] == "cpu" for device in devices)
    if only_cpu and accelerator_expected:
        return Finding(
            "devices",
            "bad",
            f"{shown}: an accelerator is in the machine, and JAX does not use it",
            "unset JAX_PLATFORMS, look at the driver (nvidia-smi), and reinstall JAX's plug-in",
        )
    size = "the size 'cpu' is taken by default" if only_cpu else "the size 'full' is the default"
    return Finding("devices", "ok", f"{shown}; {size}")
