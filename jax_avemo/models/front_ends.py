"""The video and the audio network of every model here: from a batch to two sequences."""

from collections.abc import Mapping
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, DTypeLike, Float

from jax_avemo.models.audio.audio_cnn import AudioNetwork
from jax_avemo.models.audio.spectral import SpectralFrontEnd
from jax_avemo.models.layers.batch_norm import MaskedBatchNorm
from jax_avemo.models.video.pixels import scale_pixels
from jax_avemo.models.video.resnext import ResNeXt
from jax_avemo.runtime.errors import UserError

LARGEST = 5.0
"""Standard deviations."""
MODALITIES = (("video", "audio"), ("video",), ("audio",))


class Sequence(NamedTuple):
    """One modality as its own network leaves it."""

    values: Float[Array, "B T D"]
    times: Float[Array, "B T"]
    """Seconds."""
    mask: Bool[Array, "B T"]
    """Real elements of valid rows."""
    seen: Bool[Array, "B T"]
    """Of these, what the fusion sees."""


class UtteranceEncoder(nn.Module):
    """Functionals, standardised by those of the training clips, dropout, a linear layer.

    Mean and deviation are a `MaskedBatchNorm`'s. What is further than LARGEST from the mean is cut.
    """

    width: int
    dropout: float
    batch_norm_momentum: float

    @nn.compact
    def __call__(
        self, functionals: Float[Array, "B F"], there: Bool[Array, " B"], train: bool
    ) -> Float[Array, "B D"]:
        """Zeros where `there` is False."""
        standard = MaskedBatchNorm(self.batch_norm_momentum, name="norm")(functionals, there, train)
        standard = jnp.clip(standard, -LARGEST, LARGEST)
        standard = nn.Dropout(self.dropout, deterministic=not train)(standard)
        return jnp.where(there[:, None], nn.Dense(self.width, name="layer")(standard), 0.0)


class FrontEnds(nn.Module):
    """Faces -> ResNeXt with coordinate attention; audio -> 1-D CNN with self-attention.

    The fields are those of `config.model`; `configs/default.py` has their values.
    """

    num_emotions: int
    num_subjects: int
    """Training subjects; at least 1 when decoupling."""
    modalities: tuple[str, ...]
    """One of `MODALITIES`. What is left out has no parameters and costs no time."""

    pixels: tuple[str, ...]
    """Of `pixels.CHANNELS`."""
    colour_mean: tuple[float, float, float]
    colour_deviation: tuple[float, float, float]
    depths: tuple[int, ...]
    groups: int
    width_per_group: int
    stem_width: int
    stem_kernel: int
    expansion: int
    coordinate_attention: bool
    attention_gate_bias: float
    residual_scale: float
    frozen_stages: int

    spectral_features: str
    """One of `spectral.FEATURES`."""
    mel_bands: int
    fft_size: int
    window_seconds: float
    hop_seconds: float
    prosody: bool
    functionals: bool
    """Every element of the audio also knows what the whole utterance is like."""
    functionals_dropout: float
    audio_widths: tuple[int, ...]
    audio_kernel_size: int
    audio_self_attention: bool

    width: int
    """D, of an element of either modality; even, and a multiple of `heads`."""
    heads: int
    dropout: float
    batch_norm_momentum: float
    dtype: DTypeLike
    """Of the face and audio networks; what follows is small and stays float32."""
    remat: bool

    def setup(self) -> None:
        """Called by a subclass's own `setup`."""
        if tuple(self.modalities) not in MODALITIES:
            listed = ", ".join(map(str, MODALITIES))
            raise UserError(f"no modalities {self.modalities}: say one of {listed}")
        if "video" in self.modalities:
            self.video_network = ResNeXt(
                depths=self.depths,
                groups=self.groups,
                width_per_group=self.width_per_group,
                stem_width=self.stem_width,
                stem_kernel=self.stem_kernel,
                expansion=self.expansion,
                coordinate_attention=self.coordinate_attention,
                attention_gate_bias=self.attention_gate_bias,
                residual_scale=self.residual_scale,
                frozen_stages=self.frozen_stages,
                batch_norm_momentum=self.batch_norm_momentum,
                dtype=self.dtype,
                remat=self.remat,
            )
            self.video_projection = nn.Dense(self.width)
            self.video_norm = nn.LayerNorm()
        if "audio" in self.modalities:
            self.spectral = SpectralFrontEnd(
                features=self.spectral_features,
                mel_bands=self.mel_bands,
                fft_size=self.fft_size,
                window_seconds=self.window_seconds,
                hop_seconds=self.hop_seconds,
                prosody=self.prosody,
            )
            self.audio_network = AudioNetwork(
                widths=self.audio_widths,
                kernel_size=self.audio_kernel_size,
                width=self.width,
                heads=self.heads,
                dropout=self.dropout,
                self_attention=self.audio_self_attention,
                hop_seconds=self.hop_seconds,
                batch_norm_momentum=self.batch_norm_momentum,
                dtype=self.dtype,
            )
            self.utterance = (
                UtteranceEncoder(self.width, self.functionals_dropout, self.batch_norm_momentum)
                if self.functionals
                else None
            )

    def video_sequence(
        self, batch: Mapping[str, Array], present: Bool[Array, " B"] | None, train: bool
    ) -> Sequence:
        """Of the faces; `present` False: what follows does not see this clip's."""
        video = batch["video"]
        mask = batch["video_mask"] & batch["valid"][:, None]
        pixels = scale_pixels(video, mask, self.colour_mean, self.colour_deviation, self.pixels)
        images = pixels.astype(self.dtype).reshape(-1, *pixels.shape[2:])
        features = self.video_network(images, mask.reshape(-1), train).astype(jnp.float32)
        values = self.video_norm(self.video_projection(features))
        values = values.reshape(*video.shape[:2], -1)
        return Sequence(values, batch["video_time"], mask, _seen(mask, present))

    def audio_sequence(
        self, batch: Mapping[str, Array], present: Bool[Array, " B"] | None, train: bool
    ) -> Sequence:
        """Of the audio; `present` as for `video_sequence`."""
        features, mask, times = self.spectral(batch["audio"], batch["audio_length"])
        mask = mask & batch["valid"][:, None]
        values, mask, stride = self.audio_network(features, mask, train)
        # An element is centred on the frame it is counted from: the convolutions are symmetric.
        times = jnp.broadcast_to(times[::stride][None], mask.shape)
        values = values.astype(jnp.float32)
        if self.utterance is not None:
            functionals = self.spectral.utterance(batch["audio"], batch["audio_length"])
            whole = self.utterance(functionals, mask.any(axis=1), train)
            values = jnp.where(mask[:, :, None], values + whole[:, None], 0.0)
        return Sequence(values, times, mask, _seen(mask, present))


def _seen(mask: Bool[Array, "B T"], present: Bool[Array, " B"] | None) -> Bool[Array, "B T"]:
    return mask if present is None else mask & present[:, None]
