"""The whole network: picture and sound to one embedding, and that embedding to its two halves."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jax_avemo.models.front_ends import FrontEnds, Sequence
from jax_avemo.models.fusion.alignment import align, step_times
from jax_avemo.models.fusion.baselines import AVERAGED_LOGITS, PEERS, averaged_logits
from jax_avemo.models.heads import Adversary, LinearErasure, TaskEncoder, gradient_reversal
from jax_avemo.models.layers.attention import AttentivePooling, StepAttention, masked_mean
from jax_avemo.models.lstm.dual_lstm import DualLSTM
from jax_avemo.models.lstm.sequence_lstm import ConcatenatedLSTM, SequenceLSTM
from jax_avemo.models.outputs import Decoupled, Fused, Outputs
from jax_avemo.runtime.errors import UserError
from jax_avemo.schema import AUDIO_SAMPLE_RATE

FUSIONS = {"dual_lstm": DualLSTM, "lstm_concat": ConcatenatedLSTM}
"""What reads the two aligned sequences; a single modality always has a `SequenceLSTM`. What joins
sequences that are not aligned stands in `baselines.PEERS`."""
ADVERSARIES = ("conditional", "marginal", "none")


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


class AVEmo(FrontEnds):
    """Audio-visual emotion recognition with emotion and identity taken apart.

    Faces -> ResNeXt with coordinate attention; sound -> 1-D CNN with self-attention; both -> the
    same steps by time, self-attention, dual-sequence LSTM, attentive pooling -> z -> z_e and z_i.
    The defaults are the method as written: ResNeXt50 32x4d. Padding frames, padding rows
    (`valid`) and absent modalities change nothing of what is real. A modality that is missing is
    masked behind its network, so black frames or silence never reach batch-norm statistics.
    """

    steps: int = 12
    alignment_width_seconds: float = 0.12
    """Of the Gaussian that gathers elements around a step; at least half the steps' distance."""
    alignment_gap_seconds: float = 1.0
    """A step further than this from a modality's elements lacks it; at least a step's distance."""
    embedded_self_attention: bool = True
    fusion: str = "dual_lstm"
    """One of `FUSIONS`, of `baselines.PEERS`, or `baselines.AVERAGED_LOGITS`."""
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
    erase: bool = False
    """z_e and z_i pass a `LinearErasure` each, but for training."""
    embedding_width: int = 64
    """Of z_e and of z_i."""
    encoder_hidden: int = 128
    adversary: str = "conditional"
    """One of `ADVERSARIES`."""
    adversary_hidden: int = 128
    dropout: float = 0.15

    def setup(self) -> None:
        self._check()
        self.drop = nn.Dropout(self.dropout)
        embedded = self.embedded_self_attention and self.fusion in FUSIONS
        super().setup()
        if "video" in self.modalities:
            self.video_attention = StepAttention(self.heads) if embedded else None
            self.video_head = nn.Dense(self.num_emotions)
        if "audio" in self.modalities:
            self.audio_attention = StepAttention(self.heads) if embedded else None
            self.audio_head = nn.Dense(self.num_emotions)
        if self.fusion == AVERAGED_LOGITS:
            return
        if self.fusion in PEERS:
            self.peer = PEERS[self.fusion](self.heads, self.dropout, self.batch_norm_momentum)
        else:
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
        if self.erase:
            self.identity_erasure = LinearErasure()
            self.emotion_erasure = LinearErasure()
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
        video = (
            self.video_sequence(batch, video_present, train) if "video" in self.modalities else None
        )
        audio = (
            self.audio_sequence(batch, audio_present, train) if "audio" in self.modalities else None
        )

        # From what the fusion sees, so that dropping a modality equals not having it.
        duration = jnp.zeros(batch["valid"].shape, jnp.float32)
        if video is not None:
            duration = jnp.maximum(duration, jnp.where(video.seen, video.times, 0.0).max(axis=1))
        if audio is not None:
            seconds = batch["audio_length"].astype(jnp.float32) / AUDIO_SAMPLE_RATE
            duration = jnp.maximum(duration, jnp.where(audio.seen.any(axis=1), seconds, 0.0))
        times = step_times(duration, self.steps)
        if video is not None and audio is not None and self.fusion not in FUSIONS:
            return self._fuse_unaligned(video, audio, times, train)

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
        if self.fusion == AVERAGED_LOGITS:  # z ends in them
            logits = embedding[:, -self.num_emotions :]
            return Decoupled(embedding, None, logits, None, None, None)
        z_e = self.emotion_encoder(embedding, train)
        if self.erase and not train:
            z_e = self.identity_erasure(z_e)
        emotion_logits = self.emotion_head(self._drop(z_e, train))
        if not self.decouple_identity:
            return Decoupled(z_e, None, emotion_logits, None, None, None)
        z_i = self.identity_encoder(embedding, train)
        if self.erase and not train:
            z_i = self.emotion_erasure(z_i)
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

    def _fuse_unaligned(
        self, video: Sequence, audio: Sequence, times: Float[Array, "B S"], train: bool
    ) -> Fused:
        def logits(head: nn.Dense, sequence: Sequence) -> Array:
            return head(self._drop(masked_mean(sequence.values, sequence.mask), train))

        of_video = logits(self.video_head, video)
        of_audio = logits(self.audio_head, audio)
        if self.fusion == AVERAGED_LOGITS:
            average, means = averaged_logits(video, audio, of_video, of_audio)
            # Both networks are trained by their own heads alone (objective.auxiliary_weight).
            inputs = embedding = jnp.concatenate([means, jax.lax.stop_gradient(average)], axis=-1)
        else:
            inputs = self.fusion_norm(self.peer(video, audio, train))
            embedding = self.fusion_layer(inputs)
        return Fused(
            inputs=inputs,
            embedding=embedding,
            video_logits=of_video,
            audio_logits=of_audio,
            video_available=video.mask.any(axis=1),
            audio_available=audio.mask.any(axis=1),
            step_times=times,
            video_steps=None,
            audio_steps=None,
            video_attention=None,
            audio_attention=None,
            step_outputs=None,
            step_weights=None,
        )

    def _drop(self, x: Array, train: bool) -> Array:
        return self.drop(x, deterministic=not train)

    def _check(self) -> None:
        fusions = (*FUSIONS, *PEERS, AVERAGED_LOGITS)
        if self.fusion not in fusions:
            raise UserError(f"no fusion '{self.fusion}': say one of {', '.join(fusions)}")
        if self.fusion not in FUSIONS and len(self.modalities) != 2:
            raise UserError(f"fusion '{self.fusion}' needs both modalities")
        if self.fusion == AVERAGED_LOGITS and self.decouple_identity:
            raise UserError(f"fusion '{self.fusion}' has no z to decouple: fuse only")
        if self.adversary not in ADVERSARIES:
            raise UserError(f"no adversary '{self.adversary}': say one of {', '.join(ADVERSARIES)}")
        if self.decouple_identity and self.num_subjects < 1:
            raise UserError("decoupling needs training subjects: give num_subjects, or fuse only")
