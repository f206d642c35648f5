"""How a film of any length is read in bounded memory: picture and sound, each as it comes."""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import Int16

from jax_avemo.media.decoding.audio import SoundTrack
from jax_avemo.media.decoding.container import (
    MediaError,
    Span,
    TimedFrame,
    audio_stream,
    check_header,
    check_length,
    check_sound,
    check_whole,
    opened,
    packet_extent,
    picture_frames,
    video_stream,
)

MAX_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class SoundPiece:
    """A stretch of 16 kHz mono sound."""

    first: int
    """Sample n is at n / 16000 s on the picture's clock. Between pieces there is silence."""
    samples: Int16[np.ndarray, "N"]


@dataclass(frozen=True)
class MediaStream:
    """What `stream_media` found. The iterators open the file for themselves and can lag apart."""

    frames: Iterator[TimedFrame]
    """Empty without a picture."""
    sound: Iterator[SoundPiece]
    """Empty without sound."""
    has_video: bool
    has_audio: bool
    duration: float
    """Seconds, as the packets' time stamps have it."""
    note: str
    """What is wrong with the file although it can be read; "" = nothing."""


def stream_media(
    path: Path,
    *,
    frames_per_second: float,
    max_seconds: float = MAX_SECONDS,
    video: bool = True,
    audio: bool = True,
) -> MediaStream:
    """Read a whole file as `decode.read_media` does, without ever holding more than a moment of it.

    The same frames and the same samples come out; the packets' stamps are read through first
    (a second for an hour of film). A file that is cut off gives what there is, with a `note`.

    Args:
      path: media file.
      frames_per_second: of the frames that are kept.
      max_seconds: longer files are refused.
      video, audio: False = leave it alone even where there is some.

    Raises:
      MediaError: as `read_media`, while the iterators run too; neither picture nor sound.
    """
    path = Path(path)
    span = Span(path, 0.0, None, max_seconds)
    note = ""
    with opened(path) as container:
        film = video_stream(container) if video else None
        sound = audio_stream(container) if audio else None
        streams = [stream for stream in (film, sound) if stream is not None]
        if not streams:
            wanted = " nor ".join(["picture"] * video + ["sound"] * audio)
            raise MediaError(f"has neither {wanted} that can be decoded", path)
        check_header(container, film, span)
        span = dataclasses.replace(span, origin=(container.start_time or 0) / av.time_base)
        reached = _reached(container, streams, span)
        try:
            check_whole(container, streams, reached, span)
        except MediaError as error:
            note = error.reason
        picture_end = reached[film.index] if film is not None else 0.0
    return MediaStream(
        frames=picture_frames(span, picture_end, frames_per_second)
        if picture_end > 0
        else iter(()),
        sound=_sound(span) if sound is not None else iter(()),
        has_video=picture_end > 0,
        has_audio=sound is not None,
        duration=max(reached.values()),
        note=note,
    )


def _reached(container: Any, streams: list[Any], span: Span) -> dict[int, float]:
    """Clip time up to which each stream has packets, nothing decoded."""
    reached = {stream.index: 0.0 for stream in streams}
    try:
        for packet in container.demux(streams):
            finish = packet_extent(packet, span)[1]
            if math.isfinite(finish):
                index = packet.stream.index
                reached[index] = max(reached[index], finish)
                check_length(finish, span)
    except av.error.FFmpegError as error:
        raise MediaError(f"is damaged ({error.strerror})", span.path) from error
    return reached


def _sound(span: Span) -> Iterator[SoundPiece]:
    track = SoundTrack(None)
    packets = bad = 0
    with opened(span.path) as container:
        try:
            for packet in container.demux(audio_stream(container)):
                packets += 1
                try:
                    for frame in packet.decode():
                        track.add(frame, None if frame.pts is None else span.clip_time(frame.time))
                except av.error.FFmpegError:
                    bad += 1
                yield from (SoundPiece(*piece) for piece in track.take())
        except av.error.FFmpegError as error:
            raise MediaError(f"is damaged ({error.strerror})", span.path) from error
    yield from (SoundPiece(*piece) for piece in track.take(last=True))
    check_sound(bad, packets, span.path)
