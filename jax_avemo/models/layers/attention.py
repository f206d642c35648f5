"""Masked self-attention, attentive pooling and the encoding of times."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

SHORTEST_PERIOD_SECONDS = 0.1
LONGEST_PERIOD_SECONDS = 100.0
"""Periods of the time encoding: from a phoneme to longer than any clip."""


def masked_softmax(
    logits: Float[Array, "*dims T"], mask: Bool[Array, "*dims T"]
) -> Float[Array, "*dims T"]:
    """Softmax over the last axis among True elements only; all zeros where none is True.

    In at least float32. Where nothing is real, value and gradient are zero, never NaN.
    """
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    # The lowest finite number rather than -inf: a row with nothing real becomes uniform, and the
    # second `where` turns both it and its gradient into zeros.
    weights = nn.softmax(jnp.where(mask, logits, jnp.finfo(logits.dtype).min), axis=-1)
    return jnp.where(mask, weights, 0.0)


def masked_mean(x: Float[Array, "B T D"], mask: Bool[Array, "B T"]) -> Float[Array, "B D"]:
    """Mean over the real steps; zeros where there is none."""
    total = jnp.where(mask[..., None], x, 0.0).sum(axis=1)
    return total / jnp.maximum(mask.sum(axis=1, dtype=x.dtype), 1.0)[:, None]


def time_encoding(times_seconds: Float[Array, "*dims"], width: int) -> Float[Array, "*dims D"]:
    """Sinusoidal position encoding (Vaswani et al. 2017, 3.5) of moments instead of indices.

    Feature k < D/2 is sin(2 pi t / p_k), feature D/2 + k is cos(2 pi t / p_k), with the periods
    p_k spaced geometrically from 0.1 to 100 s. Equal times have equal codes at every frame rate.

    Raises:
      ValueError: `width` (D) is odd.
    """
    if width % 2:
        raise ValueError(f"time_encoding needs an even width, not {width}")
    periods = jnp.geomspace(
        SHORTEST_PERIOD_SECONDS, LONGEST_PERIOD_SECONDS, width // 2, dtype=times_seconds.dtype
    )
    frequencies = (2 * jnp.pi / periods).reshape((1,) * times_seconds.ndim + (-1,))
    angle = times_seconds[..., None] * frequencies
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


class SelfAttention(nn.Module):
    """Multi-head self-attention on a normalised input, added to it (Vaswani et al. 2017).

        y = LayerNorm(x);   q, k, v = y W_qkv + b
        out = x + W_o concat_heads( softmax_{real j}(q_i k_j / sqrt(D / heads)) v_j )

    Padding steps are neither attended to nor changed, whatever they contain. Where a sequence has
    no real step the attention is zero, and so is its gradient.
    """

    heads: int
    dropout: float
    """Of the attention's result, before it is added."""

    def __call__(
        self, x: Float[Array, "B T D"], mask: Bool[Array, "B T"], train: bool
    ) -> Float[Array, "B T D"]:
        """The sequence after attention; same shape and type as `x`."""
        return self.with_weights(x, mask, train)[0]

    @nn.compact
    def with_weights(
        self, x: Float[Array, "B T D"], mask: Bool[Array, "B T"], train: bool
    ) -> tuple[Float[Array, "B T D"], Float[Array, "B heads T T"]]:
        """As `__call__`, and beside it which step (axis 2) looks at which (axis 3).

        Raises:
          ValueError: `heads` does not divide D.
        """
        width = x.shape[-1]
        if width % self.heads:
            raise ValueError(f"{self.heads} attention heads do not divide a width of {width}")
        real = mask[..., None]
        y = nn.LayerNorm(name="norm")(jnp.where(real, x, 0.0))
        y = nn.Dense(3 * width, name="query_key_value")(y)
        y = y.reshape(*y.shape[:2], 3, self.heads, width // self.heads)
        query, key, value = y[:, :, 0], y[:, :, 1], y[:, :, 2]  # each B T heads d
        logits = jnp.einsum("bqhd,bkhd->bhqk", query, key) * (width // self.heads) ** -0.5
        # A padding step asks nothing either, so that its weights are zeros in every plot.
        pairs = mask[:, None, :, None] & mask[:, None, None, :]
        weights = masked_softmax(logits, jnp.broadcast_to(pairs, logits.shape))
        y = jnp.einsum("bhqk,bkhd->bqhd", weights.astype(value.dtype), value)
        y = nn.Dense(width, name="output")(y.reshape(*y.shape[:2], width))
        y = nn.Dropout(self.dropout, deterministic=not train)(y)
        return x + jnp.where(real, y, 0.0).astype(x.dtype), weights


class StepAttention(nn.Module):
    """Self-attention among aligned steps that know their time ("embedded" before the LSTM)."""

    heads: int

    @nn.compact
    def __call__(
        self,
        steps: Float[Array, "B S D"],
        times: Float[Array, "B S"],
        mask: Bool[Array, "B S"],
        train: bool,
    ) -> tuple[Float[Array, "B S D"], Float[Array, "B heads S S"]]:
        """The steps after attention, and who looked at whom."""
        # Small beside the content: enough to order the steps, too little to drown them.
        init = nn.initializers.constant(0.03)
        gain = self.param("position_gain", init, (steps.shape[-1],))
        steps = steps + time_encoding(times, steps.shape[-1]) * gain[None, None]
        return SelfAttention(self.heads, dropout=0.0, name="attention").with_weights(
            steps, mask, train
        )


class AttentivePooling(nn.Module):
    """One vector from a sequence: w = softmax_{real t}(u . tanh(W x_t + b)), out = sum_t w_t x_t.

    Additive attention (Bahdanau et al. 2015; Yang et al. 2016) with a learned query. A sequence
    without a real step gives zeros.
    """

    width: int
    """Of the hidden layer that scores a step."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], mask: Bool[Array, "B T"]
    ) -> tuple[Float[Array, "B D"], Float[Array, "B T"]]:
        """The pooled vectors and the weight of every step."""
        x = jnp.where(mask[..., None], x, 0.0)
        hidden = jax.nn.tanh(nn.Dense(self.width, name="hidden")(x))
        # No bias: the softmax would not see it.
        scores = nn.Dense(1, use_bias=False, name="score")(hidden)[..., 0]
        weights = masked_softmax(scores, mask)
        return jnp.einsum("bt,btd->bd", weights.astype(x.dtype), x), weights
