"""Log-mel bands and MFCCs, as differentiable JAX functions.

Frames are centred: frame t is centred on sample t * hop, with zeros before the sound and after it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jax_avemo.models.audio import functionals, prosody
from jax_avemo.models.audio.fourier import rfft
from jax_avemo.models.audio.framing import overlapping_frames
from jax_avemo.models.layers.attention import masked_mean
from jax_avemo.schema import AUDIO_SAMPLE_RATE

LOG_FLOOR = 1e-5
"""Added to a band's power before the logarithm: 13 to 23 dB above the rounding noise of
16-bit samples (measured, from the widest band to the narrowest)."""
LOG_OFFSET, LOG_SCALE = 4.0, 3.0
"""(log-mel + 4) / 3 lies between -2.5, digital silence, and 5, a tone at full scale."""
DECIBEL_FLOOR = 1e-10
DECIBEL_RANGE = 80.0
"""MFCCs see nothing further than this below a clip's loudest band, as in librosa."""
PROSODY_SCALE = 3.0
LOW_HZ, HIGH_HZ = 50.0, 7800.0
COEFFICIENTS = 40
"""Cepstral coefficients."""
DELTA_WIDTH = 9
"""Frames in the window of a time derivative, as in librosa."""


def mel_frequencies(mel_bands: int, low_hz: float, high_hz: float) -> np.ndarray:
    """Lower end, centre of each band and upper end, equally spaced in 2595 log10(1 + Hz / 700).

    float64 [mel_bands + 2]; the centre of a band is the end of both its neighbours.
    """
    import librosa  # 0.4 s, and only what traces a network needs it

    return librosa.mel_frequencies(mel_bands + 2, fmin=low_hz, fmax=high_hz, htk=True)


def mel_filter_bank(
    sample_rate: int, fft_size: int, mel_bands: int, low_hz: float, high_hz: float
) -> np.ndarray:
    """Triangular filters of height 1 between the `mel_frequencies`.

    float32 [fft_size // 2 + 1, mel_bands].
    """
    import librosa.filters

    filters = librosa.filters.mel(
        sr=sample_rate,
        n_fft=fft_size,
        n_mels=mel_bands,
        fmin=low_hz,
        fmax=high_hz,
        htk=True,
        # Area 1. Height 1 is norm=None, for which librosa 0.11 compiles with numba: 19 to 38 s
        # the first time, 0.6 to 0.9 later; "slaney" needs none of it.
        norm="slaney",
        dtype=np.float64,
    )
    edges = mel_frequencies(mel_bands, low_hz, high_hz)
    return (filters.T * (edges[2:] - edges[:-2]) / 2).astype(np.float32)


def hann_window(window_samples: int, fft_size: int) -> np.ndarray:
    """Periodic Hann window in the middle of fft_size zeros, float32 [fft_size]."""
    if not 0 < window_samples <= fft_size:
        raise ValueError(f"a window of {window_samples} samples does not fit an FFT of {fft_size}")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window_samples) / window_samples)
    before = (fft_size - window_samples) // 2
    return np.pad(window, (before, fft_size - window_samples - before)).astype(np.float32)


def mel_spectrogram(
    audio: Float[Array, "B N"],
    *,
    sample_rate: int,
    fft_size: int,
    window_seconds: float,
    hop_seconds: float,
    mel_bands: int,
    low_hz: float,
    high_hz: float,
) -> Float[Array, "B T M"]:
    """Power in mel bands; T = 1 + N // hop."""
    hop = round(hop_seconds * sample_rate)
    window = hann_window(round(window_seconds * sample_rate), fft_size)
    frames = overlapping_frames(audio.astype(jnp.float32), fft_size, hop, window)
    spectrum = rfft(frames, fft_size)
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    return power @ mel_filter_bank(sample_rate, fft_size, mel_bands, low_hz, high_hz)


def log_mel_spectrogram(audio: Float[Array, "B N"], **settings: Any) -> Float[Array, "B T M"]:
    """ln(power in mel bands + LOG_FLOOR); `settings` of `mel_spectrogram`."""
    return jnp.log(mel_spectrogram(audio, **settings) + LOG_FLOOR)


def mfcc(
    audio: Float[Array, "B N"],
    *,
    coefficients: int,
    audio_length: Int[Array, " B"] | None = None,
    **settings: Any,
) -> Float[Array, "B T C"]:
    """Cepstral coefficients and their first and second time derivatives, per frame.

    Orthonormal DCT-II of the mel power in decibels, floored DECIBEL_RANGE below the clip's
    loudest band (Davis & Mermelstein 1980; librosa's `feature.mfcc` and `feature.delta` with
    mode "nearest"). `audio_length` says where the audio ends (N without it): derivatives
    continue the last real frame, so padding does not change them. `settings` of `mel_spectrogram`.
    """
    power = mel_spectrogram(audio, **settings)
    decibel = 10.0 * jnp.log10(jnp.maximum(power, DECIBEL_FLOOR))
    decibel = jnp.maximum(decibel, decibel.max(axis=(1, 2), keepdims=True) - DECIBEL_RANGE)
    cepstrum = decibel @ cosine_transform(power.shape[2], coefficients)

    frame_count = cepstrum.shape[1]
    if audio_length is None:
        last_frame = jnp.full(audio.shape[0], frame_count - 1)
    else:
        mask = frame_mask(
            audio_length, frame_count, round(settings["hop_seconds"] * settings["sample_rate"])
        )
        last_frame = jnp.maximum(mask.sum(axis=1) - 1, 0)
    derivatives = [delta(cepstrum, last_frame, order) for order in (1, 2)]
    return jnp.concatenate([cepstrum, *derivatives], axis=-1)


def cosine_transform(inputs: int, outputs: int) -> np.ndarray:
    """The first `outputs` columns of the orthonormal DCT-II, float32 [inputs, outputs]."""
    angle = np.pi / inputs * (np.arange(inputs)[:, None] + 0.5) * np.arange(outputs)
    basis = np.sqrt(2.0 / inputs) * np.cos(angle)
    basis[:, 0] /= np.sqrt(2.0)
    return basis.astype(np.float32)


def delta(
    x: Float[Array, "B T C"], last_frame: Int[Array, " B"], order: Literal[1, 2]
) -> Float[Array, "B T C"]:
    """The order-th derivative per frame of the polynomial of that order fitted to 9 frames.

    (Savitzky & Golay 1964.) Frames beyond either end repeat the first and the last real one.
    """
    half = DELTA_WIDTH // 2
    offsets = np.arange(-half, half + 1)
    fit = np.linalg.pinv(np.vander(offsets, order + 1, increasing=True).astype(np.float64))
    weights = (fit[order] * order).astype(np.float32)  # order! is 1 and 2
    frames = jnp.arange(x.shape[1])
    total = jnp.zeros_like(x)
    for offset, weight in zip(offsets, weights, strict=True):
        index = jnp.clip(frames[None] + offset, 0, last_frame[:, None])  # B, T
        total += weight * jnp.take_along_axis(x, index[:, :, None], axis=1)
    return total


def frame_mask(audio_length: Int[Array, " B"], frame_count: int, hop: int) -> Bool[Array, "B T"]:
    """True where a frame's centre lies inside the sound; lengths and `hop` in samples."""
    return jnp.arange(frame_count)[None] * hop < audio_length[:, None]


@dataclass(frozen=True)
class SpectralFrontEnd:
    """From raw audio to what the audio network reads; it has no parameters to learn.

    Log-mel bands become (ln(power + 1e-5) + 4) / 3 and MFCCs the cepstrum of just that. A copy is
    put beside them from which the clip's own mean over its real frames is subtracted (cepstral
    mean normalisation, Atal 1974), because the level and the channel of a recording lie in that
    mean. Derivatives have no mean to subtract and are not repeated.
    """

    features: str
    """One of `FEATURES`."""
    mel_bands: int
    fft_size: int
    window_seconds: float
    hop_seconds: float
    prosody: bool
    """Adds `prosody.prosody`: pitch, voicing and level."""

    @property
    def channels(self) -> int:
        """Values per frame."""
        spectral = {"log_mel": 2 * self.mel_bands, "mfcc": 4 * COEFFICIENTS}[self.features]
        return spectral + (prosody.CHANNELS if self.prosody else 0)

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return round(self.hop_seconds * AUDIO_SAMPLE_RATE)

    def __call__(
        self, audio: Float[Array, "B N"], audio_length: Int[Array, " B"]
    ) -> tuple[Float[Array, "B T C"], Bool[Array, "B T"], Float[Array, " T"]]:
        """Features, which frames are real, and when (seconds) each frame's centre is.

        Samples beyond a clip's length are ignored and frames beyond it are exactly zero.
        """
        audio = _silent_beyond(audio, audio_length)
        frame_count = 1 + audio.shape[1] // self.hop
        mask = frame_mask(audio_length, frame_count, self.hop)
        times = jnp.arange(frame_count, dtype=jnp.float32) * (self.hop / AUDIO_SAMPLE_RATE)

        static, derivatives = FEATURES[self.features](self, audio, audio_length)
        parts = [static, static - masked_mean(static, mask)[:, None], derivatives]
        if self.prosody:
            voice = prosody.prosody(
                audio, mask, sample_rate=AUDIO_SAMPLE_RATE, hop_seconds=self.hop_seconds
            )
            # Five channels beside a hundred bands: without the scale a random filter hears none.
            parts.append(PROSODY_SCALE * voice)
        features = jnp.where(mask[:, :, None], jnp.concatenate(parts, axis=-1), 0.0)
        return features, mask, times

    def utterance(
        self, audio: Float[Array, "B N"], audio_length: Int[Array, " B"]
    ) -> Float[Array, "B F"]:
        """`functionals` of the whole audio; zeros where there is none."""
        audio = _silent_beyond(audio, audio_length)
        pitch, voicing = prosody.track_pitch(
            audio, sample_rate=AUDIO_SAMPLE_RATE, hop_seconds=self.hop_seconds
        )
        log_mel = log_mel_spectrogram(audio, **self.settings())
        coefficients = min(functionals.CEPSTRA, self.mel_bands)
        return functionals.functionals(
            log_mel,
            log_mel @ cosine_transform(self.mel_bands, coefficients),
            pitch,
            voicing,
            frame_mask(audio_length, log_mel.shape[1], self.hop),
            centres_hz=mel_frequencies(self.mel_bands, LOW_HZ, HIGH_HZ)[1:-1],
            hop_seconds=self.hop_seconds,
        )

    def settings(self) -> dict[str, Any]:
        """What `mel_spectrogram` takes."""
        return {
            "sample_rate": AUDIO_SAMPLE_RATE,
            "fft_size": self.fft_size,
            "window_seconds": self.window_seconds,
            "hop_seconds": self.hop_seconds,
            "mel_bands": self.mel_bands,
            "low_hz": LOW_HZ,
            "high_hz": HIGH_HZ,
        }


def _silent_beyond(audio: Array, audio_length: Array) -> Array:
    return jnp.where(jnp.arange(audio.shape[1])[None] < audio_length[:, None], audio, 0.0)


def _log_mel(front_end: SpectralFrontEnd, audio: Array, audio_length: Array) -> tuple[Array, Array]:
    del audio_length
    bands = (log_mel_spectrogram(audio, **front_end.settings()) + LOG_OFFSET) / LOG_SCALE
    return bands, bands[..., :0]


def _mfcc(front_end: SpectralFrontEnd, audio: Array, audio_length: Array) -> tuple[Array, Array]:
    cepstra = mfcc(
        audio, coefficients=COEFFICIENTS, audio_length=audio_length, **front_end.settings()
    )
    # The transform is linear, and a constant band is its first coefficient.
    cepstra = cepstra * (np.log(10.0) / 10.0 / LOG_SCALE)
    cepstra = cepstra.at[..., 0].add(LOG_OFFSET / LOG_SCALE * front_end.mel_bands**0.5)
    return cepstra[..., :COEFFICIENTS], cepstra[..., COEFFICIENTS:]


FEATURES: dict[str, Callable[[SpectralFrontEnd, Array, Array], tuple[Array, Array]]] = {
    "log_mel": _log_mel,
    "mfcc": _mfcc,
}
"""(front end, audio, audio_length) -> (what a frame is, its time derivatives)."""
