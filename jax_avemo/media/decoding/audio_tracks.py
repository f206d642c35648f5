"""Choice among the audio tracks of a file: the default one, or the one that is not silent."""

from pathlib import Path
from typing import Any

import av

from jax_avemo.media.decoding.audio import AudioLevels
from jax_avemo.media.decoding.container import audio_stream, opened, ordered_audio_streams


def heard_stream(container: Any, path: Path, number: int = 0) -> Any:
    """The audio track to read: `number` (from 1), or 0 = chosen. None = there is none.

    Chosen is the default track, or where that is silent the first that is not; a file's only
    track without looking. Raises MediaError when there is no track of that number.
    """
    ordered = ordered_audio_streams(container)
    if number or len(ordered) < 2:
        return audio_stream(container, number)
    return next((stream for stream in ordered if _sounds(path, stream.index)), ordered[0])


def new_levels(stream: Any) -> AudioLevels:
    """Levels yet to be measured of an audio stream."""
    return AudioLevels(unbounded=stream.codec_context.codec.name.startswith("pcm_f"))


def _sounds(path: Path, index: int) -> bool:
    with opened(path) as container:
        stream = container.streams[index]
        levels = new_levels(stream)
        for packet in container.demux(stream):
            try:
                for frame in packet.decode():
                    levels.add(frame)
            except av.error.FFmpegError:
                continue
            if not levels.silent:
                return True
    return False
