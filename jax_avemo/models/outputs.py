"""The outputs of the network."""

from typing import NamedTuple

from jaxtyping import Array, Bool, Float


class Fused(NamedTuple):
    """What `AVEmo.fuse` computes. None: the modality is off, or the fusion has no such part."""

    inputs: Float[Array, "B K"]
    """What the layer `fusion` reads: its kernel's gradient is inputs^T (dL / d embedding)."""
    embedding: Float[Array, "B Z"]
    """z."""
    step_times: Float[Array, "B S"]
    """Seconds."""
    video_logits: Float[Array, "B emotions"] | None = None
    """Emotion from the video alone, whether or not the fusion saw it (modality dropout)."""
    audio_logits: Float[Array, "B emotions"] | None = None
    video_available: Bool[Array, " B"] | None = None
    """The batch has it: where False, `video_logits` say nothing."""
    audio_available: Bool[Array, " B"] | None = None
    video_steps: Bool[Array, "B S"] | None = None
    """Where the fusion saw the video."""
    audio_steps: Bool[Array, "B S"] | None = None
    video_attention: Float[Array, "B heads S S"] | None = None
    """Which step (axis 2) looks at which (axis 3)."""
    audio_attention: Float[Array, "B heads S S"] | None = None
    step_outputs: Float[Array, "B S L"] | None = None
    """The recurrent network's."""
    step_weights: Float[Array, "B S"] | None = None
    """What each step counts in the embedding."""


class Decoupled(NamedTuple):
    """What `AVEmo.separate` computes. None: that part is off."""

    emotion_embedding: Float[Array, "B E"]
    """z_e."""
    emotion_logits: Float[Array, "B emotions"]
    identity_embedding: Float[Array, "B E"] | None = None
    """z_i."""
    identity_logits: Float[Array, "B subjects"] | None = None
    adversary_identity_logits: Float[Array, "B subjects"] | None = None
    """Identity, read from z_e."""
    adversary_emotion_logits: Float[Array, "B emotions"] | None = None
    """Emotion, read from z_i."""


class Outputs(NamedTuple):
    """What `AVEmo` computes."""

    fused: Fused
    decoupled: Decoupled
