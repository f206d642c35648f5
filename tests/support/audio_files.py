"""Small real audio files for tests: tracks of any channels, in any codec."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.resampler import AudioResampler


def chirp(seconds: float, rate: int = 48_000) -> np.ndarray:
    """A tone that rises from 200 to 2,000 Hz, so that every moment sounds different; float32."""
    times = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * (200 * times + 900 * times**2 / seconds)
    return (0.3 * np.sin(phase)).astype(np.float32)


def write_audio(
    path: Path,
    *tracks: np.ndarray,
    layout: str = "mono",
    rate: int = 48_000,
    codec: str = "aac",
    default: int | None = None,
    start: float = 0.0,
) -> Path:
    """Write tracks [C, N] or [N] (float, 1 = full scale) of one `layout` to `path`.

    `default`: the index of the only track that is marked so; None = as the format does it.
    `start`: seconds at which the tracks begin.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        streams = []
        for index in range(len(tracks)):
            stream = container.add_stream(codec, rate=rate)
            stream.layout = layout
            if codec == "wmav2":
                stream.bit_rate = 128_000
            if default is not None:
                marked = av.stream.Disposition.default if index == default else 0
                stream.disposition = av.stream.Disposition(marked)
            streams.append(stream)
        for stream, samples in zip(streams, tracks, strict=True):
            _encode(container, stream, np.atleast_2d(samples), layout, rate, start)
    return path


def _encode(container, stream, samples, layout, rate, start) -> None:
    if not stream.codec_context.is_open:
        stream.codec_context.open()
    size = stream.codec_context.frame_size or 1024
    resampler = AudioResampler(stream.codec_context.format.name, layout, rate, frame_size=size)
    whole = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(samples.T, np.float32).reshape(1, -1), format="flt", layout=layout
    )
    whole.sample_rate, whole.pts, whole.time_base = rate, round(start * rate), Fraction(1, rate)
    for frame in (*resampler.resample(whole), *resampler.resample(None)):
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
