"""Annotated films: boxes, labels and a running chart, with the audio of the film."""

import bisect
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from jaxtyping import UInt8

from jax_avemo.inference.timeline import Prediction, WindowPrediction, caption, spans
from jax_avemo.media.decoding.audio_tracks import heard_stream
from jax_avemo.media.decoding.container import (
    MediaError,
    TimedFrame,
    opened,
    video_stream,
)
from jax_avemo.media.decoding.still import is_still, still_frames
from jax_avemo.media.decoding.stream import stream_media
from jax_avemo.media.sandbox import IsolatedError, IsolatedWorker, Limits
from jax_avemo.palette import colours_of, in_order, rgb_of
from jax_avemo.runtime.files import atomic_path

_ALL_FRAMES_PER_SECOND = 240.0
"""More than any film has, so that every frame of it is drawn."""
_STILL_FRAMES_PER_SECOND = 5
_CHART_SECONDS = 12.0
_CHART_SHARE = 0.34
_MOST_LANES = 3
_LANE_PIXELS = 150
"""Least height of a timeline's chart, where a letter's scale is 1."""
_BOX_GAP_SECONDS = 0.6
"""A box is drawn this long after a face was last found."""
_TIME_BASE = Fraction(1, 90_000)
_BACKGROUND, _INK, _FAINT = (24, 24, 28), (235, 235, 235), (70, 70, 78)
LIMITS = Limits(seconds=300.0, cpu_seconds=120, memory_bytes=6 << 30, file_bytes=32 << 30)


@dataclass(frozen=True)
class _Task:
    """What the drawing process is to do."""

    source: str
    target: str
    prediction: Prediction


def write_annotated(
    source: Path,
    prediction: Prediction,
    target: Path,
    *,
    limits: Limits = LIMITS,
    progress: Callable[[float, float], None] | None = None,
) -> None:
    """Write `source` with what was said of it as an mp4, its sound kept.

    Decoding and drawing happen in another process under limits (for each second of film).
    Raises MediaError where the film cannot be read or drawn.
    """
    with atomic_path(target) as temporary:
        task = _Task(str(source), str(temporary), prediction)
        with IsolatedWorker(draw_film, limits) as worker:
            messages = worker.stream(task)
            try:
                for message in messages:
                    if progress is not None:
                        progress(json.loads(message), prediction.duration)
            except IsolatedError as error:
                raise MediaError(f"cannot be drawn: {error}", source) from error


def draw_film(task: _Task) -> Iterator[bytes]:
    """Draw and encode every frame at its time; yields the seconds done, about each second."""
    source = Path(task.source)
    frames, rate = _frames(source, task.prediction.duration)
    painter = Painter(task.prediction)
    with av.open(task.target, "w", format="mp4", options={"movflags": "+faststart"}) as container:
        film: Any = None
        sound = _Sound(container, source)
        told = shown = -1.0
        for frame in frames:
            picture = painter.paint(frame.image, frame.time)
            if film is None:
                film = _add_film(container, picture, rate)
            if picture.shape[:2] != (film.height, film.width):
                picture = cv2.resize(picture, (film.width, film.height))
            if frame.time <= shown:
                continue
            shown = frame.time
            coded = av.VideoFrame.from_ndarray(picture, format="rgb24")
            coded.pts, coded.time_base = round(frame.time / _TIME_BASE), _TIME_BASE
            container.mux(film.encode(coded))
            sound.until(frame.time)
            if frame.time - told >= 1.0:
                told = frame.time
                yield json.dumps(told).encode()
        if film is not None:
            container.mux(film.encode())
        sound.until(float("inf"))


def _frames(source: Path, duration: float) -> tuple[Iterator[TimedFrame], Fraction]:
    """All frames of a film, or a still picture for so many seconds; frames a second on average."""
    if is_still(source):
        still = still_frames(source, seconds=duration, frames_per_second=_STILL_FRAMES_PER_SECOND)
        return still, Fraction(_STILL_FRAMES_PER_SECOND)
    with opened(source) as container:
        stream = video_stream(container)
        rate = Fraction(stream.average_rate or 25) if stream is not None else Fraction(25)
    film = stream_media(source, frames_per_second=_ALL_FRAMES_PER_SECOND, audio=False)
    return film.frames, rate


def _add_film(container: Any, picture: np.ndarray, rate: Fraction) -> Any:
    """A stream of H.264 for pictures like this one, each with its own time."""
    film = container.add_stream("libx264", rate=rate)
    film.height, film.width = picture.shape[:2]
    film.pix_fmt = "yuv420p"
    film.codec_context.time_base = _TIME_BASE
    film.options = {"crf": "22", "preset": "veryfast"}
    return film


class _Sound:
    """The film's sound, decoded and encoded anew as the picture goes on."""

    def __init__(self, container: Any, source: Path) -> None:
        self._container = container
        self._pieces = _sound_frames(source)
        self._waiting = next(self._pieces, None)
        self._stream: Any = None
        if self._waiting is not None:
            rate = self._waiting[1].sample_rate
            self._stream = container.add_stream("aac", rate=rate)
            self._stream.layout = self._waiting[1].layout.name

    def until(self, time: float) -> None:
        """Encode all sound that begins before that time."""
        while self._waiting is not None and self._waiting[0] <= time:
            for packet in self._stream.encode(self._waiting[1]):
                self._container.mux(packet)
            self._waiting = next(self._pieces, None)
        if self._waiting is None and self._stream is not None:
            self._container.mux(self._stream.encode())
            self._stream = None


def _sound_frames(source: Path) -> Iterator[tuple[float, Any]]:
    """Time and frame, in a form that AAC takes; times count from the start of the film."""
    if is_still(source):
        return
    with opened(source) as container:
        stream = heard_stream(container, source)
        if stream is None:
            return
        origin = (container.start_time or 0) / av.time_base
        resampler: Any = None
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                continue
            for frame in frames:
                if resampler is None:
                    layout = "mono" if len(frame.layout.channels) == 1 else "stereo"
                    rate = frame.sample_rate if frame.sample_rate in (44_100, 48_000) else 48_000
                    resampler = av.AudioResampler("fltp", layout, rate)
                for ready in resampler.resample(frame):
                    if ready.pts is None:
                        continue
                    time = float(ready.pts * ready.time_base) - origin
                    ready.pts = round(time * ready.sample_rate)
                    ready.time_base = Fraction(1, ready.sample_rate)
                    if time > -0.05:
                        ready.pts = max(ready.pts, 0)
                        yield time, ready


class Painter:
    """Draws what was said onto pictures and beneath them."""

    def __init__(self, prediction: Prediction) -> None:
        self._prediction = prediction
        self._colours = [rgb_of(colour) for colour in colours_of(prediction.emotions)]
        self._spans = spans(prediction.windows, prediction.duration)
        self._starts = [start for start, _, _ in self._spans]
        self._paths = {path.number: path for path in prediction.faces}
        counts = [sum(w.emotion is not None for w in said) for _, _, said in self._spans]
        self._most_lanes = min(max([1, *counts]), _MOST_LANES)

    def paint(self, image: UInt8[np.ndarray, "H W 3"], time: float) -> UInt8[np.ndarray, "h w 3"]:
        """The picture at `time` with boxes, and the chart below; even height and width."""
        picture = np.ascontiguousarray(image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2])
        picture = picture.copy()
        if picture.shape[1] < 480:  # letters need room
            scale = 480 / picture.shape[1]
            size = (480, round(picture.shape[0] * scale) // 2 * 2)
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
        height, width = picture.shape[:2]
        letters = max(0.45, width / 1400)
        position = max(bisect.bisect_right(self._starts, time) - 1, 0)
        said = self._spans[position][2] if self._spans else []
        for window in said:
            if window.face is not None:
                self._box(picture, window, time, letters)
        foot = round(34 * letters) if self._prediction.warning else 0
        least = foot + round(_LANE_PIXELS * letters) * self._most_lanes
        tall = max(round(height * _CHART_SHARE), least) // 2 * 2
        chart = np.full((tall, width, 3), _BACKGROUND, np.uint8)
        known = [window for window in said if window.probabilities is not None]
        lanes = known[:_MOST_LANES] or said[:1]
        room = (chart.shape[0] - foot) // max(len(lanes), 1)
        for index, window in enumerate(lanes):
            lane = chart[index * room : (index + 1) * room]
            self._lane(lane, window, time, letters)
        if foot:
            low = (round(8 * letters), chart.shape[0] - round(10 * letters))
            _write(chart, self._prediction.warning.upper(), low, letters, (255, 190, 90))
        return np.concatenate([picture, chart])

    def _box(
        self, picture: np.ndarray, window: WindowPrediction, time: float, letters: float
    ) -> None:
        assert window.face is not None
        path = self._paths.get(window.face)
        if path is None or np.abs(path.times - time).min() > _BOX_GAP_SECONDS:
            return
        height, width = picture.shape[:2]
        shares = [np.interp(time, path.times, path.boxes[:, side]) for side in range(4)]
        left, top, right, bottom = (
            round(float(share) * side)
            for share, side in zip(shares, (width, height) * 2, strict=True)
        )
        colour = self._colour(window.emotion)
        thickness = max(2, round(2 * letters))
        cv2.rectangle(picture, (left, top), (right, bottom), colour, thickness, cv2.LINE_AA)
        text = caption(window, beside=2)
        (wide, tall), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, letters, 1)
        x = min(max(left, 0), max(width - wide - 8, 0))
        y = max(top, tall + 10)
        cv2.rectangle(picture, (x, y - tall - 10), (x + wide + 8, y), _BACKGROUND, -1)
        _write(picture, text, (x + 4, y - 6), letters)

    def _lane(
        self, lane: np.ndarray, window: WindowPrediction, time: float, letters: float
    ) -> None:
        """The last seconds of one timeline: a line an emotion, the present at the right."""
        height, width = lane.shape[:2]
        legend = round(230 * letters)
        left, right, top, bottom = 8, width - legend, 6, height - 6
        cv2.rectangle(lane, (left, top), (right, bottom), _FAINT, 1)
        _write(lane, caption(window, beside=2), (left + 6, top + round(24 * letters)), letters)
        if window.probabilities is None:
            return
        known = [w for w in self._prediction.of_face(window.face) if w.probabilities is not None]
        times = np.array([(w.start + w.end) / 2 for w in known])
        values = np.array([w.probabilities for w in known])
        ticks = np.linspace(time - _CHART_SECONDS, time, 120)
        nearest = np.abs(ticks[:, None] - times[None]).min(axis=1)
        half = (window.end - window.start) / 2
        drawn = (ticks >= 0) & (nearest <= half)
        x = left + (ticks - ticks[0]) / _CHART_SECONDS * (right - left)
        now = window.probabilities
        for emotion in np.argsort(now):
            y = bottom - np.interp(ticks, times, values[:, emotion]) * (bottom - top)
            points = np.stack([x, y], axis=1)[drawn].round().astype(np.int32)
            strong = emotion == int(np.argmax(now))
            if len(points) > 1:
                cv2.polylines(
                    lane,
                    [points],
                    False,
                    self._colours[emotion],
                    3 if strong else 1,
                    cv2.LINE_AA,
                )
        rows = max(1, int((bottom - top) / (30 * letters)))
        names = self._prediction.emotions
        likeliest = in_order(names[emotion] for emotion in np.argsort(-now)[:rows])
        for row, name in enumerate(likeliest):
            emotion = names.index(name)
            text = f"{name} {100 * now[emotion]:.0f} %"
            x, y = right + 8, top + round((row + 0.8) * 30 * letters)
            side = round(16 * letters)
            # Dark colours are told on a dark lane as a patch, but not as thin letters.
            cv2.rectangle(lane, (x, y - side), (x + side, y), self._colours[emotion], -1)
            _write(lane, text, (x + side + 6, y), 0.9 * letters)

    def _colour(self, emotion: str | None) -> tuple[int, int, int]:
        if emotion is None:
            return _INK
        return self._colours[self._prediction.emotions.index(emotion)]


def _write(
    picture: np.ndarray,
    text: str,
    place: tuple[int, int],
    letters: float,
    colour: tuple[int, int, int] = _INK,
) -> None:
    # Hershey's letters are ASCII.
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(picture, plain, place, cv2.FONT_HERSHEY_SIMPLEX, letters, colour, 1, cv2.LINE_AA)
