"""How decoded sound is laid out: 16 kHz mono, by its time stamps."""

from typing import Any

import numpy as np
from av.audio.resampler import AudioResampler
from jaxtyping import Int16

from jax_avemo.schema import AUDIO_SAMPLE_RATE

_GAP_SECONDS = 0.02
"""Sound whose time stamp strays further than this from the samples before it begins anew there."""


class SoundTrack:
    """Collects a clip's decoded sound; `length` seconds are wanted, None = all there is."""

    def __init__(self, length: float | None) -> None:
        self._length = length
        self._pieces: list[tuple[int, list[np.ndarray]]] = []
        # First sample of what is not taken yet, and its blocks.
        self._resampler: AudioResampler | None = None
        self._layout: tuple[str, str, int] | None = None
        self._expected = 0.0
        self.end = 0.0
        """Clip time up to which sound was seen, seconds."""

    def add(self, frame: Any, time: float | None) -> None:
        """Take a decoded PyAV frame that begins at clip `time`; None = right after the last."""
        time = self._expected if time is None else time
        seconds = frame.samples / frame.sample_rate
        layout = (frame.format.name, frame.layout.name, frame.sample_rate)
        wanted = time + seconds > 0 and (self._length is None or time < self._length)
        if wanted:
            jumped = abs(time - self._expected) > _GAP_SECONDS
            if self._resampler is None or jumped or layout != self._layout:
                self._flush()
                self._resampler = AudioResampler("s16", "mono", AUDIO_SAMPLE_RATE)
                self._layout = layout
                self._pieces.append((round(time * AUDIO_SAMPLE_RATE), []))
            self._collect(self._resampler, frame)
        self._expected = time + seconds
        self.end = max(self.end, self._expected)

    def _collect(self, resampler: AudioResampler, frame: Any) -> None:
        if frame is not None:
            # Sample counts carry the clock from here; the piece's beginning holds its time.
            frame.pts = None
        for resampled in resampler.resample(frame):
            self._pieces[-1][1].append(resampled.to_ndarray().reshape(-1))

    def _flush(self) -> None:
        if self._resampler is not None:
            self._collect(self._resampler, None)
            self._resampler = None

    def finish(self) -> Int16[np.ndarray, "N"]:
        """Everything from clip time 0 to `length`, silence where no sound was."""
        laid = self.take(last=True)
        audio = np.zeros(max((first + part.size for first, part in laid), default=0), np.int16)
        for first, part in laid:
            audio[first : first + part.size] = part
        return audio

    def take(self, *, last: bool = False) -> list[tuple[int, Int16[np.ndarray, "N"]]]:
        """What came since the last call, as (first sample, samples); later ones count.

        `last` also gives what the resampler still holds.
        """
        if last:
            self._flush()
        limit = None if self._length is None else round(self._length * AUDIO_SAMPLE_RATE)
        laid: list[tuple[int, np.ndarray]] = []
        for index, (position, blocks) in enumerate(self._pieces):
            samples = np.concatenate([np.zeros(0, np.int16), *blocks])
            self._pieces[index] = (position + samples.size, [])
            first = position
            if first < 0:
                samples, first = samples[-first:], 0
            if limit is not None:
                samples = samples[: max(limit - first, 0)]
            if samples.size:
                laid.append((first, samples))
        del self._pieces[:-1]
        return laid
