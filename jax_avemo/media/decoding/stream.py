"""A file of any length read in bounded memory: video and audio, each as it comes."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import Int16

from jax_avemo.media.decoding.audio import AudioLevels, AudioTrack
from jax_avemo.media.decoding.audio_tracks import heard_stream, new_levels
from jax_avemo.media.decoding.container import (
    MediaError,
    Span,
    TimedFrame,
    check_audio,
    check_header,
    check_length,
    check_whole,
    opened,
    packet_extent,
    picture_frames,
    video_stream,
)

MAX_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class AudioPiece:
    """A stretch of 16 kHz mono audio."""

    first: int
    """Sample n is at n / 16000 s on the picture's clock. Between pieces there is silence."""
    samples: Int16[np.ndarray, "N"]


@dataclass(frozen=True)
class MediaStream:
    """What `stream_media` found. The iterators open the file for themselves and can lag apart."""

    frames: Iterator[TimedFrame]
    """Empty without a picture."""
    audio: Iterator[AudioPiece]
    """Empty without audio."""
    has_video: bool
    has_audio: bool
    """False also where the track is silent from beginning to end; `note` says so."""
    duration: float
    """Seconds, as the packets' time stamps have it."""
    note: str
    """What is wrong with the file although it can be read; "" = nothing."""
    whole: bool = True
    """False: it ends before its header says."""


def stream_media(
    path: Path,
    *,
    frames_per_second: float,
    max_seconds: float = MAX_SECONDS,
    video: bool = True,
    audio: bool = True,
    audio_track: int = 0,
) -> MediaStream:
    """Read a whole file as `decode.read_media` does, without ever holding more than a moment of it.

    The same frames and the same samples come out. The packets' stamps are read through first
    (a second for an hour of film), and audio is decoded until its mix is chosen. A file that is cut
    off gives what there is, with a `note`.

    Args:
      path: media file.
      frames_per_second: of the frames that are kept.
      max_seconds: longer files are refused.
      video, audio: False = leave it alone even where there is some.
      audio_track: as `read_media` has it.

    Raises:
      MediaError: as `read_media`, while the iterators run too; neither video nor audio.
    """
    path = Path(path)
    span = Span(path, 0.0, None, max_seconds)
    notes = []
    whole = True
    with opened(path) as container:
        film = video_stream(container) if video else None
        heard = heard_stream(container, path, audio_track) if audio else None
        streams = [stream for stream in (film, heard) if stream is not None]
        if not streams:
            kinds = ["video"] * video + ["audio"] * audio
            wanted = "neither video nor audio" if len(kinds) == 2 else f"no {''.join(kinds)}"
            raise MediaError(f"has {wanted} that can be decoded", path)
        check_header(container, film, span)
        span = dataclasses.replace(span, origin=(container.start_time or 0) / av.time_base)
        levels = None if heard is None else new_levels(heard)
        reached = _reached(container, streams, span, levels)
        try:
            check_whole(container, streams, reached, span)
        except MediaError as error:
            notes.append(error.reason)
            whole = False
        picture_end = reached[film.index] if film is not None else 0.0
        index = -1 if heard is None else heard.index
    if levels is not None and levels.silent:
        levels = None
        notes.append("its audio is silent")
        if picture_end <= 0:
            raise MediaError("is silent", path)
    return MediaStream(
        frames=picture_frames(span, picture_end, frames_per_second)
        if picture_end > 0
        else iter(()),
        audio=_audio(span, index, levels) if levels is not None else iter(()),
        has_video=picture_end > 0,
        has_audio=levels is not None,
        duration=max(reached.values()),
        note="; ".join(notes),
        whole=whole,
    )


def _reached(
    container: Any, streams: list[Any], span: Span, levels: AudioLevels | None
) -> dict[int, float]:
    """Clip time up to which each stream has packets; of the audio, `levels` are measured."""
    reached = {stream.index: 0.0 for stream in streams}
    try:
        for packet in container.demux(streams):
            finish = packet_extent(packet, span)[1]
            if math.isfinite(finish):
                index = packet.stream.index
                reached[index] = max(reached[index], finish)
                check_length(finish, span)
            if levels is not None and packet.stream.type == "audio" and not levels.enough:
                with contextlib.suppress(av.error.FFmpegError):  # counted when it is read
                    for frame in packet.decode():
                        levels.add(frame)
    except av.error.FFmpegError as error:
        raise MediaError(f"is damaged ({error.strerror})", span.path) from error
    return reached


def _audio(span: Span, index: int, levels: AudioLevels) -> Iterator[AudioPiece]:
    track = AudioTrack(None, levels, measured=True)
    packets = bad = 0
    with opened(span.path) as container:
        try:
            for packet in container.demux(container.streams[index]):
                packets += 1
                try:
                    for frame in packet.decode():
                        track.add(frame, None if frame.pts is None else span.clip_time(frame.time))
                except av.error.FFmpegError:
                    bad += 1
                yield from (AudioPiece(*piece) for piece in track.take())
        except av.error.FFmpegError as error:
            raise MediaError(f"is damaged ({error.strerror})", span.path) from error
    yield from (AudioPiece(*piece) for piece in track.take(last=True))
    check_audio(bad, packets, span.path)
