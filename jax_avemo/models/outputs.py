"""What the network names of all that it computes."""

from typing import NamedTuple

from jaxtyping import Array, Bool, Float


class Fused(NamedTuple):
    """What `AVEmo.fuse` computes. None = the modality is off."""

    inputs: Float[Array, "B K"]
    """What the layer `fusion` reads: its kernel's gradient is inputs^T (dL / d embedding)."""
    embedding: Float[Array, "B Z"]
    """z."""
    video_logits: Float[Array, "B emotions"] | None
    """Emotion from the picture alone, whether or not the fusion saw it (modality dropout)."""
    audio_logits: Float[Array, "B emotions"] | None
    video_available: Bool[Array, " B"] | None
    """The batch has it: where False, `video_logits` say nothing."""
    audio_available: Bool[Array, " B"] | None
    step_times: Float[Array, "B S"]
    """Seconds."""
    video_steps: Bool[Array, "B S"] | None
    """Where the fusion saw the picture; from here on None also of a fusion without steps."""
    audio_steps: Bool[Array, "B S"] | None
    video_attention: Float[Array, "B heads S S"] | None
    """Which step (axis 2) looks at which (axis 3); None also without embedded self-attention."""
    audio_attention: Float[Array, "B heads S S"] | None
    step_outputs: Float[Array, "B S L"] | None
    """The recurrent network's."""
    step_weights: Float[Array, "B S"] | None
    """What each step counts in the embedding."""


class Decoupled(NamedTuple):
    """What `AVEmo.decouple` computes. None = that part is off."""

    emotion_embedding: Float[Array, "B E"]
    """z_e."""
    identity_embedding: Float[Array, "B E"] | None
    """z_i."""
    emotion_logits: Float[Array, "B emotions"]
    identity_logits: Float[Array, "B subjects"] | None
    adversary_identity_logits: Float[Array, "B subjects"] | None
    """Identity, read from z_e."""
    adversary_emotion_logits: Float[Array, "B emotions"] | None
    """Emotion, read from z_i."""


class Outputs(NamedTuple):
    """Everything `AVEmo` names: the fields of `Fused`, then those of `Decoupled`."""

    inputs: Float[Array, "B K"]
    embedding: Float[Array, "B Z"]
    video_logits: Float[Array, "B emotions"] | None
    audio_logits: Float[Array, "B emotions"] | None
    video_available: Bool[Array, " B"] | None
    audio_available: Bool[Array, " B"] | None
    step_times: Float[Array, "B S"]
    video_steps: Bool[Array, "B S"] | None
    audio_steps: Bool[Array, "B S"] | None
    video_attention: Float[Array, "B heads S S"] | None
    audio_attention: Float[Array, "B heads S S"] | None
    step_outputs: Float[Array, "B S L"] | None
    step_weights: Float[Array, "B S"] | None
    emotion_embedding: Float[Array, "B E"]
    identity_embedding: Float[Array, "B E"] | None
    emotion_logits: Float[Array, "B emotions"]
    identity_logits: Float[Array, "B subjects"] | None
    adversary_identity_logits: Float[Array, "B subjects"] | None
    adversary_emotion_logits: Float[Array, "B emotions"] | None
