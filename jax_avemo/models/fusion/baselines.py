"""Baseline fusions of other papers, over the same two front ends.

Each takes the sequences of `front_ends` (never aligned: their papers attend across the clocks) and
gives one vector a clip; AVEmo's last layer makes z of it, so that z, z_e and what they give away
are measured alike. Where this leaves a paper is listed in docs/reference/baselines.md. Elements
that the fusion does not see change nothing, and an absent modality is one without elements.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jax_avemo.models.front_ends import Sequence
from jax_avemo.models.layers.attention import SelfAttention, masked_mean, masked_softmax
from jax_avemo.models.layers.batch_norm import MaskedBatchNorm

AVERAGED_LOGITS = "averaged_logits"
"""Late fusion without a fusion: see `averaged_logits`."""


class TemporalConvolutions(nn.Module):
    """Twice ReLU(BatchNorm(Conv_3(x))) over time; what is masked stays zero."""

    batch_norm_momentum: float

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], mask: Bool[Array, "B T"], train: bool
    ) -> Float[Array, "B T D"]:
        """The sequence, as long and as wide as before."""
        real = mask[..., None]
        x = jnp.where(real, x, 0.0)
        for block in range(2):
            # No bias: batch norm would take it away again.
            x = nn.Conv(x.shape[-1], (3,), use_bias=False, name=f"conv_{block}")(x)
            norm = MaskedBatchNorm(momentum=self.batch_norm_momentum, name=f"norm_{block}")
            x = jnp.where(real, nn.relu(norm(x, mask, train)), 0.0)
        return x


def cross_attention(
    query: Float[Array, "B Q D"],
    key: Float[Array, "B K D"],
    query_mask: Bool[Array, "B Q"],
    key_mask: Bool[Array, "B K"],
    heads: int,
) -> Float[Array, "B heads Q K"]:
    """softmax_{real k}(q . k / sqrt(D / heads)) of every real query; zeros elsewhere."""
    width = query.shape[-1] // heads
    q = query.reshape(*query.shape[:2], heads, width)
    k = key.reshape(*key.shape[:2], heads, width)
    logits = jnp.einsum("bqhd,bkhd->bhqk", q, k) * width**-0.5
    pairs = query_mask[:, None, :, None] & key_mask[:, None, None, :]
    return masked_softmax(logits, jnp.broadcast_to(pairs, logits.shape))


class CrossTransformer(nn.Module):
    """One sequence looks at the other: x = q + W_o A(LN q, LN k) v, then x + MLP(LN x)."""

    heads: int
    dropout: float

    @nn.compact
    def __call__(
        self,
        query: Float[Array, "B Q D"],
        key: Float[Array, "B K D"],
        query_mask: Bool[Array, "B Q"],
        key_mask: Bool[Array, "B K"],
        train: bool,
    ) -> Float[Array, "B Q D"]:
        """The querying sequence, informed by the other; where that is absent, by itself alone."""
        width = query.shape[-1]
        q = nn.LayerNorm(name="query_norm")(query)
        k = nn.LayerNorm(name="key_norm")(key)
        value = nn.Dense(width, use_bias=False, name="value")(k)
        weights = cross_attention(
            nn.Dense(width, use_bias=False, name="query")(q),
            nn.Dense(width, use_bias=False, name="key")(k),
            query_mask,
            key_mask,
            self.heads,
        )
        value = value.reshape(*value.shape[:2], self.heads, width // self.heads)
        read = jnp.einsum("bhqk,bkhd->bqhd", weights, value).reshape(query.shape)
        # No bias: where there is nothing to look at, nothing is added.
        read = nn.Dense(width, use_bias=False, name="output")(read)
        x = query + nn.Dropout(self.dropout, deterministic=not train)(read)
        y = nn.gelu(nn.Dense(2 * width, name="hidden")(nn.LayerNorm(name="norm")(x)))
        y = nn.Dense(width, name="result")(y)
        x = x + nn.Dropout(self.dropout, deterministic=not train)(y)
        return jnp.where(query_mask[..., None], x, 0.0)


class _Baseline(nn.Module):
    """The fields of all baselines."""

    heads: int
    dropout: float
    batch_norm_momentum: float

    def convolutions(self, name: str) -> TemporalConvolutions:
        """Two blocks over time."""
        return TemporalConvolutions(self.batch_norm_momentum, name=name)


class CrossModalResidual(_Baseline):
    """CFN-SR (Fu et al. 2021, arXiv 2111.02172), after MSAF (Su et al. 2020, arXiv 2012.07175).

        y = mean of Transformer(audio);   w = softmax_t(u . tanh(W_x x_t + b + W_y y))
        x'_t = x_t + w_t x_t;   out = [mean x' ; mean audio]

    Audio passes self-attention, then tells which elements of the video count; the residual keeps
    what was there, and the original audio stands beside.
    """

    @nn.compact
    def __call__(self, video: Sequence, audio: Sequence, train: bool) -> Float[Array, "B K"]:
        """One vector a clip, [B, 2 D]."""
        x = jnp.where(video.seen[..., None], video.values, 0.0)
        sound = jnp.where(audio.seen[..., None], audio.values, 0.0)
        attended = SelfAttention(self.heads, self.dropout, name="audio_attention")(
            sound, audio.seen, train
        )
        hidden = nn.gelu(
            nn.Dense(2 * sound.shape[-1], name="hidden")(nn.LayerNorm(name="norm")(attended))
        )
        attended = attended + nn.Dense(sound.shape[-1], name="result")(hidden)
        told = masked_mean(attended, audio.seen)
        width = x.shape[-1]
        scores = nn.Dense(width, name="of_picture")(x)
        scores += nn.Dense(width, use_bias=False, name="of_sound")(told)[:, None, :]
        weights = masked_softmax(
            nn.Dense(1, use_bias=False, name="score")(jnp.tanh(scores))[..., 0], video.seen
        )
        fused = masked_mean(x * (1.0 + weights[..., None]), video.seen)
        return jnp.concatenate([fused, masked_mean(sound, audio.seen)], axis=-1)


class IntermediateAttention(_Baseline):
    """Intermediate attention fusion (Chumachenko et al., ICPR 2022, arXiv 2201.11095, 3.2).

        A = softmax(Q_a K_v^T / sqrt(d));   v_k = sum_q A_qk   (and with the parts exchanged)

    Between two stages of convolutions each modality is only *weighted* by how much the other looks
    at it; no feature crosses. v is scaled so that even attention gives 1, and is 1 where the other
    modality is absent.
    """

    @nn.compact
    def __call__(self, video: Sequence, audio: Sequence, train: bool) -> Float[Array, "B K"]:
        """One vector a clip, [B, 2 D]."""
        x = self.convolutions("video_stage_1")(video.values, video.seen, train)
        y = jnp.where(audio.seen[..., None], audio.values, 0.0)
        x, y = (
            x * self._weights("audio_looks", y, x, audio.seen, video.seen)[..., None],
            y * self._weights("video_looks", x, y, video.seen, audio.seen)[..., None],
        )
        x = self.convolutions("video_stage_2")(x, video.seen, train)
        y = self.convolutions("audio_stage_2")(y, audio.seen, train)
        return jnp.concatenate([masked_mean(x, video.seen), masked_mean(y, audio.seen)], axis=-1)

    def _weights(
        self, name: str, looking: Array, seen: Array, looking_mask: Array, seen_mask: Array
    ) -> Float[Array, "B K"]:
        width = looking.shape[-1]
        weights = cross_attention(
            nn.Dense(width, use_bias=False, name=f"{name}_query")(looking),
            nn.Dense(width, use_bias=False, name=f"{name}_key")(seen),
            looking_mask,
            seen_mask,
            self.heads,
        ).mean(axis=1)
        queries = looking_mask.sum(axis=1, dtype=weights.dtype)[:, None]
        keys = seen_mask.sum(axis=1, dtype=weights.dtype)[:, None]
        shares = keys * weights.sum(axis=1) / jnp.maximum(queries, 1.0)
        return jnp.where(queries > 0, shares, 1.0)


class IntermediateTransformer(_Baseline):
    """Intermediate transformer fusion (Chumachenko et al., ICPR 2022, arXiv 2201.11095, 3.2).

    Between two stages of convolutions each sequence takes in what it finds in the other.
    """

    @nn.compact
    def __call__(self, video: Sequence, audio: Sequence, train: bool) -> Float[Array, "B K"]:
        """One vector a clip, [B, 2 D]."""
        x = self.convolutions("video_stage_1")(video.values, video.seen, train)
        y = jnp.where(audio.seen[..., None], audio.values, 0.0)
        block = (self.heads, self.dropout)
        x, y = (
            CrossTransformer(*block, name="video_block")(x, y, video.seen, audio.seen, train),
            CrossTransformer(*block, name="audio_block")(y, x, audio.seen, video.seen, train),
        )
        x = self.convolutions("video_stage_2")(x, video.seen, train)
        y = self.convolutions("audio_stage_2")(y, audio.seen, train)
        return jnp.concatenate([masked_mean(x, video.seen), masked_mean(y, audio.seen)], axis=-1)


class LateTransformer(_Baseline):
    """Late transformer fusion (Chumachenko et al., ICPR 2022, arXiv 2201.11095, 3.2).

    Both stages of convolutions first, then each sequence looks at the other, then means.
    """

    @nn.compact
    def __call__(self, video: Sequence, audio: Sequence, train: bool) -> Float[Array, "B K"]:
        """One vector a clip, [B, 2 D]."""
        x = self.convolutions("video_stage_1")(video.values, video.seen, train)
        x = self.convolutions("video_stage_2")(x, video.seen, train)
        y = self.convolutions("audio_stage_2")(audio.values, audio.seen, train)
        block = (self.heads, self.dropout)
        x, y = (
            CrossTransformer(*block, name="video_block")(x, y, video.seen, audio.seen, train),
            CrossTransformer(*block, name="audio_block")(y, x, audio.seen, video.seen, train),
        )
        return jnp.concatenate([masked_mean(x, video.seen), masked_mean(y, audio.seen)], axis=-1)


def averaged_logits(
    video: Sequence,
    audio: Sequence,
    video_logits: Float[Array, "B emotions"],
    audio_logits: Float[Array, "B emotions"],
) -> tuple[Float[Array, "B emotions"], Float[Array, "B K"]]:
    """Mean of the logits of the modalities that a clip has, and [mean video ; mean audio].

    The vector's halves are weighted as the logits are: an absent modality's is zeros.
    """
    has = jnp.stack([video.seen.any(axis=1), audio.seen.any(axis=1)], axis=1)
    share = has / jnp.maximum(has.sum(axis=1, keepdims=True), 1)
    of_video, of_audio = share[:, :1], share[:, 1:]
    logits = of_video * video_logits + of_audio * audio_logits
    means = [
        of_video * masked_mean(video.values, video.seen),
        of_audio * masked_mean(audio.values, audio.seen),
    ]
    return logits, jnp.concatenate(means, axis=-1)


BASELINE_FUSIONS: dict[str, type[_Baseline]] = {
    "cross_modal_residual": CrossModalResidual,
    "intermediate_attention": IntermediateAttention,
    "intermediate_transformer": IntermediateTransformer,
    "late_transformer": LateTransformer,
}
