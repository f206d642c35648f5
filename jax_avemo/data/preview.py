"""Contact sheets of face crops, one a subject."""

import re
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from jax_avemo.data.clip import decode_jpeg
from jax_avemo.data.clip_store import read_clips
from jax_avemo.runtime.files import write_atomic
from jax_avemo.runtime.progress import Progress
from jax_avemo.schema import Clip

PREVIEW_NAME = "preview"
_FRAMES, _COLUMNS, _SIDE, _CAPTION, _GAP, _TITLE = 6, 3, 76, 16, 10, 30
"""Frames a clip, clips a row, and pixels."""
_MAX_CLIPS = 120
_PAPER, _INK, _RED = (250, 250, 250), (30, 30, 30), (210, 30, 30)


def write_previews(data_dir: Path) -> list[Path]:
    """Write `preview/SUBJECT.jpg` in `data_dir` for every subject with pictures; returns them.

    Older sheets go. Raises UserError when there are no clips.
    """
    source = read_clips(data_dir)
    positions = defaultdict(list)
    for position, labels in enumerate(source.labels):
        positions[labels.subject].append(position)
    folder = Path(data_dir) / PREVIEW_NAME
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.jpg"):
        old.unlink()
    written = []
    with Progress(len(positions), "drawing previews", unit="subjects") as progress:
        for number, (subject, places) in enumerate(sorted(positions.items())):
            clips = [clip for clip in (source[place] for place in places) if clip.frames]
            if clips:
                path = folder / f"{_file_name(subject)}.jpg"
                if path in written:
                    path = folder / f"{_file_name(subject)}-{number}.jpg"
                image = cv2.cvtColor(contact_sheet(subject, clips), cv2.COLOR_RGB2BGR)
                _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 88])
                write_atomic(path, data.tobytes())
                written.append(path)
            progress.advance()
    return written


def contact_sheet(subject: str, clips: list[Clip]) -> UInt8[np.ndarray, "H W 3"]:
    """Six moments of every clip, RGB; clips whose face was found least come first.

    A frame in which the face was not found has a red border. Of more than 120 clips, the 60 worst
    are shown and as many others.
    """
    clips = sorted(clips, key=lambda clip: (clip.face_found.mean(), clip.labels.key))
    found = np.mean(np.concatenate([clip.face_found for clip in clips]))
    title = f"subject {subject or '?'}: {len(clips)} clips, face found in {found:.1%} of frames"
    if len(clips) > _MAX_CLIPS:
        half = _MAX_CLIPS // 2
        others = np.linspace(half, len(clips) - 1, half).round().astype(int)
        clips = clips[:half] + [clips[k] for k in others]
        title += f"; shown: the {half} found least and {half} others"
    rows = -(-len(clips) // _COLUMNS)
    width, height = _FRAMES * _SIDE + _GAP, _CAPTION + _SIDE + _GAP
    sheet = np.full((_TITLE + rows * height, _COLUMNS * width + _GAP, 3), _PAPER, np.uint8)
    _write(sheet, title, (_GAP, 20), 0.5, _INK)
    for index, clip in enumerate(clips):
        top = _TITLE + index // _COLUMNS * height
        left = _GAP + index % _COLUMNS * width
        share = float(clip.face_found.mean())
        name = Path(clip.labels.key).stem
        caption = f"{clip.labels.emotion}  {name[-36:]}  {share:.0%}  {clip.duration:.1f} s"
        _write(sheet, caption, (left, top + 11), 0.36, _INK if share > 0.9 else _RED)
        for column, k in enumerate(_spread(len(clip.frames))):
            frame = cv2.resize(
                decode_jpeg(clip.frames[k]), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA
            )
            if not clip.face_found[k]:
                frame = cv2.rectangle(frame.copy(), (1, 1), (_SIDE - 2, _SIDE - 2), _RED, 3)
            x, y = left + column * _SIDE, top + _CAPTION
            sheet[y : y + _SIDE, x : x + _SIDE] = frame
    return sheet


def _spread(count: int) -> list[int]:
    """Six numbers of frames from the first to the last, none twice."""
    return sorted({round(k) for k in np.linspace(0, count - 1, _FRAMES)})


def _write(
    sheet: np.ndarray, text: str, place: tuple[int, int], size: float, ink: tuple[int, int, int]
) -> None:
    # OpenCV's own font has no letters beyond ASCII.
    shown = text.encode("ascii", "replace").decode()
    cv2.putText(sheet, shown, place, cv2.FONT_HERSHEY_SIMPLEX, size, ink, 1, cv2.LINE_AA)


def _file_name(subject: str) -> str:
    return re.sub(r"[^\w ()-]", "_", subject).strip() or "unknown"
