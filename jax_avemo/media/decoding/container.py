"""Media containers: opening, header checks and video frames.

What reading a part (`decode`) and reading a film of any length (`stream`) have in common.
"""

import contextlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import UInt8

from jax_avemo.media.decoding.image import on_canvas, progressive, upright_picture
from jax_avemo.media.decoding.sniff import unreadable_reason
from jax_avemo.runtime.errors import UserError

# A playlist or concat file would make FFmpeg open other files: only self-contained containers.
_OPEN_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,wav,flv,"
    "mp3,ogg,flac,asf,mpeg,mpegts",
}
_WITHOUT_DURATION = frozenset({"mp3", "mpeg", "mpegts"})
"""Formats whose header does not say how long they last: FFmpeg guesses, from the bit rate too."""
# Titles in another encoding than UTF-8 stop PyAV before 19; 19 has no such argument.
_LENIENT: dict[str, Any] = (
    {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
)
_MAX_PIXELS = 4096 * 4096
_SHORTFALL_SECONDS = 0.5
"""A file that ends this much before its header says is cut off."""
_SETTLING_SECONDS = {
    "others": 0.2,  # a decoder of audio needs a few packets
    "mp3": math.inf,  # places are guessed from the bit rate
    # No index of the pictures that can be decoded alone: the longest usual distance of two.
    "mpeg": 12.0,
    "mpegts": 12.0,
}
"""So far before a part's beginning decoding starts, by format."""
_BEFORE_ALL = -(10**12)
"""Container time before any packet, which may begin below 0."""
# Times derived from different time bases differ by rounding; far below any frame's duration.
_TIME_SLACK_SECONDS = 1e-4


class MediaError(UserError):
    """A media file that cannot be used; `reason` says why in one line, without the path."""

    def __init__(self, reason: str, path: Path | None = None) -> None:
        super().__init__(reason if path is None else f"{path}: {reason}")
        self.reason = reason


@dataclass(frozen=True)
class TimedFrame:
    """A picture and when it is shown."""

    time: float
    """Seconds from the start of the clip."""
    image: UInt8[np.ndarray, "H W 3"]
    """RGB, upright, square pixels, at most 1280 px on the longer side."""


@dataclass(frozen=True)
class Span:
    """The part of a file that is wanted."""

    path: Path
    start: float
    end: float | None
    max_seconds: float
    origin: float = 0.0
    """The container's own time of the file's first moment, in seconds."""

    def clip_time(self, container_time: float) -> float:
        """Seconds since the part's beginning."""
        return container_time - self.origin - self.start

    @property
    def length(self) -> float | None:
        """Seconds; None = to the end of the file."""
        return None if self.end is None else self.end - self.start


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The container of a media file that is one, without what else FFmpeg would open."""
    if not path.is_file():
        raise MediaError("no such file" if not path.exists() else "is not a file", path)
    if path.stat().st_size == 0:
        raise MediaError("is empty (0 bytes)", path)
    # "file:" keeps a name such as "a:b.mp4" from being read as a protocol.
    name = "file:" + os.path.abspath(path)
    try:
        with av.open(name, options=dict(_OPEN_OPTIONS), **_LENIENT) as container:
            yield container
    except av.error.FFmpegError as error:
        raise MediaError(unreadable_reason(path, error.strerror or ""), path) from error


def video_stream(container: Any) -> Any:
    """The first picture that can be decoded and is no cover; None = none."""
    for stream in container.streams.video:
        # Without a codec context, FFmpeg knows no decoder for it.
        if (
            stream.codec_context is not None
            and not stream.disposition & av.stream.Disposition.attached_pic
        ):
            stream.thread_type = "SLICE"
            stream.codec_context.thread_count = 1  # clips, not frames, are what runs in parallel
            return stream
    return None


def audio_stream(container: Any, number: int = 0) -> Any:
    """Audio track `number`, from 1; 0 = the default one that can be decoded. None = none.

    Raises MediaError when there is no such track. `audio_tracks.heard_stream` prefers a track
    that is not silent.
    """
    tracks = container.streams.audio
    if number > len(tracks):
        raise MediaError(f"has {len(tracks)} audio tracks, none is number {number}")
    if number:
        return tracks[number - 1] if tracks[number - 1].codec_context is not None else None
    return next(iter(ordered_audio_streams(container)), None)


def ordered_audio_streams(container: Any) -> list[Any]:
    """The audio tracks that can be decoded, those marked as default first."""
    known = [stream for stream in container.streams.audio if stream.codec_context is not None]
    return sorted(known, key=lambda stream: not stream.disposition & av.stream.Disposition.default)


def header_seconds(container: Any) -> float | None:
    """How long the file's header says that it lasts; None = it does not say."""
    if not container.duration or container.format.name in _WITHOUT_DURATION:
        return None
    return float(container.duration / av.time_base)


def check_header(container: Any, video: Any, span: Span) -> None:
    """Refuse what the header says is too large or too long, before anything is decoded."""
    if video is not None:
        _check_pixels(video.codec_context.width, video.codec_context.height, span.path)
    seconds = header_seconds(container)
    if seconds is None:
        return
    if span.start >= seconds + _TIME_SLACK_SECONDS:
        raise MediaError(f"lasts {seconds:.2f} s, the part begins at {span.start:g} s", span.path)
    wanted = min(seconds, span.end if span.end is not None else seconds) - span.start
    check_length(wanted, span)


def _check_pixels(width: int, height: int, path: Path) -> None:
    if width < 1 or height < 1:
        # FFmpeg itself forgets the size of pictures over about 16,000 x 16,000.
        raise MediaError("has a picture without size, or far over 4096 x 4096", path)
    if width * height > _MAX_PIXELS:
        raise MediaError(f"has a picture of {width} x {height}, the limit is 4096 x 4096", path)


def check_length(seconds: float, span: Span) -> None:
    """Refuse what is longer than `span.max_seconds`."""
    if seconds > span.max_seconds + _TIME_SLACK_SECONDS:
        raise MediaError(
            f"lasts {seconds:.1f} s, the limit is {span.max_seconds:g} s: cut it into takes",
            span.path,
        )


def check_audio(bad: int, packets: int, path: Path) -> None:
    """Refuse audio of which more than a twentieth cannot be decoded."""
    if bad > max(1, packets // 20):
        raise MediaError(f"is damaged: {bad} of {packets} packets of audio cannot be decoded", path)


def _seconds(ticks: int, time_base: Any) -> float:
    # As float(ticks * time_base), without making a Fraction of every packet and frame.
    return ticks * time_base.numerator / time_base.denominator


def packet_extent(packet: Any, span: Span) -> tuple[float, float]:
    """Clip times at which a packet begins and ends; -inf where it has no time stamp."""
    stamp = packet.dts if packet.pts is None else packet.pts
    if stamp is None:
        return -math.inf, -math.inf
    begin = span.clip_time(_seconds(stamp, packet.time_base))
    if packet.duration:
        return begin, begin + _seconds(packet.duration, packet.time_base)
    return begin, begin + 1 / float(packet.stream.average_rate or 25)


def check_whole(container: Any, streams: list[Any], reached: dict[int, float], span: Span) -> None:
    """Compare with what the header promises: a file cut off still decodes up to there."""
    promises = []
    if (seconds := header_seconds(container)) is not None:
        promises.append((seconds - span.start, max(reached.values())))
    if container.format.name.startswith("mov"):  # elsewhere a stream's own duration is a guess
        for stream in streams:
            if stream.duration:
                end = float(((stream.start_time or 0) + stream.duration) * stream.time_base)
                promises.append((span.clip_time(end), reached[stream.index]))
    for promised, there in promises:
        wanted = promised if span.length is None else min(promised, span.length)
        if there < wanted - _SHORTFALL_SECONDS:
            raise MediaError(f"is cut off: {there:.2f} of {wanted:.2f} s are there", span.path)


def seek_start(container: Any, span: Span) -> None:
    """Go a moment before the part's beginning, where the format can be entered exactly."""
    settling = _SETTLING_SECONDS.get(container.format.name, _SETTLING_SECONDS["others"])
    target = span.start - settling
    if target > 0:
        container.seek(round((target + span.origin) * av.time_base), backward=True)


def can_restart(container: Any) -> bool:
    """Whether a container that was read through can be read again exactly from its start.

    mp4 and mov have an index of every packet; others may go to a neighbour. It spares a second
    opening, in which FFmpeg decodes some pictures to know the stream: 9 ms at 720p.
    """
    return container.format.name.startswith("mov")


@contextlib.contextmanager
def restarted(container: Any, closing: contextlib.ExitStack) -> Iterator[Any]:
    """The open container once more from its start; `closing` closes it in the end."""
    with closing:
        container.seek(_BEFORE_ALL, backward=True)
        yield container


def picture_frames(
    span: Span,
    picture_end: float,
    frames_per_second: float,
    source: contextlib.AbstractContextManager[Any] | None = None,
) -> Iterator[TimedFrame]:
    """Decode the video and yield the frame nearest to every tick, all of the first one's size.

    `source`: the file's container at its start; None = it is opened.
    """
    damage = _Damage()
    count = 0
    with source or opened(span.path) as container:
        video = video_stream(container)
        shown = _Viewer(video)
        seek_start(container, span)
        kept: tuple[int, float, float, Any] | None = None  # slot, distance, time, frame
        first: float | None = None
        time: float | None = None
        for frame in progressive(_decoded(container, video, damage, span.path)):
            time = _frame_time(frame, video, span, time)
            if time < -_TIME_SLACK_SECONDS:
                continue
            if span.length is not None and time >= span.length - _TIME_SLACK_SECONDS:
                break
            check_length(time, span)
            first = time if first is None else first
            position = (time - first) * frames_per_second
            slot = int(np.floor(position + 0.5 + 1e-6))
            distance = abs(position - slot)
            tick = first + slot / frames_per_second
            if slot > 0 and tick > picture_end - _TIME_SLACK_SECONDS:
                continue
            if kept is not None and slot != kept[0]:
                yield shown(kept[2], kept[3])
                count += 1
                kept = None
            if kept is None or distance < kept[1]:
                kept = (slot, distance, time, frame)
        if kept is not None:
            yield shown(kept[2], kept[3])
            count += 1
    if count == 0:
        raise MediaError("has no picture that can be decoded", span.path)
    if damage.good == 1:
        raise MediaError("has a single frame: a picture, not a film", span.path)
    if damage.bad > max(1, damage.good // 20):
        raise MediaError(f"is damaged: {damage.bad} frames cannot be decoded", span.path)


class _Viewer:
    """Makes pictures of decoded frames, all on a canvas of the first one's size.

    A stream's size may change while it runs (a call's recording, a turned phone).
    """

    def __init__(self, video: Any) -> None:
        self._video = video
        self._aspect = float(video.sample_aspect_ratio or 1)
        self._canvas: tuple[int, int] | None = None

    def __call__(self, time: float, frame: Any) -> TimedFrame:
        transfer = self._video.codec_context.color_trc
        image = upright_picture(frame, self._aspect, transfer)
        self._canvas = self._canvas or (image.shape[0], image.shape[1])
        return TimedFrame(max(time, 0.0), on_canvas(image, *self._canvas))


@dataclass
class _Damage:
    """Frames of a film that could be decoded and that could not."""

    good: int = 0
    bad: int = 0


def _decoded(container: Any, video: Any, damage: _Damage, path: Path) -> Iterator[Any]:
    for packet in container.demux(video):
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            damage.bad += 1
            continue
        for frame in frames:
            damage.good += 1
            _check_pixels(frame.width, frame.height, path)
            if frame.is_corrupt:
                damage.bad += 1
            else:
                yield frame


def _frame_time(frame: Any, video: Any, span: Span, before: float | None) -> float:
    """Clip time; where the file has none (AVI with B-frames), one frame after the last."""
    stamp = frame.dts if frame.pts is None else frame.pts
    if stamp is not None:
        return span.clip_time(_seconds(stamp, frame.time_base))
    if before is None:
        return -span.start
    return before + 1 / float(video.average_rate or 25)
