"""PyTorch twins of log-mel bands, prosody and functionals.

The twins of `jax_avemo.models.{spectral,prosody,functionals}` for sounds that fill the input:
spectrum and pitch are computed once for both uses, as XLA does.
"""

from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from jax_avemo.models.audio import functionals, prosody, spectral
from jax_avemo.models.audio.spectral import SpectralFrontEnd
from jax_avemo.schema import AUDIO_SAMPLE_RATE


class Sound(nn.Module):
    """B N -> features B T C and functionals B F."""

    def __init__(self, front_end: SpectralFrontEnd) -> None:
        super().__init__()
        self.given = front_end
        rate, fft_size = AUDIO_SAMPLE_RATE, front_end.fft_size
        self.rate = rate
        self.hop = round(front_end.hop_seconds * rate)
        window = spectral.hann_window(round(front_end.window_seconds * rate), fft_size)
        bands = spectral.mel_filter_bank(
            rate, fft_size, front_end.mel_bands, spectral.LOW_HZ, spectral.HIGH_HZ
        )
        centres = spectral.mel_frequencies(front_end.mel_bands, spectral.LOW_HZ, spectral.HIGH_HZ)[
            1:-1
        ]
        self.tilt_bands = [
            np.flatnonzero((centres >= low) & (centres < high)).tolist()
            for low, high in pairwise(functionals.BAND_EDGES_HZ)
        ]
        slow_rate = rate / prosody.DECIMATION
        self.slow_width = round(prosody.WINDOW_SECONDS * slow_rate)
        slow_window = np.hanning(self.slow_width + 2)[1:-1].astype(np.float32)
        lags = slow_rate / prosody.candidate_pitches()
        window_power = np.abs(np.fft.rfft(slow_window, prosody.FFT_SIZE)) ** 2
        correlation = (window_power @ _at_lags(lags)) / (slow_window**2).sum()
        octaves = np.log2(prosody.candidate_pitches() / prosody.REFERENCE_HZ)
        for name, constant in {
            "window": window,
            "bands": bands,
            "slow_window": slow_window,
            "to_lags": _at_lags(lags) / correlation,
            "to_energy": _at_lags(np.zeros(1)),
            "octaves": octaves,
            "to_cepstra": spectral.cosine_transform(
                front_end.mel_bands, min(functionals.CEPSTRA, front_end.mel_bands)
            ),
        }.items():
            tensor = torch.from_numpy(np.asarray(constant, np.float32))
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, audio: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        frames = 1 + audio.shape[1] // self.hop
        real = -(-audio.shape[1] // self.hop)  # a frame centred on the very end is not
        log_mel = self.log_mel(audio)[:, :real]
        pitch, voicing = self.pitch(audio, real)
        static = (log_mel + spectral.LOG_OFFSET) / spectral.LOG_SCALE
        voice = self.prosody(audio, pitch, voicing)
        features = torch.cat(
            [static, static - static.mean(1, keepdim=True), spectral.PROSODY_SCALE * voice], dim=-1
        )
        return F.pad(features, (0, 0, 0, frames - real)), self.functionals(log_mel, pitch, voicing)

    def log_mel(self, audio: torch.Tensor) -> torch.Tensor:
        size = self.given.fft_size
        frames = F.pad(audio, (size // 2, size // 2)).unfold(1, size, self.hop)
        spectrum = torch.fft.rfft(frames * self.window)
        power = spectrum.real.square() + spectrum.imag.square()
        return (power @ self.bands + spectral.LOG_FLOOR).log()

    def pitch(self, audio: torch.Tensor, frames: int) -> tuple[torch.Tensor, torch.Tensor]:
        step, width = prosody.DECIMATION, self.slow_width
        slow = audio[:, : audio.shape[1] // step * step].unflatten(1, (-1, step)).mean(2)
        hop = self.hop // step
        cut = F.pad(slow, (width // 2, width + hop)).unfold(1, width, hop)[:, :frames]
        cut = (cut - cut.mean(-1, keepdim=True)) * self.slow_window
        spectrum = torch.fft.rfft(cut, prosody.FFT_SIZE)
        power = spectrum.real.square() + spectrum.imag.square()
        salience = (power @ self.to_lags) / (power @ self.to_energy + 1e-6)
        ranked = salience + prosody.OCTAVE_COST * (self.octaves - self.octaves.min())
        choice = (prosody.SHARPNESS * ranked).softmax(-1)
        return choice @ self.octaves, (choice * salience).sum(-1).clamp(0.0, 1.0)

    def prosody(
        self, audio: torch.Tensor, pitch: torch.Tensor, voicing: torch.Tensor
    ) -> torch.Tensor:
        voiced = voicing.square()
        mean_pitch = (voiced * pitch).sum(1) / (voiced.sum(1) + 1e-6)
        width = round(prosody.WINDOW_SECONDS * self.rate)
        sums = F.pad(audio.square(), (width // 2 + 1, width)).cumsum(1)
        first = torch.arange(pitch.shape[1], device=audio.device) * self.hop
        power = ((sums[:, first + width] - sums[:, first]) / width).clamp(min=0)
        level = ((power + prosody.LEVEL_FLOOR).log() + 7.0) / 3.0
        channels = [voicing, voiced * pitch, voiced * (pitch - mean_pitch[:, None])]
        return torch.stack([*channels, level, level - level.mean(1, keepdim=True)], dim=-1)

    def functionals(
        self, log_mel: torch.Tensor, pitch: torch.Tensor, voicing: torch.Tensor
    ) -> torch.Tensor:
        hop = self.given.hop_seconds
        everywhere = torch.ones_like(voicing, dtype=torch.bool)
        ordinary = quantile(voicing, everywhere, 0.8)
        voiced = voicing >= ordinary.clamp(max=functionals.LEAST_VOICING)[:, None]
        pitch = pitch - (pitch - quantile(pitch, voiced, 0.5)[:, None]).round()
        power = log_mel.exp()
        level = power.sum(-1).log()
        quiet, loud = quantile(level, everywhere, 0.05), quantile(level, everywhere, 0.95)
        active = level > (quiet + functionals.ACTIVE_SHARE * (loud - quiet))[:, None]
        frame = torch.arange(level.shape[1], device=level.device).expand_as(level).float()
        time = (frame - mean(frame, voiced)[:, None]) / active.sum(1).clamp(min=1)[:, None]
        rise = mean(time * (pitch - mean(pitch, voiced)[:, None]), voiced)
        pairs = voiced[:, 1:] & voiced[:, :-1]
        triples = pairs[:, 1:] & pairs[:, :-1]
        jitter = pitch.diff(dim=1).abs()
        bands = [
            (power[..., band].sum(-1) + functionals.BAND_FLOOR).log() for band in self.tilt_bands
        ]
        values = [
            span(active) * hop,
            span(voiced) * hop,
            voiced.sum(1) * hop,
            active.sum(1) * hop,
            quantile(pitch, voiced, 0.5),
            deviation(pitch, voiced),
            quantile(pitch, voiced, 0.9) - quantile(pitch, voiced, 0.1),
            rise / (mean(time.square(), voiced) + 1e-4),
            quantile(jitter, pairs, 0.5),
            mean(jitter, pairs),
            quantile(pitch.diff(n=2, dim=1).abs(), triples, 0.5),
            mean(voicing, voiced),
            mean(voicing, active),
            mean(level, voiced),
            loud - quiet,
            deviation(level, voiced),
            *[mean(lower - upper, voiced) for lower, upper in pairwise(bands)],
        ]
        cepstra = log_mel @ self.to_cepstra
        differences = cepstra[:, 2:] - cepstra[:, :-2]
        inner = active[:, 1:-1]
        spectrum = [
            mean(log_mel, active),
            deviation(log_mel, active),
            log_mel.amax(1),
            mean(cepstra, active),
            deviation(cepstra, active),
            deviation(differences, inner),
            mean(differences.abs(), inner),
        ]
        return torch.cat([torch.stack(values, dim=-1), *spectrum], dim=-1)


def _at_lags(lags: np.ndarray) -> np.ndarray:
    """Power spectrum -> autocorrelation at these lags; see `prosody.periodicity`."""
    bins = prosody.FFT_SIZE // 2 + 1
    weight = np.full((bins, 1), 2.0)
    weight[[0, -1]] = 1.0
    turns = np.arange(bins)[:, None] * lags[None] / prosody.FFT_SIZE
    return weight * np.cos(2 * np.pi * turns) / prosody.FFT_SIZE


def quantile(x: torch.Tensor, of: torch.Tensor, share: float) -> torch.Tensor:
    """See `functionals.masked_quantile`."""
    count = of.sum(1)
    ordered = torch.where(of, x, torch.inf).sort(1).values
    rank = (share * (count - 1)).round().long().clamp(min=0)
    return torch.where(count > 0, ordered.gather(1, rank[:, None])[:, 0], 0.0)


def mean(x: torch.Tensor, of: torch.Tensor) -> torch.Tensor:
    """Over the true elements of each row; x B T or B T C."""
    of = of.reshape(of.shape + (1,) * (x.dim() - 2))
    return torch.where(of, x, 0.0).sum(1) / of.sum(1).clamp(min=1)


def deviation(x: torch.Tensor, of: torch.Tensor) -> torch.Tensor:
    """Standard deviation likewise."""
    return (mean((x - mean(x, of)[:, None]).square(), of) + 1e-8).sqrt()


def span(of: torch.Tensor) -> torch.Tensor:
    """Frames from the first true one to the last."""
    frame = torch.arange(of.shape[1], device=of.device, dtype=torch.float32)
    last = torch.where(of, frame, -1.0).amax(1)
    return torch.where(last >= 0, last - torch.where(of, frame, torch.inf).amin(1), 0.0)
