"""Still pictures as films in which nothing moves."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from jax_avemo.media.decoding.container import MediaError, TimedFrame
from jax_avemo.media.decoding.stream import MediaStream

STILL_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
_MAX_SIDE = 1280
"""As of a film's frames (`image.upright_picture`)."""


def is_still(path: Path) -> bool:
    """Whether a file begins as JPEG, PNG, WebP or BMP does."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError:  # what is wrong with it is told where it is read
        return False
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM")):
        return True
    return head[:4] == b"RIFF" and head[8:] == b"WEBP"


def still_stream(path: Path, *, seconds: float, frames_per_second: float) -> MediaStream:
    """The picture as `stream.stream_media` gives a film of so many seconds without sound."""
    return MediaStream(
        frames=still_frames(path, seconds=seconds, frames_per_second=frames_per_second),
        audio=iter(()),
        has_video=True,
        has_audio=False,
        duration=seconds,
        note="",
    )


def still_frames(path: Path, *, seconds: float, frames_per_second: float) -> Iterator[TimedFrame]:
    """The picture, upright, RGB, at most 1280 px a side, shown for so many seconds.

    Raises:
      MediaError: it cannot be decoded.
    """
    data = np.frombuffer(path.read_bytes(), np.uint8)
    try:
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)  # turned as its EXIF says
    except cv2.error as error:
        raise MediaError(f"is a picture that cannot be decoded ({error.err})", path) from error
    if picture is None:
        raise MediaError("is a picture that cannot be decoded", path)
    shrink = _MAX_SIDE / max(picture.shape[:2])
    if shrink < 1:
        height, width = (max(1, round(side * shrink)) for side in picture.shape[:2])
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    for tick in range(max(1, round(seconds * frames_per_second))):
        yield TimedFrame(tick / frames_per_second, picture)
