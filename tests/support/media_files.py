"""Small real media files for tests: pictures at chosen times, sound that begins when asked."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import skimage.data


def face_picture(side: int = 128) -> np.ndarray:
    """A photographed face that fills about half of a square picture, RGB."""
    return cv2.resize(
        skimage.data.astronaut()[20:220, 130:330], (side, side), interpolation=cv2.INTER_AREA
    )


def face_takes(count: int, side: int = 128) -> list[np.ndarray]:
    """A face that sways a little from picture to picture."""
    picture = face_picture(side)
    shifts = [3 * np.sin(index / 3) for index in range(count)]
    return [
        cv2.warpAffine(
            picture,
            np.array([[1, 0, shift], [0, 1, shift / 2]]),
            (side, side),
            borderMode=cv2.BORDER_REPLICATE,
        )
        for shift in shifts
    ]


def wall(height: int, width: int) -> np.ndarray:
    """A wall of black and white tiles, so rich that a face that comes or goes is no cut, RGB."""
    tiles = np.random.default_rng(0).integers(0, 2, (height // 32 + 1, width // 32 + 1), np.uint8)
    picture = 255 * tiles.repeat(32, 0).repeat(32, 1)[:height, :width]
    return np.ascontiguousarray(picture[..., None].repeat(3, -1))


def tone(seconds: float, hertz: float = 440.0, rate: int = 48_000) -> np.ndarray:
    """A sine at 0.3 of full scale, float32."""
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(
        np.float32
    )


def write_media(
    path: Path,
    pictures: Sequence[np.ndarray] = (),
    *,
    times: Sequence[float] | None = None,
    frames_per_second: int = 10,
    sound: np.ndarray | None = None,
    rate: int = 48_000,
    layout: str = "mono",
    sound_start: float = 0.0,
    gap: tuple[float, float] | None = None,
    video_codec: str = "libx264",
    pixel_format: str = "yuv420p",
    audio_codec: str = "aac",
    options: dict[str, str] | None = None,
) -> Path:
    """Write RGB pictures (at `times`, or evenly) and mono `sound` to `path`.

    `gap` = (from, seconds): the sound's time stamps jump by so much there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # MPEG-2 knows only the rates of television.
    base = Fraction(1, frames_per_second if video_codec == "mpeg2video" else 1000)
    with av.open(str(path), "w", options=options or {}) as container:
        video = audio = None
        if len(pictures):
            video = container.add_stream(video_codec, rate=frames_per_second)
            video.height, video.width = pictures[0].shape[:2]
            video.pix_fmt = "yuvj420p" if video_codec == "mjpeg" else pixel_format
            video.codec_context.time_base = base
            if video_codec == "libx264":
                video.options = {"crf": "12", "preset": "ultrafast", "threads": "1"}
        if sound is not None:
            audio = container.add_stream(audio_codec, rate=rate)
            audio.layout = layout
            if audio_codec == "wmav2":
                audio.bit_rate = 128_000
        for index, pixels in enumerate(pictures):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            time = index / frames_per_second if times is None else times[index]
            picture.pts, picture.time_base = round(time / base), base
            container.mux(video.encode(picture))
        if video is not None:
            container.mux(video.encode())
        if audio is not None:
            _mux_sound(container, audio, sound, rate, layout, sound_start, gap)
    return path


def _mux_sound(container, audio, sound, rate, layout, start, gap) -> None:
    kind = "fltp" if audio.codec_context.format.name == "fltp" else "s16"
    channels = {"mono": 1, "stereo": 2}[layout]
    for first in range(0, len(sound), 1024):
        piece = sound[first : first + 1024]
        if kind == "fltp":
            block = np.repeat(piece[None], channels, axis=0)
        else:
            block = np.repeat((piece * 32767).astype(np.int16)[:, None], channels, 1).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format=kind, layout=layout)
        time = first / rate + start
        if gap is not None and first / rate >= gap[0]:
            time += gap[1]
        frame.sample_rate, frame.pts, frame.time_base = rate, round(time * rate), Fraction(1, rate)
        container.mux(audio.encode(frame))
    container.mux(audio.encode())
