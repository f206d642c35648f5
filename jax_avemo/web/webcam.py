"""Webcam messages and their windows, without JAX.

`live_window` runs in a process of its own, where a damaged picture can do no harm.
"""

import functools
import json
import struct
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int16

from jax_avemo.data.clip import decode_jpeg
from jax_avemo.data.windows import WindowMaker, WindowOptions, window_to_bytes
from jax_avemo.media.decoding.container import TimedFrame
from jax_avemo.media.decoding.stream import AudioPiece
from jax_avemo.media.faces.blazeface import FaceDetector
from jax_avemo.runtime.errors import UserError
from jax_avemo.schema import AUDIO_SAMPLE_RATE

_MOST_FRAMES = 400
_MOST_SECONDS = 60.0
_MOST_SIDE = 1280


@dataclass(frozen=True)
class Moment:
    """The last seconds of a webcam."""

    frames: tuple[tuple[float, bytes], ...]
    """Seconds, and a JPEG file."""
    sound_begin: float
    samples: bytes
    """int16 little-endian, 16 kHz mono."""


@dataclass(frozen=True)
class MomentTask:
    """What `live_window` is to do; travels to another process."""

    moment: Moment
    options: WindowOptions


def unpack_moment(message: bytes) -> Moment:
    """What the page sent: uint32 length of a JSON header, the header, JPEG files, samples.

    The header has `frames` (`time` in seconds, ascending, and `bytes`), `samples` and
    `sound_begin`. Nothing is decoded here.

    Raises:
      UserError: lengths and times that don't fit.
    """
    try:
        length = struct.unpack("<I", message[:4])[0]
        header = json.loads(message[4 : 4 + length])
        sizes = [int(frame["bytes"]) for frame in header["frames"]]
        times = [float(frame["time"]) for frame in header["frames"]]
        samples, begin = int(header["samples"]), float(header["sound_begin"])
    except (ValueError, TypeError, KeyError, struct.error, RecursionError) as error:
        raise UserError("the message of the webcam is malformed") from error
    whole = 4 + length + sum(sizes) + 2 * samples
    clock = [*times, begin]
    if (
        min([*sizes, samples]) < 0
        or whole != len(message)
        or len(sizes) > _MOST_FRAMES
        or not all(0 <= time <= _MOST_SECONDS for time in clock)  # NaN is not either
        or any(b <= a for a, b in zip(times, times[1:], strict=False))
    ):
        raise UserError("the message of the webcam is malformed")
    place = 4 + length
    frames = []
    for time, size in zip(times, sizes, strict=True):
        frames.append((time, message[place : place + size]))
        place += size
    return Moment(tuple(frames), begin, message[place:])


def pack_moment(frames: list[tuple[float, bytes]], samples: Int16[np.ndarray, " N"]) -> bytes:
    """The message that `unpack_moment` reads."""
    header = {
        "frames": [{"time": time, "bytes": len(jpeg)} for time, jpeg in frames],
        "samples": len(samples),
        "sound_begin": 0.0,
    }
    text = json.dumps(header).encode()
    jpegs = b"".join(jpeg for _, jpeg in frames)
    return struct.pack("<I", len(text)) + text + jpegs + samples.astype("<i2").tobytes()


def live_window(task: MomentTask) -> bytes:
    """In the sandbox: decode the frames, find and follow faces, cut the last window out."""
    moment, options = task.moment, task.options
    maker = WindowMaker(options, detector=_detector())
    if options.audio:
        samples = np.frombuffer(moment.samples, "<i2").astype(np.int16)
        maker.add_sound(AudioPiece(round(moment.sound_begin * AUDIO_SAMPLE_RATE), samples))
    for time, jpeg in moment.frames if options.video else ():
        image = decode_jpeg(jpeg)
        if max(image.shape) > _MOST_SIDE:
            raise UserError(f"the webcam's picture is larger than {_MOST_SIDE} px")
        maker.add_frame(TimedFrame(time, image))
    end = max(maker.video_end, maker.audio_end)
    return window_to_bytes(maker.cut(max(0.0, end - options.window_seconds), end, last=True))


@functools.cache
def _detector() -> FaceDetector:
    return FaceDetector()
