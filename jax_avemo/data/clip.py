"""Clips of media files, the same for training and prediction."""

import dataclasses
import functools
import itertools
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import cv2
import msgpack
import numpy as np
from jaxtyping import UInt8

from jax_avemo.media.decoding.container import MediaError
from jax_avemo.media.decoding.decode import read_media
from jax_avemo.media.faces.main_face import FACE_FALLBACKS, FaceDetector, FaceTrack, track_and_crop
from jax_avemo.runtime.errors import UserError
from jax_avemo.schema import AUDIO_SAMPLE_RATE, Clip, Labels, Recording


@dataclass(frozen=True)
class ClipOptions:
    """How clips are made: recorded with them, and equal for all clips of a data set."""

    frame_size: int
    """Pixels of a side of the face crop."""
    frames_per_second: float
    """Frames stored a second of a recording; a source of fewer keeps all it has."""
    max_seconds: float
    """Longer recordings are refused."""
    jpeg_quality: int = 92
    face_fallback: str = "reject"
    """What becomes of a recording without a face: refused, or the middle of each picture."""
    need_video: bool = True
    need_audio: bool = True
    audio_track: int = 0
    """From 1; 0 = the default track, or where that is silent the first that is not."""

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("frame_size", self.frame_size, 16, 1024),
            ("frames_per_second", self.frames_per_second, 0.1, 240),
            ("max_seconds", self.max_seconds, 0.1, 24 * 3600),
            ("jpeg_quality", self.jpeg_quality, 1, 100),
            ("audio_track", self.audio_track, 0, 99),
        ):
            if not low <= value <= high:
                raise UserError(f"{name} is {value}, allowed are {low} to {high}")
        if self.face_fallback not in FACE_FALLBACKS:
            known = " or ".join(FACE_FALLBACKS)
            raise UserError(f"face_fallback is {self.face_fallback!r}, not {known}")

    def to_dict(self) -> dict[str, Any]:
        """As it is recorded; 12 and 12.0 frames a second are the same."""
        options = dataclasses.asdict(self)
        if not self.audio_track:
            del options["audio_track"]  # as clips were recorded before there was a choice
        seconds = {
            "frames_per_second": float(self.frames_per_second),
            "max_seconds": float(self.max_seconds),
        }
        return {**options, **seconds}


def make_clip(
    recording: Recording, options: ClipOptions, *, detector: FaceDetector | None = None
) -> Clip:
    """Decode a recording, cut out its face, and keep its sound at 16 kHz.

    The same file and options give the same bytes. `detector` spares loading one for every clip
    (12 ms). Raises MediaError, with the file's path, for what cannot be used.
    """
    read = functools.partial(
        read_media,
        start=recording.start,
        end=recording.end,
        frames_per_second=options.frames_per_second,
        max_seconds=options.max_seconds,
    )
    heard: dict[str, Any] = {"need_audio": options.need_audio, "audio_track": options.audio_track}
    alone = heard if recording.sound is None else {"need_audio": False}
    try:
        media = read(recording.path, need_video=options.need_video, **alone)
        audio, duration = media.audio, media.duration
        if recording.sound is not None:
            other = read(recording.sound, need_video=False, **heard)
            audio, duration = other.audio, max(duration, other.duration)
        if not recording.has_audio:
            audio = audio[:0]
        if not recording.has_video:
            duration = audio.size / AUDIO_SAMPLE_RATE
        first = next(media.frames, None) if recording.has_video else None
        track = FaceTrack([], np.zeros(0), np.zeros(0, bool))
        if first is not None:
            track = track_and_crop(
                itertools.chain([first], media.frames),
                options.frame_size,
                fallback=options.face_fallback,
                detector=detector,
            )
    except MediaError as error:
        raise MediaError(error.reason, recording.path) from error
    return Clip(
        labels=recording.labels,
        frames=tuple(encode_jpeg(crop, options.jpeg_quality) for crop in track.crops),
        frame_times=track.times.astype(np.float32),
        face_found=track.found,
        frame_size=options.frame_size,
        audio=audio,
        duration=float(np.float32(duration)),  # as records have it
    )


def encode_jpeg(image: UInt8[np.ndarray, "H W 3"], quality: int) -> bytes:
    """RGB picture -> JPEG file."""
    # OpenCV takes and gives blue first.
    ok, data = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not ok:
        raise ValueError(f"a picture of shape {image.shape} cannot be stored as JPEG")
    return data.tobytes()


def decode_jpeg(data: bytes) -> UInt8[np.ndarray, "H W 3"]:
    """JPEG file -> RGB picture; raises UserError when it is none."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
    if image is None:
        raise UserError("a stored frame is damaged: prepare the clips again")
    return image


def clip_to_bytes(clip: Clip) -> bytes:
    """A clip as one block: how it is staged and sent between processes."""
    return pack(
        {
            **vars(clip),
            "labels": vars(clip.labels),
            "frame_times": np.asarray(clip.frame_times, "<f4").tobytes(),
            "face_found": np.asarray(clip.face_found, "u1").tobytes(),
            "audio": np.asarray(clip.audio, "<i2").tobytes(),
        }
    )


def clip_from_bytes(data: bytes) -> Clip:
    """The clip that `clip_to_bytes` made; ValueError when the block is damaged."""
    stored = unpack(data)
    return Clip(
        labels=Labels(**stored["labels"]),
        frames=tuple(stored["frames"]),
        frame_times=np.frombuffer(stored["frame_times"], "<f4").astype(np.float32),
        face_found=np.frombuffer(stored["face_found"], "u1").astype(bool),
        frame_size=stored["frame_size"],
        audio=np.frombuffer(stored["audio"], "<i2").astype(np.int16),
        duration=stored["duration"],
    )


def pack(value: Any) -> bytes:
    """Plain values (numbers, text, bytes, lists, dictionaries) as one block with a checksum."""
    body = msgpack.packb(value)
    return struct.pack("<I", zlib.crc32(body)) + body


def unpack(data: bytes) -> Any:
    """What `pack` was given, tuples as lists; ValueError when the block is damaged."""
    if data[:4] != struct.pack("<I", zlib.crc32(data[4:])):
        raise ValueError("a clip's checksum is wrong")
    return msgpack.unpackb(data[4:], strict_map_key=False)
