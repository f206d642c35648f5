"""The whole network: video and audio to one embedding z, and z to emotion and identity."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jax_avemo.erasure.layer import LinearErasure
from jax_avemo.models.front_ends import FrontEnds, Sequence
from jax_avemo.models.fusion.alignment import align, step_times
from jax_avemo.models.fusion.baselines import AVERAGED_LOGITS, BASELINE_FUSIONS, averaged_logits
from jax_avemo.models.heads import Adversary, TaskEncoder, gradient_reversal
from jax_avemo.models.layers.attention import AttentivePooling, StepAttention, masked_mean
from jax_avemo.models.layers.running_mean import RunningMean
from jax_avemo.models.lstm.dual_lstm import DualLSTM
from jax_avemo.models.lstm.sequence_lstm import ConcatenatedLSTM, SequenceLSTM
from jax_avemo.models.outputs import Decoupled, Fused, Outputs
from jax_avemo.runtime.errors import UserError
from jax_avemo.schema import AUDIO_SAMPLE_RATE

STEP_FUSIONS: dict[str, type[nn.Module]] = {
    "dual_lstm": DualLSTM,
    "lstm_concat": ConcatenatedLSTM,
}
"""Of aligned steps; a single modality always has a `SequenceLSTM`."""
FUSIONS = (*STEP_FUSIONS, *BASELINE_FUSIONS, AVERAGED_LOGITS)
ADVERSARIES = ("conditional", "marginal", "none")


class Steps(NamedTuple):
    """One modality, aligned."""

    values: Float[Array, "B S D"]
    mask: Bool[Array, "B S"]
    attention: Float[Array, "B heads S S"] | None


class AVEmo(FrontEnds):
    """Audio-visual emotion recognition with emotion and identity decoupled.

    Faces -> ResNeXt with coordinate attention; audio -> 1-D CNN with self-attention; both -> the
    same steps by time, self-attention, dual-sequence LSTM, attentive pooling -> z -> z_e and z_i.
    Padding frames, padding rows (`valid`) and absent modalities change nothing of what is real. A
    missing modality is masked behind its network, so black frames or silence never reach
    batch-norm statistics.

        AVEmo(num_emotions=..., num_subjects=..., **config.model)
    """

    lstm_steps: int
    """S."""
    alignment_width_seconds: float
    """Of the Gaussian that gathers elements around a step; at least half the steps' distance."""
    alignment_gap_seconds: float
    """A step further than this from a modality's elements lacks it; at least a step's distance."""
    embedded_self_attention: bool
    fusion: str
    """One of `FUSIONS`."""
    lstm_width: int
    bidirectional: bool
    pooling_width: int
    skip_connection: bool
    """z also sees each modality's mean over its own elements."""
    fused_width: int
    """Of z."""

    decouple: bool
    """False: z_e and its head alone."""
    embedding_width: int
    """Of z_e and of z_i."""
    encoder_hidden: int
    adversary: str
    """One of `ADVERSARIES`."""
    adversary_hidden: int
    erasure: bool
    """When decoupling, z_e and z_i pass a `LinearErasure` each, but for training."""
    person_centred: bool
    """Keeps the mean of z over the training clips, for `centre`."""

    def setup(self) -> None:
        self._check()
        super().setup()
        self.drop = nn.Dropout(self.dropout)
        embedded = self.embedded_self_attention and self.fusion in STEP_FUSIONS
        if "video" in self.modalities:
            self.video_attention = StepAttention(self.heads) if embedded else None
            self.video_head = nn.Dense(self.num_emotions)
        if "audio" in self.modalities:
            self.audio_attention = StepAttention(self.heads) if embedded else None
            self.audio_head = nn.Dense(self.num_emotions)
        if self.fusion != AVERAGED_LOGITS:
            self._setup_fusion()
            if self.person_centred:
                self.embedding_mean = RunningMean()
            self._setup_heads()

    def _setup_fusion(self) -> None:
        if self.fusion in BASELINE_FUSIONS:
            baseline = BASELINE_FUSIONS[self.fusion]
            self.baseline = baseline(self.heads, self.dropout, self.batch_norm_momentum)
        else:
            lstm = SequenceLSTM if len(self.modalities) == 1 else STEP_FUSIONS[self.fusion]
            self.lstm = lstm(self.lstm_width, self.bidirectional)
            self.pooling = AttentivePooling(self.pooling_width)
        self.fusion_norm = nn.LayerNorm()
        self.fusion_layer = nn.Dense(self.fused_width)

    def _setup_heads(self) -> None:
        encoder = (self.embedding_width, self.encoder_hidden, self.dropout)
        self.emotion_encoder = TaskEncoder(*encoder)
        self.emotion_head = nn.Dense(self.num_emotions)
        if not self.decouple:
            return
        if self.erasure:
            self.identity_erasure = LinearErasure()
            self.emotion_erasure = LinearErasure()
        self.identity_encoder = TaskEncoder(*encoder)
        self.identity_head = nn.Dense(self.num_subjects)
        if self.adversary != "none":
            emotions = self.num_emotions if self.adversary == "conditional" else 0
            subjects = self.num_subjects if self.adversary == "conditional" else 0
            hidden = self.adversary_hidden
            self.identity_adversary = Adversary(self.num_subjects, hidden, emotions)
            self.emotion_adversary = Adversary(self.num_emotions, hidden, subjects)

    def _check(self) -> None:
        if self.fusion not in FUSIONS:
            raise UserError(f"no fusion '{self.fusion}': say one of {', '.join(FUSIONS)}")
        if self.fusion not in STEP_FUSIONS and len(self.modalities) != 2:
            raise UserError(f"fusion '{self.fusion}' needs both modalities")
        if self.fusion == AVERAGED_LOGITS and self.decouple:
            raise UserError(f"fusion '{self.fusion}' has no z to decouple: fuse only")
        if self.adversary not in ADVERSARIES:
            raise UserError(f"no adversary '{self.adversary}': say one of {', '.join(ADVERSARIES)}")
        if self.decouple and self.num_subjects < 1:
            raise UserError("decoupling needs training subjects: give num_subjects, or fuse only")

    def __call__(
        self,
        batch: Mapping[str, Any],
        *,
        train: bool = False,
        video_present: Bool[Array, " B"] | None = None,
        audio_present: Bool[Array, " B"] | None = None,
        reversal_strength: Float[Array, ""] | float = 0.0,
    ) -> Outputs:
        """`fuse`, then `separate` with the batch's labels, which reach the adversaries alone.

        Args: see those two. Training needs the random stream `dropout` and mutable `batch_stats`.
        """
        fused = self.fuse(
            batch, train=train, video_present=video_present, audio_present=audio_present
        )
        decoupled = self.separate(
            fused.embedding,
            train=train,
            emotion=jnp.asarray(batch["emotion"]),
            subject=jnp.asarray(batch["subject"]),
            reversal_strength=reversal_strength,
        )
        return Outputs(fused, decoupled)

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
        video = audio = None
        if "video" in self.modalities:
            video = self.video_sequence(batch, video_present, train)
        if "audio" in self.modalities:
            audio = self.audio_sequence(batch, audio_present, train)
        duration = seen_duration(batch, video, audio)
        times = step_times(duration, self.lstm_steps)

        logits = {}
        if video is not None:
            logits["video"] = self._logits(self.video_head, video, train)
        if audio is not None:
            logits["audio"] = self._logits(self.audio_head, audio, train)
        if video is not None and audio is not None and self.fusion not in STEP_FUSIONS:
            fused = self._fuse_sequences(video, audio, times, logits, train)
        else:
            fused = self._fuse_steps(video, audio, times, duration, train)
        if self.person_centred and self.fusion != AVERAGED_LOGITS:
            self.embedding_mean(fused.embedding, batch["valid"], train)
        return fused._replace(
            video_logits=logits.get("video"),
            audio_logits=logits.get("audio"),
            video_available=None if video is None else video.mask.any(axis=1),
            audio_available=None if audio is None else audio.mask.any(axis=1),
        )

    def _fuse_steps(
        self,
        video: Sequence | None,
        audio: Sequence | None,
        times: Float[Array, "B S"],
        duration: Float[Array, " B"],
        train: bool,
    ) -> Fused:
        """Alignment, self-attention, LSTM, attentive pooling."""
        seen, heard = None, None
        if video is not None:
            seen = self._align(self.video_attention, video, times, duration, train)
        if audio is not None:
            heard = self._align(self.audio_attention, audio, times, duration, train)
        steps = [branch for branch in (seen, heard) if branch is not None]
        masks = [branch.mask for branch in steps]
        outputs = self.lstm(*[branch.values for branch in steps], *masks)
        pooled, step_weights = self.pooling(outputs, jnp.stack(masks).any(axis=0))
        means = [masked_mean(s.values, s.seen) for s in (video, audio) if s is not None]
        parts = [pooled, *means] if self.skip_connection else [pooled]
        inputs = self.fusion_norm(jnp.concatenate(parts, axis=-1))
        return Fused(
            inputs=inputs,
            embedding=self.fusion_layer(inputs),
            step_times=times,
            video_steps=None if seen is None else seen.mask,
            audio_steps=None if heard is None else heard.mask,
            video_attention=None if seen is None else seen.attention,
            audio_attention=None if heard is None else heard.attention,
            step_outputs=outputs,
            step_weights=step_weights,
        )

    def _fuse_sequences(
        self,
        video: Sequence,
        audio: Sequence,
        times: Float[Array, "B S"],
        logits: Mapping[str, Float[Array, "B emotions"]],
        train: bool,
    ) -> Fused:
        """A baseline's fusion, of sequences that are not aligned."""
        if self.fusion == AVERAGED_LOGITS:
            average, means = averaged_logits(video, audio, logits["video"], logits["audio"])
            # Both networks are trained by their own heads alone (objective.auxiliary_weight).
            z = jnp.concatenate([means, jax.lax.stop_gradient(average)], axis=-1)
            return Fused(inputs=z, embedding=z, step_times=times)
        inputs = self.fusion_norm(self.baseline(video, audio, train))
        return Fused(inputs=inputs, embedding=self.fusion_layer(inputs), step_times=times)

    def separate(
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
          reversal_strength: factor of the adversaries' gradients, sign apart, where they enter the
            encoders. At 0 the adversaries are mere probes.
        """
        if self.fusion == AVERAGED_LOGITS:  # z ends in them
            return Decoupled(embedding, embedding[:, -self.num_emotions :])
        z_e = self.emotion_encoder(embedding, train)
        if not self.decouple:
            return Decoupled(z_e, self.emotion_head(self._drop(z_e, train)))
        z_i = self.identity_encoder(embedding, train)
        if self.erasure and not train:
            z_e, z_i = self.identity_erasure(z_e), self.emotion_erasure(z_i)
        decoupled = Decoupled(
            emotion_embedding=z_e,
            emotion_logits=self.emotion_head(self._drop(z_e, train)),
            identity_embedding=z_i,
            identity_logits=self.identity_head(self._drop(z_i, train)),
        )
        if self.adversary == "none":
            return decoupled
        reversed_z_e = gradient_reversal(z_e, reversal_strength)
        reversed_z_i = gradient_reversal(z_i, reversal_strength)
        return decoupled._replace(
            adversary_identity_logits=self.identity_adversary(reversed_z_e, emotion),
            adversary_emotion_logits=self.emotion_adversary(reversed_z_i, subject),
        )

    def centre(
        self, embedding: Float[Array, "B Z"], person_mean: Float[Array, "B Z"]
    ) -> Float[Array, "B Z"]:
        """z less the mean of z over other clips of its person, plus the mean over all people.

        What the clips of a person have in common is identity. Every clip of the training subjects
        is centred so in training (`objective.person_centred_weight`).

        Args:
          embedding: z, from `fuse`.
          person_mean: the mean of z over other clips of the clip's person; no label is needed.
        """
        rows = jnp.ones(embedding.shape[:1], bool)
        overall_mean = self.embedding_mean(embedding, rows, train=False)
        return embedding - person_mean + overall_mean[None]

    def _align(
        self,
        attention: StepAttention | None,
        sequence: Sequence,
        times: Float[Array, "B S"],
        duration: Float[Array, " B"],
        train: bool,
    ) -> Steps:
        """The sequence at the steps, after self-attention among them."""
        distance = duration / self.lstm_steps
        values, mask = align(
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
            values, weights = attention(values, times, mask, train)
        return Steps(self._drop(values, train), mask, weights)

    def _logits(
        self, head: nn.Dense, sequence: Sequence, train: bool
    ) -> Float[Array, "B emotions"]:
        """Emotion from one modality alone, whether or not the fusion sees it."""
        return head(self._drop(masked_mean(sequence.values, sequence.mask), train))

    def _drop(self, x: Array, train: bool) -> Array:
        return self.drop(x, deterministic=not train)


def seen_duration(
    batch: Mapping[str, Array], video: Sequence | None, audio: Sequence | None
) -> Float[Array, " B"]:
    """Seconds of each clip that the fusion sees, so that to drop a modality is not to have it."""
    duration = jnp.zeros(batch["valid"].shape, jnp.float32)
    if video is not None:
        duration = jnp.maximum(duration, jnp.where(video.seen, video.times, 0.0).max(axis=1))
    if audio is not None:
        seconds = batch["audio_length"].astype(jnp.float32) / AUDIO_SAMPLE_RATE
        duration = jnp.maximum(duration, jnp.where(audio.seen.any(axis=1), seconds, 0.0))
    return duration
