"""The dual-sequence LSTM (Wang et al., ICASSP 2020): one cell that reads two aligned sequences."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jax_avemo.models.lstm.cell import LSTMCell, run_cell


def project(
    params: Mapping[str, Any],
    video: Float[Array, "B S Dv"],
    audio: Float[Array, "B S Da"],
    video_mask: Bool[Array, "B S"],
    audio_mask: Bool[Array, "B S"],
) -> Float[Array, "B S N"]:
    """The inputs' part of every step's pre-activations, N = 6H: two products for all steps.

    A learned vector stands for a missing modality. g_v does not see the audio, nor g_a the video.
    """
    video = jnp.where(video_mask[..., None], video, params["missing_video"][None, None])
    audio = jnp.where(audio_mask[..., None], audio, params["missing_audio"][None, None])
    from_video = video @ params["kernel_video"]  # f, i_v, i_a, o, g_v
    from_audio = audio @ params["kernel_audio"]  # f, i_v, i_a, o, g_a
    gates = from_video.shape[-1] // 5 * 4
    return jnp.concatenate(
        [
            from_video[..., :gates] + from_audio[..., :gates],
            from_video[..., gates:],
            from_audio[..., gates:],
        ],
        axis=-1,
    )


class DualLSTMDirection(nn.Module):
    """One pass over the steps, from the first to the last or back."""

    width: int
    backward: bool

    @nn.compact
    def __call__(
        self,
        video: Float[Array, "B S Dv"],
        audio: Float[Array, "B S Da"],
        video_mask: Bool[Array, "B S"],
        audio_mask: Bool[Array, "B S"],
    ) -> Float[Array, "B S H"]:
        """h of every step."""
        kernel, zeros = nn.initializers.lecun_normal(), nn.initializers.zeros
        video_width, audio_width, columns = video.shape[-1], audio.shape[-1], 5 * self.width
        params = {
            "kernel_video": self.param("kernel_video", kernel, (video_width, columns)),
            "kernel_audio": self.param("kernel_audio", kernel, (audio_width, columns)),
            "missing_video": self.param("missing_video", zeros, (video_width,)),
            "missing_audio": self.param("missing_audio", zeros, (audio_width,)),
        }
        projected = project(params, video, audio, video_mask, audio_mask)
        real = jnp.stack([video_mask, audio_mask], axis=-1)
        cell = LSTMCell(self.width, sequences=2, name="cell")
        return run_cell(cell, projected, real, backward=self.backward)


class DualLSTM(nn.Module):
    """The dual-sequence LSTM over aligned steps, one way or both; the cell is `lstm_cell`.

    A step is real when either modality is; other steps leave the state as it is and repeat the
    last output. The forget gate's bias starts at 1, recurrent blocks start orthogonal.
    """

    width: int
    """H, of one direction."""
    bidirectional: bool
    """Two cells with parameters of their own; outputs side by side, forward first."""

    @nn.compact
    def __call__(
        self,
        video: Float[Array, "B S Dv"],
        audio: Float[Array, "B S Da"],
        video_mask: Bool[Array, "B S"],
        audio_mask: Bool[Array, "B S"],
    ) -> Float[Array, "B S width"]:
        """h of every step: [B, S, width], or twice that when bidirectional."""
        given = (video, audio, video_mask, audio_mask)
        outputs = [DualLSTMDirection(self.width, backward=False, name="forward")(*given)]
        if self.bidirectional:
            outputs.append(DualLSTMDirection(self.width, backward=True, name="backward")(*given))
        return jnp.concatenate(outputs, axis=-1)
