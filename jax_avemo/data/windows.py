"""Windows of a film of any length, each with a clip for every face and for the audio."""

import heapq
import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int16

from jax_avemo.data.clip import (
    ClipOptions,
    clip_from_bytes,
    clip_to_bytes,
    encode_jpeg,
    pack,
    unpack,
)
from jax_avemo.media.decoding.container import MediaError, TimedFrame
from jax_avemo.media.decoding.still import is_still, still_stream
from jax_avemo.media.decoding.stream import AudioPiece, MediaStream, stream_media
from jax_avemo.media.faces.blazeface import FaceDetector
from jax_avemo.media.faces.crops import FaceTrack
from jax_avemo.media.faces.face_tracks import FaceFollowers, Followed
from jax_avemo.media.faces.main_face import MIN_FOUND
from jax_avemo.media.faces.speaker import speaking_face
from jax_avemo.media.shots import ShotDetector, ShotFrame
from jax_avemo.schema import AUDIO_SAMPLE_RATE, Clip, Labels

SILENCE_DECIBELS = -55.0
"""A window is silent when no 30 ms of it are louder than this below full scale."""
_LEVEL_SAMPLES = round(0.03 * AUDIO_SAMPLE_RATE)
_TAIL_SECONDS = 0.1
"""So much of a film's end may stay outside the last whole window."""
_BOX_INTERVAL_SECONDS = 0.2


@dataclass(frozen=True)
class WindowOptions:
    """How a film is cut into windows."""

    clip: ClipOptions
    """How faces are cut out, as for stored clips."""
    window_seconds: float
    hop_seconds: float
    """From the beginning of a window to the next one's."""
    max_faces: int
    """Followed at once; the rest are counted and left out."""
    video: bool
    audio: bool
    """What the network reads; the rest of a film is not decoded."""


@dataclass(frozen=True)
class Excerpt:
    """What is to be predicted in a window: one face, or the sound alone."""

    face: int | None
    """Number of the face, from 1 in the order of appearance; None = no face, or a voice that may be
    anybody's."""
    clip: Clip
    """With audio only where it is this face's: the only one in the window, or the one whose mouth
    clearly moves with it."""
    found: float
    """Share of the window's frames in which the face was found."""


@dataclass(frozen=True)
class Window:
    """A stretch of a film, seconds, and all that can be predicted in it."""

    start: float
    end: float
    excerpts: tuple[Excerpt, ...]
    """Empty: neither a face nor anything to hear."""
    heard: bool
    """Whether there was sound above silence."""
    boxes: dict[int, list[tuple[float, ...]]]
    """By face: time, left, top, right, bottom (shares of the picture), at most 5 a second, of what
    was not in an earlier window."""
    left_out: int
    """Faces seen at one time that were too many to follow, up to here."""
    shot_start: float
    """Where the shot begins in which the window lies, seconds; 0 = the film's first."""


def is_silent(audio: Int16[np.ndarray, "N"]) -> bool:
    """Whether no 30 ms of it are louder (root mean square) than `SILENCE_DECIBELS`."""
    blocks = audio[: len(audio) // _LEVEL_SAMPLES * _LEVEL_SAMPLES].reshape(-1, _LEVEL_SAMPLES)
    if not blocks.size:
        return True
    power = np.max(np.square(blocks.astype(np.float64) / 32768).mean(axis=1))
    return bool(10 * np.log10(max(power, 1e-20)) < SILENCE_DECIBELS)


class WindowMaker:
    """Takes frames and sound as they come, and cuts windows out of the last moments.

    No window straddles a hard cut: each shot has windows of its own, the last of which ends with
    it. It holds no more than a window, a hop and two seconds, however long the film is.
    """

    def __init__(self, options: WindowOptions, *, detector: FaceDetector | None = None) -> None:
        self.options = self._options = options
        self._shots = ShotDetector()
        self._faces = FaceFollowers(options.clip.frame_size, options.max_faces, detector)
        self._numbers: dict[int, int] = {}
        """By track, of those that were shown: number in the order of appearance."""
        self._frame_times: list[float] = []
        self._audio = np.zeros(0, np.int16)
        self._audio_first = 0
        self._boxed: dict[int, float] = {}
        self._cuts: deque[float] = deque()
        """Beginnings of shots that no window has reached yet."""
        self._shot_start = self._next = self._last_end = 0.0
        self._more_frames = False
        self.video_end = 0.0
        """Seconds up to which frames came."""

    @property
    def audio_end(self) -> float:
        """Seconds up to which sound came."""
        return (self._audio_first + len(self._audio)) / AUDIO_SAMPLE_RATE

    def add_frame(self, frame: TimedFrame) -> None:
        """The next frame; times ascend."""
        self._frame_times.append(frame.time)
        self._more_frames = True
        self.video_end = frame.time
        self._follow(self._shots.add(frame))

    def end_video(self) -> None:
        """No more frames come: what they show is settled."""
        self._follow(self._shots.flush())
        self._more_frames = False

    def _follow(self, frames: list[ShotFrame]) -> None:
        for frame, cut in frames:
            self._faces.add(frame, cut=cut)
            if cut:
                self._cuts.append(frame.time)

    def add_sound(self, piece: AudioPiece) -> None:
        """More sound; what it overlaps is replaced, what it leaves out is silence."""
        samples, first = piece.samples, piece.first - self._audio_first
        if first < 0:
            samples, first = samples[-first:], 0
        missing = first + len(samples) - len(self._audio)
        if missing > 0:
            self._audio = np.concatenate([self._audio, np.zeros(missing, np.int16)])
        self._audio[first : first + len(samples)] = samples

    def due(self, until: float) -> Iterator[Window]:
        """The windows that are whole when video and audio are there `until` that moment, s.

        A face that comes late is searched for backwards: windows wait up to two seconds for it.
        """
        if self._more_frames:
            until = min(until, self._faces.settled)
        while self._cuts and self._cuts[0] <= until:
            yield from self._shot_end(self._cuts[0])
            self._shot_start = self._next = self._last_end = self._cuts.popleft()
        yield from self._whole(until)

    def _whole(self, until: float) -> Iterator[Window]:
        while self._next + self._options.window_seconds <= until:
            start = self._next
            self._last_end = start + self._options.window_seconds
            yield self.cut(start, self._last_end)
            self._next = start + self._options.hop_seconds
            self.forget(start)  # the last window of a shot may begin before the next one's turn

    def _shot_end(self, end: float, *, last: bool = False) -> Iterator[Window]:
        """The rest of a shot: a last window that ends with it."""
        yield from self._whole(end)
        tail = _TAIL_SECONDS if self._last_end > self._shot_start else 0.0
        if self._last_end < end - tail:
            start = max(self._shot_start, end - self._options.window_seconds)
            yield self.cut(start, end, last=last)

    def finish(self, duration: float) -> Iterator[Window]:
        """The rest of a film of `duration` seconds."""
        self.end_video()
        yield from self.due(duration)
        yield from self._shot_end(duration, last=True)

    def cut(self, start: float, end: float, *, last: bool = False) -> Window:
        """The window from `start` to before `end`; `last`: with all that is there from `start`.

        It begins later where a cut lies between the two.
        """
        if last:
            self._follow(self._shots.flush())
        passed = [cut for cut in self._cuts if cut < end]
        shot_start = passed[-1] if passed else self._shot_start
        start = max(start, shot_start)
        reach = np.inf if last else end
        count = sum(start <= time < reach for time in self._frame_times)
        followed = self._faces.between(start, reach)
        size = self._options.clip.frame_size
        tracks = {face.number: face.crops(start, reach, size) for face in followed}
        shares = {number: float(track.found.sum()) / count for number, track in tracks.items()}
        shown = {number: track for number, track in tracks.items() if shares[number] >= MIN_FOUND}
        for number in shown:
            self._numbers.setdefault(number, len(self._numbers) + 1)
        audio = self._sound(start, reach)
        heard = not is_silent(audio)
        voice = audio if heard else audio[:0]
        excerpts = self._excerpts(shown, shares, voice, start, end - start)
        boxes = {
            self._numbers[face.number]: rows
            for face in followed
            if face.number in self._numbers and (rows := self._new_boxes(face, reach))
        }
        return Window(start, end, excerpts, heard, boxes, self._faces.left_out, shot_start)

    def _excerpts(
        self,
        shown: dict[int, FaceTrack],
        shares: dict[int, float],
        voice: Int16[np.ndarray, "N"],
        start: float,
        duration: float,
    ) -> tuple[Excerpt, ...]:
        """Every face, the one that speaks with the audio; else the audio by itself."""
        speaker = next(iter(shown)) if len(shown) == 1 else None
        if len(shown) > 1 and voice.size:
            speaker = speaking_face(shown, voice, start)
        excerpts = []
        for number, track in shown.items():
            audio = voice if number == speaker else voice[:0]
            clip = self._clip(track, audio, duration, start)
            excerpts.append(Excerpt(self._numbers[number], clip, shares[number]))
        if voice.size and speaker is None:
            nobody = FaceTrack([], np.zeros(0), np.zeros(0, bool))
            excerpts.append(Excerpt(None, self._clip(nobody, voice, duration, start), 0.0))
        return tuple(excerpts)

    def _new_boxes(self, face: Followed, end: float) -> list[tuple[float, ...]]:
        """Where a face was before `end`, at most 5 a second, but for what was told before."""
        rows = []
        for sight in face.sights:
            since = self._boxed.get(face.number, -np.inf)
            if sight.placement is None or sight.time < since + _BOX_INTERVAL_SECONDS - 1e-6:
                continue
            if sight.time < end:
                self._boxed[face.number] = sight.time
                rows.append((sight.time, *sight.box().tolist()))
        return rows

    def forget(self, before: float) -> None:
        """Let go of what was before that time, seconds."""
        while self._cuts and self._cuts[0] <= before:
            self._shot_start = self._cuts.popleft()
        self._faces.forget(before)
        self._frame_times = [time for time in self._frame_times if time >= before]
        passed = min(
            max(round(before * AUDIO_SAMPLE_RATE) - self._audio_first, 0), len(self._audio)
        )
        self._audio = self._audio[passed:].copy()
        self._audio_first += passed

    def _sound(self, start: float, end: float) -> Int16[np.ndarray, "N"]:
        first = max(round(start * AUDIO_SAMPLE_RATE) - self._audio_first, 0)
        if not np.isfinite(end):
            return self._audio[first:]
        return self._audio[first : max(round(end * AUDIO_SAMPLE_RATE) - self._audio_first, 0)]

    def _clip(
        self, track: FaceTrack, audio: Int16[np.ndarray, "N"], duration: float, start: float
    ) -> Clip:
        quality = self._options.clip.jpeg_quality
        return Clip(
            labels=Labels("", "", ""),
            # As stored clips have them: through the same JPEG.
            frames=tuple(encode_jpeg(crop, quality) for crop in track.crops),
            frame_times=(track.times - start).astype(np.float32),
            face_found=track.found,
            frame_size=self._options.clip.frame_size,
            audio=audio.copy(),
            duration=float(np.float32(duration)),
        )


@dataclass(frozen=True)
class FilmTask:
    """What `film_windows` is to do; travels to another process."""

    path: str
    options: WindowOptions
    max_seconds: float


def film_windows(task: FilmTask) -> Iterator[bytes]:
    """A file as messages: first what it is (JSON), then its windows, `window_from_bytes` of each.

    Made to run in another process (`media.sandbox.IsolatedWorker`), where a damaged file can do
    no harm. Raises MediaError, after the windows of what could be read.
    """
    options = task.options
    stream, still = _opened(task)
    about = {
        "duration": stream.duration,
        "video": stream.has_video,
        "audio": stream.has_audio,
        "note": stream.note,
        "whole": stream.whole,
        "still": still,
    }
    yield json.dumps(about).encode()
    maker = WindowMaker(options)

    def frames() -> Iterator[TimedFrame]:
        yield from stream.frames
        maker.end_video()

    wrong: MediaError | None = None
    # By time, so that neither is far ahead of the other.
    streams: list[Iterator[TimedFrame | AudioPiece]] = [frames(), stream.audio]
    try:
        for item in heapq.merge(*streams, key=_begin):
            yield from map(window_to_bytes, maker.due(_begin(item)))
            if isinstance(item, TimedFrame):
                maker.add_frame(item)
            else:
                maker.add_sound(item)
    except MediaError as error:
        wrong = error
    whole = max(stream.duration if stream.has_video else 0.0, maker.audio_end)
    duration = whole if wrong is None else max(maker.video_end, maker.audio_end)
    yield from map(window_to_bytes, maker.finish(duration))
    if wrong is not None:
        raise wrong


def _begin(item: TimedFrame | AudioPiece) -> float:
    return item.time if isinstance(item, TimedFrame) else item.first / AUDIO_SAMPLE_RATE


def _opened(task: FilmTask) -> tuple[MediaStream, bool]:
    """The file of the task, and whether it is a still picture."""
    options, path = task.options, Path(task.path)
    rate = options.clip.frames_per_second
    if options.video and is_still(path):
        # As if held for a window: the network knows clips, not single frames.
        seconds = options.window_seconds
        return still_stream(path, seconds=seconds, frames_per_second=rate), True
    stream = stream_media(
        path,
        frames_per_second=rate,
        max_seconds=task.max_seconds,
        video=options.video,
        audio=options.audio,
        audio_track=options.clip.audio_track,
    )
    return stream, False


def window_to_bytes(window: Window) -> bytes:
    """A window as one block for another process."""
    excerpts = [{**vars(one), "clip": clip_to_bytes(one.clip)} for one in window.excerpts]
    return pack({**vars(window), "excerpts": excerpts})


def window_from_bytes(data: bytes) -> Window:
    """The window that `window_to_bytes` made; ValueError when the block is damaged."""
    stored = unpack(data)
    excerpts = (
        Excerpt(one["face"], clip_from_bytes(one["clip"]), one["found"])
        for one in stored["excerpts"]
    )
    boxes = {number: [tuple(row) for row in rows] for number, rows in stored["boxes"].items()}
    return Window(**stored | {"excerpts": tuple(excerpts), "boxes": boxes})
