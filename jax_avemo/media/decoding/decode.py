"""A part of a media file as frames, their times and audio on one clock."""

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

from jax_avemo.media.decoding.audio import AudioTrack
from jax_avemo.media.decoding.audio_tracks import heard_stream, new_levels
from jax_avemo.media.decoding.container import (
    MediaError,
    Span,
    TimedFrame,
    can_restart,
    check_audio,
    check_header,
    check_length,
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
    """What `read_media` found. Video and audio share one clock, 0 = the start of the clip."""

    frames: Iterator[TimedFrame]
    """Decoded as they are asked for, once: a whole clip is never held. Empty without a picture."""
    audio: Int16[np.ndarray, "N"]
    """16 kHz mono; sample n is at n / 16000 s. Empty without audio, or where it is silent."""
    duration: float
    """Seconds: the longer of video and audio."""


def read_media(
    path: Path,
    *,
    start: float = 0.0,
    end: float | None = None,
    frames_per_second: float,
    max_seconds: float = _DEFAULT_MAX_SECONDS,
    need_video: bool = True,
    need_audio: bool = True,
    audio_track: int = 0,
) -> Media:
    """Read the part of a file from `start` to `end` seconds (None = to its end).

    Frames are chosen by time stamp: around every tick of `frames_per_second`, counted from the
    first frame, the nearest one, each at most once. A source of fewer frames gives all it has, with
    a variable frame rate too. Audio that begins late is preceded by silence, gaps are silent.

    `audio_track` counts from 1; 0 = the default track, or where that is silent the first that is
    not. Its channels are mixed as `audio.AudioLevels.mix` says. A silent track is no audio.

    Raises MediaError where the file is missing, empty, no media, cut off, without the needed
    video or audio, or larger or longer than allowed, while `frames` are read too.
    """
    path = Path(path)
    if end is not None and not end > start:
        raise MediaError(f"the part ends at {end:g} s, before its start at {start:g} s", path)
    span = Span(path, start, end, max_seconds)
    with contextlib.ExitStack() as closing:
        container = closing.enter_context(opened(path))
        video, audio = video_stream(container), heard_stream(container, path, audio_track)
        if need_video and video is None:
            raise MediaError("has no picture that can be decoded", path)
        if need_audio and audio is None:
            raise MediaError("has no audio that can be decoded", path)
        if video is None and audio is None:
            raise MediaError("has neither video nor audio", path)
        check_header(container, video, span)
        survey = _survey(container, video, audio, span)
        if need_audio and survey.audio.size == 0:
            what = "is silent" if survey.silent else "has no audio in the part asked for"
            raise MediaError(what, path)
        if need_video and survey.video_end <= 0:
            raise MediaError("has no picture in the part asked for", path)
        frames: Iterator[TimedFrame] = iter(())
        if survey.video_end > 0:
            again = restarted(container, closing.pop_all()) if can_restart(container) else None
            frames = picture_frames(survey.span, survey.video_end, frames_per_second, again)
    return Media(frames, survey.audio, survey.duration)


@dataclass(frozen=True)
class _Survey:
    """What one pass over the packets tells, with all audio and no picture decoded."""

    span: Span
    audio: Any
    video_end: float
    silent: bool
    """Whether there are samples, and none is heard; `audio` is empty then."""

    @property
    def duration(self) -> float:
        return max(self.video_end, self.audio.size / AUDIO_SAMPLE_RATE)


def _survey(container: Any, video: Any, audio: Any, span: Span) -> _Survey:
    """Pass over the packets: decode the audio, note how far the picture reaches."""
    span = dataclasses.replace(span, origin=(container.start_time or 0) / av.time_base)
    limit = math.inf if span.length is None else span.length
    streams = [stream for stream in (video, audio) if stream is not None]
    reached = {stream.index: 0.0 for stream in streams}  # clip time
    track = AudioTrack(span.length, None if audio is None else new_levels(audio))
    picture_end = 0.0
    pictures = audio_packets = bad_packets = 0
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
                audio_packets += 1
                try:
                    for frame in packet.decode():
                        track.add(frame, None if frame.pts is None else span.clip_time(frame.time))
                except av.error.FFmpegError:
                    bad_packets += 1
                reached[index] = track.end
            check_length(min(reached[index], limit), span)
            # Packets come in decoding order, so that the picture may still go back a little.
            if min(reached.values()) > limit + 1:
                break
    except av.error.FFmpegError as error:
        raise MediaError(f"is damaged ({error.strerror})", span.path) from error
    check_audio(bad_packets, audio_packets, span.path)
    check_whole(container, streams, reached, span)
    samples = track.finish()
    silent = samples.size > 0 and track.levels.silent
    return _Survey(span, samples[:0] if silent else samples, picture_end, silent)
