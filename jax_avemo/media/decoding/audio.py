"""Decoded audio as 16 kHz mono: mixed from its channels, laid out by its time stamps."""

from typing import Any

import numpy as np
from av.audio.resampler import AudioResampler
from jaxtyping import Float, Float32, Int16

from jax_avemo.schema import AUDIO_SAMPLE_RATE

_GAP_SECONDS = 0.02
"""Audio whose time stamp strays further than this from the samples before it begins anew there."""
_SILENT_PEAK = 1e-4
"""A track that never exceeds this is silent: -80 dB of full scale, 3 steps of 16 bits. The softest
of RAVDESS's takes peak at -38 dB."""
_CANCELLED_SHARE = 0.2
"""A mean of channels with less than this share of the loudest one's power (-7 dB) has cancelled
it. Two channels that have nothing in common keep 0.5."""
_CENTRE_SHARE = 0.01
"""A centre channel with this share of the loudest one's power (-20 dB) carries the dialogue."""
_UNUSED_SHARE = 1e-4
"""A channel with less than this share of the loudest one's power (-40 dB) is not in use."""
_MEASURED_SECONDS = 60.0
"""Audio above silence from which the mix is chosen."""

Channels = tuple[str, ...]


class AudioLevels:
    """Powers of a track's channels, from which its mono mix is chosen.

    `unbounded`: samples may exceed full scale without being an encoder's overshoot (PCM as
    floating point), so that the whole track is measured and scaled by its peak.
    """

    def __init__(self, *, unbounded: bool = False) -> None:
        self.unbounded = unbounded
        self.peak = 0.0
        """Largest absolute sample, 1 = full scale."""
        self._covariances: dict[Channels, Float[np.ndarray, "C C"]] = {}
        self._seconds = 0.0

    @property
    def silent(self) -> bool:
        """Whether nothing above silence was measured."""
        return self.peak < _SILENT_PEAK

    @property
    def enough(self) -> bool:
        """Whether more audio would change nothing."""
        return self._seconds >= _MEASURED_SECONDS and not self.unbounded

    def add(self, frame: Any) -> None:
        """Measure a decoded PyAV frame."""
        if self.enough:
            return
        samples = _channel_samples(frame)
        if not samples.size:
            return
        peak = float(np.abs(samples).max())
        if peak >= _SILENT_PEAK:
            self.peak = max(self.peak, peak)
            self._seconds += frame.samples / frame.sample_rate
            known = self._covariances.setdefault(_channels(frame), np.zeros([len(samples)] * 2))
            wide = samples.astype(np.float64)  # the square of a large float32 is none any more
            known += wide @ wide.T

    def mix(self, channels: Channels) -> Float32[np.ndarray, " C"]:
        """Weight of each channel in the mono mix.

        The centre channel where there is one that is heard, else the mean of those in use but the
        subwoofer, else, where they cancel each other (a cable with its poles swapped), the loudest.
        """
        count = len(channels)
        covariance = self._covariances.get(channels, np.eye(count))
        power = np.diag(covariance) * np.array([name != "LFE" for name in channels])
        in_use = power >= _UNUSED_SHARE * power.max()
        weights = in_use / in_use.sum()
        if "FC" in channels and power[channels.index("FC")] > _CENTRE_SHARE * power.max():
            weights = np.eye(count)[channels.index("FC")]
        elif weights @ covariance @ weights < _CANCELLED_SHARE * power.max():
            weights = np.eye(count)[np.argmax(power)]
        if self.unbounded:
            weights = weights / max(1.0, self.peak)
        return weights.astype(np.float32)


class AudioTrack:
    """Collects a clip's decoded audio; `length` seconds are wanted, None = all there is.

    `measured`: `levels` are the whole track's already, and samples can be taken as they come; else
    they are measured of what is added, and only `finish` can tell the samples.
    """

    def __init__(
        self, length: float | None, levels: AudioLevels | None = None, *, measured: bool = False
    ) -> None:
        self.levels = AudioLevels() if levels is None else levels
        self._measured = measured
        self._length = length
        # First sample of what is not taken yet, its channels, and its blocks.
        self._pieces: list[tuple[int, Channels, list[np.ndarray]]] = []
        self._resampler: AudioResampler | None = None
        self._layout: tuple[str, str, int] | None = None
        self._expected = 0.0
        self.end = 0.0
        """Clip time up to which audio was seen, seconds."""

    def add(self, frame: Any, time: float | None) -> None:
        """Take a decoded PyAV frame that begins at clip `time`; None = right after the last."""
        time = self._expected if time is None else time
        seconds = frame.samples / frame.sample_rate
        layout = (frame.format.name, frame.layout.name, frame.sample_rate)
        wanted = time + seconds > 0 and (self._length is None or time < self._length)
        if wanted:
            if not self._measured:
                self.levels.add(frame)
            jumped = abs(time - self._expected) > _GAP_SECONDS
            if self._resampler is None or jumped or layout != self._layout:
                self._flush()
                self._resampler = AudioResampler("flt", frame.layout.name, AUDIO_SAMPLE_RATE)
                self._layout = layout
                self._pieces.append((round(time * AUDIO_SAMPLE_RATE), _channels(frame), []))
            self._collect(self._resampler, frame)
        self._expected = time + seconds
        self.end = max(self.end, self._expected)

    def _collect(self, resampler: AudioResampler, frame: Any) -> None:
        if frame is not None:
            # Sample counts carry the clock from here; the piece's beginning holds its time.
            frame.pts = None
        for resampled in resampler.resample(frame):
            self._pieces[-1][2].append(_channel_samples(resampled))

    def _flush(self) -> None:
        if self._resampler is not None:
            self._collect(self._resampler, None)
            self._resampler = None

    def finish(self) -> Int16[np.ndarray, "N"]:
        """Everything from clip time 0 to `length`, zeros where no audio was."""
        laid = self.take(last=True)
        audio = np.zeros(max((first + part.size for first, part in laid), default=0), np.int16)
        for first, part in laid:
            audio[first : first + part.size] = part
        return audio

    def take(self, *, last: bool = False) -> list[tuple[int, Int16[np.ndarray, "N"]]]:
        """What came since the last call, as (first sample, samples); later ones count.

        `last` also gives what the resampler still holds. Before it, only with `measured` levels.
        """
        if last:
            self._flush()
        limit = None if self._length is None else round(self._length * AUDIO_SAMPLE_RATE)
        laid: list[tuple[int, np.ndarray]] = []
        for index, (position, channels, blocks) in enumerate(self._pieces):
            samples = _mixed(blocks, self.levels.mix(channels))
            self._pieces[index] = (position + samples.size, channels, [])
            first = position
            if first < 0:
                samples, first = samples[-first:], 0
            if limit is not None:
                samples = samples[: max(limit - first, 0)]
            if samples.size:
                laid.append((first, samples))
        del self._pieces[:-1]
        return laid


def _channels(frame: Any) -> Channels:
    return tuple(channel.name for channel in frame.layout.channels)


def _channel_samples(frame: Any) -> Float32[np.ndarray, "C N"]:
    """Samples of a frame in any format, 1 = full scale; what is no number is 0."""
    samples = frame.to_ndarray()
    if frame.format.is_packed:
        samples = samples.reshape(-1, len(frame.layout.channels)).T
    if samples.dtype.kind == "u":
        return (samples.astype(np.float32) - 128) / 128
    if samples.dtype.kind == "i":
        return samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    return np.nan_to_num(samples, posinf=0, neginf=0).astype(np.float32)


def _mixed(blocks: list[np.ndarray], weights: Float32[np.ndarray, " C"]) -> Int16[np.ndarray, " N"]:
    """The mono mix of blocks [C, n] one after the other."""
    mono = [np.rint(weights @ block * 32768).clip(-32768, 32767) for block in blocks]
    return np.concatenate([np.zeros(0, np.int16), *mono]).astype(np.int16)
