"""Where both modalities become sequences: the picture and the sound network of every model here."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, DTypeLike, Float

from jax_avemo.models.audio.audio_cnn import AudioNetwork
from jax_avemo.models.audio.spectral import SpectralFrontEnd
from jax_avemo.models.video.pixels import scale_pixels
from jax_avemo.models.video.resnext import AttentionPlace, ResNeXt
from jax_avemo.runtime.errors import UserError


class Sequence(NamedTuple):
    """One modality as its own network leaves it."""

    values: Float[Array, "B T D"]
    times: Float[Array, "B T"]
    """Seconds."""
    mask: Bool[Array, "B T"]
    """Real elements of valid rows."""
    seen: Bool[Array, "B T"]
    """Of these, what the fusion sees."""


class FrontEnds(nn.Module):
    """Faces -> ResNeXt with coordinate attention; sound -> 1-D CNN with self-attention.

    The defaults are the method as written: ResNeXt50 32x4d.
    """

    num_emotions: int
    num_subjects: int = 0
    """Training subjects; at least 1 when decoupling."""
    modalities: tuple[str, ...] = ("video", "audio")
    """What is left out has no parameters and costs no time."""

    depths: tuple[int, ...] = (3, 4, 6, 3)
    groups: int = 32
    width_per_group: int = 4
    stem_width: int = 64
    stem_kernel: int = 7
    expansion: int = 4
    coordinate_attention: bool = True
    attention_place: AttentionPlace = "residual"
    attention_gate_bias: float = 0.0
    residual_scale_init: float = 1.0
    max_pool: bool = True
    frozen_stages: int = 0
    """Of the face network; see `ResNeXt`."""
    colour_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    colour_deviation: tuple[float, float, float] = (0.25, 0.25, 0.25)
    pixels: tuple[str, ...] = ("colour", "luminance")
    """Of `pixels.CHANNELS`."""

    spectral_kind: Literal["log_mel", "mfcc"] = "log_mel"
    mel_bands: int = 64
    fft_size: int = 1024
    window_seconds: float = 0.05
    hop_seconds: float = 0.016
    spectral_normalise: bool = True
    prosody: bool = True
    functionals: bool = True
    """Every element of the sound also hears what the whole utterance is like."""
    audio_widths: tuple[int, ...] = (96, 128, 128)
    audio_kernel_size: int = 5
    audio_self_attention: bool = True
    audio_dropout: float = 0.1
    batch_norm_momentum: float = 0.9

    width: int = 128
    """D, of a step of either modality; even, and a multiple of `heads`."""
    heads: int = 4
    dtype: DTypeLike = jnp.float32
    """Of the image and audio networks; what follows is small and stays float32."""
    remat: bool = False

    def setup(self) -> None:
        """Called by a subclass's own `setup`."""
        if tuple(self.modalities) not in {("video", "audio"), ("video",), ("audio",)}:
            raise UserError(
                f"modalities {self.modalities}: say ('video', 'audio'), ('video',) or ('audio',)"
            )
        if "video" in self.modalities:
            self.video_network = ResNeXt(
                depths=self.depths,
                groups=self.groups,
                width_per_group=self.width_per_group,
                stem_width=self.stem_width,
                stem_kernel=self.stem_kernel,
                expansion=self.expansion,
                coordinate_attention=self.coordinate_attention,
                attention_place=self.attention_place,
                attention_gate_bias=self.attention_gate_bias,
                residual_scale_init=self.residual_scale_init,
                max_pool=self.max_pool,
                frozen_stages=self.frozen_stages,
                batch_norm_momentum=self.batch_norm_momentum,
                dtype=self.dtype,
                remat=self.remat,
            )
            self.video_projection = nn.Dense(self.width)
            self.video_norm = nn.LayerNorm()
        if "audio" in self.modalities:
            self.spectral = SpectralFrontEnd(
                kind=self.spectral_kind,
                mel_bands=self.mel_bands,
                fft_size=self.fft_size,
                window_seconds=self.window_seconds,
                hop_seconds=self.hop_seconds,
                normalise=self.spectral_normalise,
                prosody=self.prosody,
            )
            self.audio_network = AudioNetwork(
                widths=self.audio_widths,
                kernel_size=self.audio_kernel_size,
                width=self.width,
                heads=self.heads,
                dropout=self.audio_dropout,
                self_attention=self.audio_self_attention,
                batch_norm_momentum=self.batch_norm_momentum,
                dtype=self.dtype,
            )
            self.utterance = nn.Dense(self.width) if self.functionals else None

    def video_sequence(
        self, batch: Mapping[str, Array], present: Bool[Array, " B"] | None, train: bool
    ) -> Sequence:
        """Of the faces; `present` False = what follows does not see this clip's."""
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
        """Of the sound; `present` as for `video_sequence`."""
        features, mask, times = self.spectral(batch["audio"], batch["audio_length"])
        mask = mask & batch["valid"][:, None]
        values, mask, stride = self.audio_network(features, mask, train)
        # An element is centred on the frame it is counted from: the convolutions are symmetric.
        times = jnp.broadcast_to(times[::stride][None], mask.shape)
        values = values.astype(jnp.float32)
        if self.utterance is not None:
            whole = self.utterance(self.spectral.utterance(batch["audio"], batch["audio_length"]))
            values = jnp.where(mask[:, :, None], values + whole[:, None], 0.0)
        return Sequence(values, times, mask, _seen(mask, present))


def _seen(mask: Bool[Array, "B T"], present: Bool[Array, " B"] | None) -> Bool[Array, "B T"]:
    return mask if present is None else mask & present[:, None]
