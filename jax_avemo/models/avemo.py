"""The whole network: picture and sound to one embedding, and that embedding to its two halves."""

import functools
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, DTypeLike, Float, Int

from jax_avemo.errors import UserError
from jax_avemo.models.alignment import align, step_times
from jax_avemo.models.attention import AttentivePooling, StepAttention, masked_mean
from jax_avemo.models.audio_cnn import AudioNetwork
from jax_avemo.models.decoupling import Adversary, TaskEncoder, gradient_reversal
from jax_avemo.models.dual_lstm import DualLSTM
from jax_avemo.models.outputs import Decoupled, Fused, Outputs
from jax_avemo.models.pixels import scale_pixels
from jax_avemo.models.resnext import AttentionPlace, ResNeXt
from jax_avemo.models.sequence_lstm import ConcatenatedLSTM, SequenceLSTM
from jax_avemo.models.spectral import SpectralFrontEnd
from jax_avemo.schema import AUDIO_SAMPLE_RATE

FUSIONS = {"dual_lstm": DualLSTM, "lstm_concat": ConcatenatedLSTM}
"""What reads the two aligned sequences; a single modality always has a `SequenceLSTM`."""
ADVERSARIES = ("conditional", "marginal", "none")


class Sequence(NamedTuple):
    """One modality as its own network leaves it."""

    values: Float[Array, "B T D"]
    times: Float[Array, "B T"]
    """Seconds."""
    mask: Bool[Array, "B T"]
    """Real elements of valid rows."""
    seen: Bool[Array, "B T"]
    """Of these, what the fusion sees."""


class Branch(NamedTuple):
    """One modality as the fusion reads it."""

    logits: Float[Array, "B emotions"]
    available: Bool[Array, " B"]
    mean: Float[Array, "B D"]
    steps: Float[Array, "B S D"]
    step_mask: Bool[Array, "B S"]
    attention: Float[Array, "B heads S S"] | None


_OFF: Any = Branch._make(
    [None] * len(Branch._fields)
)  # of a modality that the network does not have


class AVEmo(nn.Module):
    """Audio-visual emotion recognition with emotion and identity taken apart.

    Faces -> ResNeXt with coordinate attention; sound -> 1-D CNN with self-attention; both -> the
    same steps by time, self-attention, dual-sequence LSTM, attentive pooling -> z -> z_e and z_i.
    The defaults are the method as written: ResNeXt50 32x4d. Padding frames, padding rows
    (`valid`) and absent modalities change nothing of what is real. A modality that is missing is
    masked behind its network, so black frames or silence never reach batch-norm statistics.
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
    audio_widths: tuple[int, ...] = (96, 128, 128)
    audio_kernel_size: int = 5
    audio_self_attention: bool = True
    audio_dropout: float = 0.1
    batch_norm_momentum: float = 0.9

    width: int = 128
    """D, of a step of either modality; even, and a multiple of `heads`."""
    heads: int = 4
    steps: int = 12
    alignment_width_seconds: float = 0.12
    """Of the Gaussian that gathers elements around a step; at least half the steps' distance."""
    alignment_gap_seconds: float = 1.0
    """A step further than this from a modality's elements lacks it; at least a step's distance."""
    embedded_self_attention: bool = True
    fusion: str = "dual_lstm"
    """One of `FUSIONS`."""
    lstm_width: int = 96
    bidirectional: bool = True
    lstm_layer_norm: bool = False
    lstm_unroll: int = 1
    pooling_width: int = 64
    skip: bool = True
    """z also sees each modality's mean over its own elements."""
    fused_width: int = 128
    """Of z."""

    decouple_identity: bool = True
    """False: z_e and its head alone."""
    embedding_width: int = 64
    """Of z_e and of z_i."""
    encoder_hidden: int = 128
    adversary: str = "conditional"
    """One of `ADVERSARIES`."""
    adversary_hidden: int = 128
    dropout: float = 0.15
    dtype: DTypeLike = jnp.float32
    """Of the image and audio networks; what follows is small and stays float32."""
    remat: bool = False

    def setup(self) -> None:
        self._check()
        self.drop = nn.Dropout(self.dropout)
        embedded = self.embedded_self_attention
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
                batch_norm_momentum=self.batch_norm_momentum,
                dtype=self.dtype,
                remat=self.remat,
            )
            self.video_projection = nn.Dense(self.width)
            self.video_norm = nn.LayerNorm()
            self.video_attention = StepAttention(self.heads) if embedded else None
            self.video_head = nn.Dense(self.num_emotions)
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
            self.audio_attention = StepAttention(self.heads) if embedded else None
            self.audio_head = nn.Dense(self.num_emotions)
        lstm = SequenceLSTM if len(self.modalities) == 1 else FUSIONS[self.fusion]
        self.lstm = lstm(
            self.lstm_width, self.bidirectional, self.lstm_layer_norm, self.lstm_unroll
        )
        self.pooling = AttentivePooling(self.pooling_width)
        self.fusion_norm = nn.LayerNorm()
        self.fusion_layer = nn.Dense(self.fused_width)
        encoder = (self.embedding_width, self.encoder_hidden, self.dropout)
        self.emotion_encoder = TaskEncoder(*encoder)
        self.emotion_head = nn.Dense(self.num_emotions)
        if self.decouple_identity:
            self.identity_encoder = TaskEncoder(*encoder)
            self.identity_head = nn.Dense(self.num_subjects)
            if self.adversary != "none":
                conditional = self.adversary == "conditional"
                self.identity_adversary = Adversary(
                    self.num_subjects,
                    self.adversary_hidden,
                    condition_classes=self.num_emotions if conditional else 0,
                )
                self.emotion_adversary = Adversary(
                    self.num_emotions,
                    self.adversary_hidden,
                    condition_classes=self.num_subjects if conditional else 0,
                )

    def __call__(
        self,
        batch: Mapping[str, Any],
        *,
        train: bool = False,
        video_present: Bool[Array, " B"] | None = None,
        audio_present: Bool[Array, " B"] | None = None,
        reversal_strength: Float[Array, ""] | float = 0.0,
    ) -> Outputs:
        """`fuse`, then `decouple` with the batch's labels, which reach the adversaries alone.

        Args: see those two. Training needs the random stream `dropout` and mutable `batch_stats`.
        """
        fused = self.fuse(
            batch, train=train, video_present=video_present, audio_present=audio_present
        )
        decoupled = self.decouple(
            fused.embedding,
            train=train,
            emotion=jnp.asarray(batch["emotion"]),
            subject=jnp.asarray(batch["subject"]),
            reversal_strength=reversal_strength,
        )
        return Outputs(*fused, *decoupled)

    def fuse(
        self,
        batch: Mapping[str, Any],
        *,
        train: bool,
        video_present: Bool[Array, " B"] | None = None,
        audio_present: Bool[Array, " B"] | None = None,
    ) -> Fused:
        """From a batch to the embedding z.

        Args:
          batch: `schema.Batch`; neither labels nor the keys of a modality that is off are read.
          train: batch statistics and dropout.
          video_present, audio_present: False = the fusion does not see this modality of this clip
            (modality dropout), exactly as if the clip had none; None = all that there is.
        """
        batch = {key: jnp.asarray(value) for key, value in batch.items()}
        video = self._video(batch, video_present, train) if "video" in self.modalities else None
        audio = self._audio(batch, audio_present, train) if "audio" in self.modalities else None

        # From what the fusion sees, so that dropping a modality equals not having it.
        duration = jnp.zeros(batch["valid"].shape, jnp.float32)
        if video is not None:
            duration = jnp.maximum(duration, jnp.where(video.seen, video.times, 0.0).max(axis=1))
        if audio is not None:
            seconds = batch["audio_length"].astype(jnp.float32) / AUDIO_SAMPLE_RATE
            duration = jnp.maximum(duration, jnp.where(audio.seen.any(axis=1), seconds, 0.0))
        times = step_times(duration, self.steps)

        seen_video = seen_audio = _OFF
        if video is not None:
            parts = self.video_head, self.video_attention
            seen_video = self._branch(video, *parts, times, duration, train)
        if audio is not None:
            parts = self.audio_head, self.audio_attention
            seen_audio = self._branch(audio, *parts, times, duration, train)

        branches = [branch for branch in (seen_video, seen_audio) if branch is not _OFF]
        step_masks = [branch.step_mask for branch in branches]
        outputs = self.lstm(*[branch.steps for branch in branches], *step_masks)
        pooled, step_weights = self.pooling(outputs, functools.reduce(jnp.logical_or, step_masks))
        means = [branch.mean for branch in branches] if self.skip else []
        inputs = self.fusion_norm(jnp.concatenate([pooled, *means], axis=-1))
        return Fused(
            inputs=inputs,
            embedding=self.fusion_layer(inputs),
            video_logits=seen_video.logits,
            audio_logits=seen_audio.logits,
            video_available=seen_video.available,
            audio_available=seen_audio.available,
            step_times=times,
            video_steps=seen_video.step_mask,
            audio_steps=seen_audio.step_mask,
            video_attention=seen_video.attention,
            audio_attention=seen_audio.attention,
            step_outputs=outputs,
            step_weights=step_weights,
        )

    def decouple(
        self,
        embedding: Float[Array, "B Z"],
        *,
        train: bool,
        emotion: Int[Array, " B"] | None = None,
        subject: Int[Array, " B"] | None = None,
        reversal_strength: Float[Array, ""] | float = 0.0,
    ) -> Decoupled:
        """From z to z_e and z_i, their heads, and the adversaries.

        Args:
          embedding: z, from `fuse`.
          train: dropout.
          emotion, subject: -1 = unknown. They reach conditional adversaries alone.
          reversal_strength: what the adversaries' gradients are multiplied with, sign apart, when
            they enter the encoders. At 0 the adversaries are mere probes.
        """
        z_e = self.emotion_encoder(embedding, train)
        emotion_logits = self.emotion_head(self._drop(z_e, train))
        if not self.decouple_identity:
            return Decoupled(z_e, None, emotion_logits, None, None, None)
        z_i = self.identity_encoder(embedding, train)
        identity_logits = self.identity_head(self._drop(z_i, train))
        identity_from_z_e = emotion_from_z_i = None
        if self.adversary != "none":
            identity_from_z_e = self.identity_adversary(
                gradient_reversal(z_e, reversal_strength), emotion
            )
            emotion_from_z_i = self.emotion_adversary(
                gradient_reversal(z_i, reversal_strength), subject
            )
        return Decoupled(
            z_e, z_i, emotion_logits, identity_logits, identity_from_z_e, emotion_from_z_i
        )

    def _video(
        self, batch: Mapping[str, Array], present: Bool[Array, " B"] | None, train: bool
    ) -> Sequence:
        video = batch["video"]
        mask = batch["video_mask"] & batch["valid"][:, None]
        pixels = scale_pixels(video, mask, self.colour_mean, self.colour_deviation, self.pixels)
        images = pixels.astype(self.dtype).reshape(-1, *pixels.shape[2:])
        features = self.video_network(images, mask.reshape(-1), train).astype(jnp.float32)
        values = self.video_norm(self.video_projection(features))
        values = values.reshape(*video.shape[:2], -1)
        return Sequence(values, batch["video_time"], mask, _seen(mask, present))

    def _audio(
        self, batch: Mapping[str, Array], present: Bool[Array, " B"] | None, train: bool
    ) -> Sequence:
        features, mask, times = self.spectral(batch["audio"], batch["audio_length"])
        mask = mask & batch["valid"][:, None]
        values, mask, stride = self.audio_network(features, mask, train)
        # An element is centred on the frame it is counted from: the convolutions are symmetric.
        times = jnp.broadcast_to(times[::stride][None], mask.shape)
        return Sequence(values.astype(jnp.float32), times, mask, _seen(mask, present))

    def _branch(
        self,
        sequence: Sequence,
        head: nn.Dense,
        attention: StepAttention | None,
        times: Float[Array, "B S"],
        duration: Float[Array, " B"],
        train: bool,
    ) -> Branch:
        distance = duration / self.steps
        steps, step_mask = align(
            sequence.values,
            sequence.times,
            sequence.seen,
            times,
            # In a long clip every element still reaches a step.
            jnp.maximum(self.alignment_width_seconds, distance / 2),
            jnp.maximum(self.alignment_gap_seconds, distance),
        )
        weights = None
        if attention is not None:
            steps, weights = attention(steps, times, step_mask, train)
        return Branch(
            logits=head(self._drop(masked_mean(sequence.values, sequence.mask), train)),
            available=sequence.mask.any(axis=1),
            mean=masked_mean(sequence.values, sequence.seen),
            steps=self._drop(steps, train),
            step_mask=step_mask,
            attention=weights,
        )

    def _drop(self, x: Array, train: bool) -> Array:
        return self.drop(x, deterministic=not train)

    def _check(self) -> None:
        if tuple(self.modalities) not in {("video", "audio"), ("video",), ("audio",)}:
            raise UserError(
                f"modalities {self.modalities}: say ('video', 'audio'), ('video',) or ('audio',)"
            )
        if self.fusion not in FUSIONS:
            raise UserError(f"no fusion '{self.fusion}': say one of {', '.join(FUSIONS)}")
        if self.adversary not in ADVERSARIES:
            raise UserError(f"no adversary '{self.adversary}': say one of {', '.join(ADVERSARIES)}")
        if self.decouple_identity and self.num_subjects < 1:
            raise UserError("decoupling needs training subjects: give num_subjects, or fuse only")


def _seen(mask: Bool[Array, "B T"], present: Bool[Array, " B"] | None) -> Bool[Array, "B T"]:
    return mask if present is None else mask & present[:, None]
