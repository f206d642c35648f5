"""Raw features: what an attacker has of a clip without any network."""

from collections.abc import Iterable, Sequence

import cv2
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jax_avemo.models.audio.spectral import HIGH_HZ, LOW_HZ, frame_mask, log_mel_spectrogram
from jax_avemo.schema import AUDIO_SAMPLE_RATE, Batch

MEL_BANDS = 64
HOP_SECONDS = 0.016
FACE_SIDE = 16


def raw_features(batches: Iterable[Batch], modalities: Sequence[str]) -> Float[np.ndarray, "N D"]:
    """Mean and deviation over time of the log-mel bands; the mean over time of the small grey crop.

    128 values of the audio, 256 of the video; 0 where a clip lacks the modality.
    """
    features = {"audio": audio_features, "video": video_features}
    rows = []
    for batch in batches:
        found = [features[modality](batch) for modality in modalities]
        rows.append(np.concatenate(found, axis=1)[np.asarray(batch["valid"])])
    return np.concatenate(rows)


def audio_features(batch: Batch) -> Float[np.ndarray, "B 128"]:
    """Mean and deviation of every log-mel band over the frames inside the sound."""
    bands = log_mel_spectrogram(
        jnp.asarray(batch["audio"]),
        sample_rate=AUDIO_SAMPLE_RATE,
        fft_size=1024,
        window_seconds=0.05,
        hop_seconds=HOP_SECONDS,
        mel_bands=MEL_BANDS,
        low_hz=LOW_HZ,
        high_hz=HIGH_HZ,
    )
    hop = round(HOP_SECONDS * AUDIO_SAMPLE_RATE)
    real = frame_mask(jnp.asarray(batch["audio_length"]), bands.shape[1], hop)[..., None]
    count = jnp.maximum(real.sum(axis=1), 1)
    mean = jnp.where(real, bands, 0).sum(axis=1) / count
    square = jnp.where(real, jnp.square(bands - mean[:, None]), 0).sum(axis=1) / count
    return np.asarray(jnp.concatenate([mean, jnp.sqrt(square)], axis=1))


def video_features(batch: Batch) -> Float[np.ndarray, "B 256"]:
    """The grey face crop of 16 x 16 pixels, mean over the real frames."""
    found = np.zeros((len(batch["video"]), FACE_SIDE * FACE_SIDE), np.float32)
    for row, (frames, real) in enumerate(zip(batch["video"], batch["video_mask"], strict=True)):
        if real.any():
            face = frames[real].astype(np.float32).mean(axis=(0, 3))
            small = cv2.resize(face, (FACE_SIDE, FACE_SIDE), interpolation=cv2.INTER_AREA)
            found[row] = small.ravel() / 255
    return found
