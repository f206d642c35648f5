"""The ordinary LSTM over one masked sequence: for one modality, or both concatenated."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jax_avemo.models.lstm.cell import LSTMCell, run_cell


class SequenceLSTM(nn.Module):
    """An LSTM over one sequence, one way or both; the cell is `lstm_cell`."""

    width: int
    """H, of one direction."""
    bidirectional: bool

    @nn.compact
    def __call__(
        self, x: Float[Array, "B S D"], mask: Bool[Array, "B S"]
    ) -> Float[Array, "B S width"]:
        """h of every step: [B, S, width], or twice that when bidirectional."""
        x = jnp.where(mask[..., None], x, 0.0)
        outputs = []
        for direction in ("forward", "backward") if self.bidirectional else ("forward",):
            projected = nn.Dense(4 * self.width, use_bias=False, name=f"{direction}_input")(x)
            cell = LSTMCell(self.width, sequences=1, name=f"{direction}_cell")
            backward = direction == "backward"
            outputs.append(run_cell(cell, projected, mask[..., None], backward=backward))
        return jnp.concatenate(outputs, axis=-1)


class ConcatenatedLSTM(nn.Module):
    """An ordinary LSTM that reads [video; audio] as one sequence, in place of `DualLSTM`.

    An ablation: one input gate and one candidate for both modalities. A missing one is zeros.
    """

    width: int
    bidirectional: bool

    @nn.compact
    def __call__(
        self,
        video: Float[Array, "B S Dv"],
        audio: Float[Array, "B S Da"],
        video_mask: Bool[Array, "B S"],
        audio_mask: Bool[Array, "B S"],
    ) -> Float[Array, "B S width"]:
        """h of every step: [B, S, width], or twice that when bidirectional."""
        video = jnp.where(video_mask[..., None], video, 0.0)
        audio = jnp.where(audio_mask[..., None], audio, 0.0)
        both = jnp.concatenate([video, audio], axis=-1)
        lstm = SequenceLSTM(self.width, self.bidirectional, name="lstm")
        return lstm(both, video_mask | audio_mask)
