"""How a part of a media file becomes frames, their times and sound on one clock."""

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

from jax_avemo.media.decoding.audio import SoundTrack
from jax_avemo.media.decoding.container import (
    MediaError,
    Span,
    TimedFrame,
    audio_stream,
    can_restart,
    check_header,
    check_length,
    check_sound,
    check_whole,
    opened,
    packet_extent,
    picture_frames,
    restarted,
    seek_start,
    video_stream,
)
from jax_avemo.schema import AUDIO_SAMPLE_RATE

_MAX_SOURCE_RATE = 240.0
_DEFAULT_MAX_SECONDS = 300.0


@dataclass(frozen=True)
class Media:
    """What `read_media` found. Picture and sound share one clock, 0 = the start of the clip."""

    frames: Iterator[TimedFrame]
    """Decoded as they are asked for, once: a whole clip is never held. Empty without a picture."""
    audio: Int16[np.ndarray, "N"]
    """16 kHz mono; sample n is at n / 16000 s. Empty without sound."""
    duration: float
    """Seconds: the longer of picture and sound."""


def read_media(
    path: Path,
    *,
    start: float = 0.0,
    end: float | None = None,
    frames_per_second: float,
    max_seconds: float = _DEFAULT_MAX_SECONDS,
    need_video: bool = True,
    need_audio: bool = True,
) -> Media:
    """Read the part of a file from `start` to `end` seconds (None = to its end).

    Frames are chosen by time stamp: around every tick of `frames_per_second`, counted from the
    first frame, the nearest one, each at most once. A source of fewer frames gives all it has, with
    a variable frame rate too. Sound that begins late is preceded by silence, gaps are silent.

    Raises MediaError where the file is missing, empty, no media, cut off, without the needed
    picture or sound, or larger or longer than allowed, while `frames` are read too.
    """
    path = Path(path)
    if end is not None and not end > start:
        raise MediaError(f"the part ends at {end:g} s, before its start at {start:g} s", path)
    span = Span(path, start, end, max_seconds)
    with contextlib.ExitStack() as closing:
        container = closing.enter_context(opened(path))
        video, sound = video_stream(container), audio_stream(container)
        if need_video and video is None:
            raise MediaError("has no picture that can be decoded", path)
        if need_audio and sound is None:
            raise MediaError("has no sound that can be decoded", path)
        if video is None and sound is None:
            raise MediaError("has neither picture nor sound", path)
        check_header(container, video, span)
        survey = _survey(container, video, sound, span)
        if need_audio and survey.audio.size == 0:
            raise MediaError("has no sound in the part asked for", path)
        if need_video and survey.video_end <= 0:
            raise MediaError("has no picture in the part asked for", path)
        frames: Iterator[TimedFrame] = iter(())
        if survey.video_end > 0:
            again = restarted(container, closing.pop_all()) if can_restart(container) else None
            frames = picture_frames(survey.span, survey.video_end, frames_per_second, again)
    return Media(frames, survey.audio, survey.duration)


@dataclass(frozen=True)
class _Survey:
    """What one pass over the packets tells, with all sound and no picture decoded."""

    span: Span
    audio: Any
    video_end: float

    @property
    def duration(self) -> float:
        return max(self.video_end, self.audio.size / AUDIO_SAMPLE_RATE)


def _survey(container: Any, video: Any, sound: Any, span: Span) -> _Survey:
    """Pass over the packets: decode the sound, note how far the picture reaches."""
    span = dataclasses.replace(span, origin=(container.start_time or 0) / av.time_base)
    limit = math.inf if span.length is None else span.length
    streams = [stream for stream in (video, sound) if stream is not None]
    reached = {stream.index: 0.0 for stream in streams}  # clip time
    track = SoundTrack(span.length)
    picture_end = 0.0
    pictures = sounds = bad_sounds = 0
    try:
        seek_start(container, span)
        for packet in container.demux(streams):
            index = packet.stream.index
            if packet.stream is video:
                begin, finish = packet_extent(packet, span)
                reached[index] = max(reached[index], finish)
                if finish > 0 and begin < limit:
                    picture_end = max(picture_end, min(finish, limit))
                pictures += 1
                if pictures > _MAX_SOURCE_RATE * (span.max_seconds + 60):
                    raise MediaError(f"has over {_MAX_SOURCE_RATE:g} frames a second", span.path)
            else:
                sounds += 1
                try:
                    for frame in packet.decode():
                        track.add(frame, None if frame.pts is None else span.clip_time(frame.time))
                except av.error.FFmpegError:
                    bad_sounds += 1
                reached[index] = track.end
            check_length(min(reached[index], limit), span)
            # Packets come in decoding order, so that the picture may still go back a little.
            if min(reached.values()) > limit + 1:
                break
    except av.error.FFmpegError as error:
        raise MediaError(f"is damaged ({error.strerror})", span.path) from error
    audio = track.finish()
    check_sound(bad_sounds, sounds, span.path)
    check_whole(container, streams, reached, span)
    return _Survey(span, audio, picture_end)
