"""PyTorch twins of the audio network, attention and the dual-sequence LSTM."""

import math

import torch
from torch import nn
from torch.nn import functional as F

LAYER_NORM_EPSILON = 1e-6
"""Flax's; PyTorch's is 1e-5."""


def layer_norm(width: int) -> nn.LayerNorm:
    """As Flax has it."""
    return nn.LayerNorm(width, eps=LAYER_NORM_EPSILON)


def time_encoding(seconds: torch.Tensor, width: int) -> torch.Tensor:
    """Sines and cosines of moments, periods of 0.1 to 100 s."""
    periods = torch.logspace(-1, 2, width // 2, device=seconds.device)
    angle = seconds[..., None] * (2 * math.pi / periods)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def _drawn(*shape: int) -> nn.Parameter:
    """A parameter of ordinary size: memory as it is found holds slow numbers (denormal ones)."""
    return nn.Parameter(torch.randn(shape) * shape[0] ** -0.5)


class SelfAttention(nn.Module):
    """Pre-norm multi-head self-attention with a shortcut; `mask` None = every step is real."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = layer_norm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        y = x if mask is None else x * mask[..., None]
        qkv = self.query_key_value(self.norm(y)).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        if mask is None:
            y = F.scaled_dot_product_attention(query, key, value)
        else:
            logits = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
            logits = logits.masked_fill(~mask[:, None, None, :], torch.finfo(logits.dtype).min)
            y = (logits.softmax(-1) * mask[:, None, None, :]) @ value
        y = self.output(y.transpose(1, 2).flatten(2))
        return x + (y if mask is None else y * mask[..., None])


class StepAttention(nn.Module):
    """Self-attention among steps that know their time."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.position_gain = _drawn(width)
        self.attention = SelfAttention(width, heads)

    def forward(self, steps: torch.Tensor, times: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        positions = time_encoding(times, steps.shape[-1]) * self.position_gain
        return self.attention(steps + positions, mask)


class AttentivePooling(nn.Module):
    """One vector from a sequence."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(inputs, width)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        scores = self.score(torch.tanh(self.hidden(x)))[..., 0]
        weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1)
        return torch.einsum("bt,btd->bd", weights, x)


class TemporalBlock(nn.Module):
    """Two convolutions over time, the first with stride 2, and a 1x1 shortcut; B C T."""

    def __init__(
        self, inputs: int, features: int, kernel: int, dropout: float, momentum: float
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(inputs, features, kernel, 2, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm1d(features, momentum=momentum)
        self.conv2 = nn.Conv1d(features, features, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm1d(features, momentum=momentum)
        self.shortcut = nn.Conv1d(inputs, features, 1, 2, bias=False)
        self.shortcut_bn = nn.BatchNorm1d(features, momentum=momentum)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return self.drop(F.relu(y + self.shortcut_bn(self.shortcut(x))))


class AudioNetwork(nn.Module):
    """The twin of `jax_avemo.models.audio.audio_cnn.AudioNetwork`: B T C -> B T' D."""

    def __init__(
        self,
        channels: int,
        widths: tuple[int, ...],
        kernel: int,
        width: int,
        heads: int,
        dropout: float,
        hop_seconds: float,
        momentum: float,
    ) -> None:
        super().__init__()
        self.seconds_a_step = hop_seconds * 2 ** len(widths)
        self.blocks = [f"block{k + 1}" for k in range(len(widths))]
        for name, inputs, features in zip(self.blocks, (channels, *widths), widths, strict=False):
            self.add_module(name, TemporalBlock(inputs, features, kernel, dropout, momentum))
        self.projection = nn.Linear(widths[-1], width)
        self.position_gain = _drawn(width)
        self.attention = SelfAttention(width, heads)
        self.norm = layer_norm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.transpose(1, 2)
        for name in self.blocks:
            x = self.get_submodule(name)(x)
        x = self.projection(x.transpose(1, 2))
        seconds = torch.arange(x.shape[1], device=x.device) * self.seconds_a_step
        x = x + time_encoding(seconds, x.shape[-1]) * self.position_gain
        return self.norm(self.attention(x))


class DualLSTMCell(nn.Module):
    """The recurrent parameters."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.kernel_hidden = _drawn(width, 6 * width)
        self.bias = _drawn(6 * width)


class DualLSTMDirection(nn.Module):
    """A loop over the cell; the inputs are projected before it, for all steps at once."""

    def __init__(self, inputs: int, width: int, backward: bool) -> None:
        super().__init__()
        self.width, self.backward = width, backward
        self.kernel_video = _drawn(inputs, 5 * width)
        self.kernel_audio = _drawn(inputs, 5 * width)
        self.missing_video = _drawn(inputs)
        self.missing_audio = _drawn(inputs)
        self.cell = DualLSTMCell(width)

    def forward(
        self,
        video: torch.Tensor,
        audio: torch.Tensor,
        video_mask: torch.Tensor,
        audio_mask: torch.Tensor,
    ) -> torch.Tensor:
        H = self.width
        video = torch.where(video_mask[..., None], video, self.missing_video)
        audio = torch.where(audio_mask[..., None], audio, self.missing_audio)
        of_video, of_audio = video @ self.kernel_video, audio @ self.kernel_audio
        gates = of_video[..., : 4 * H] + of_audio[..., : 4 * H]
        projected = torch.cat([gates, of_video[..., 4 * H :], of_audio[..., 4 * H :]], dim=-1)
        projected = (projected + self.cell.bias).unbind(1)
        m_v, m_a = video_mask[..., None], audio_mask[..., None]
        real = (m_v | m_a).unbind(1)
        m_v, m_a = m_v.to(video.dtype).unbind(1), m_a.to(video.dtype).unbind(1)
        h = c = video.new_zeros(video.shape[0], H)
        outputs = [h] * video.shape[1]
        for t in reversed(range(len(outputs))) if self.backward else range(len(outputs)):
            pre = torch.addmm(projected[t], h, self.cell.kernel_hidden)
            f, i_v, i_a, o = pre[:, : 4 * H].sigmoid().chunk(4, dim=1)
            g_v, g_a = pre[:, 4 * H :].tanh().chunk(2, dim=1)
            new = f * c + m_v[t] * i_v * g_v + m_a[t] * i_a * g_a
            h = torch.where(real[t], o * new.tanh(), h)
            c = torch.where(real[t], new, c)
            outputs[t] = h
        return torch.stack(outputs, dim=1)


class DualLSTM(nn.Module):
    """The twin of `jax_avemo.models.lstm.dual_lstm.DualLSTM`, both ways."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.forwards = DualLSTMDirection(inputs, width, backward=False)
        self.backwards = DualLSTMDirection(inputs, width, backward=True)

    def forward(
        self,
        video: torch.Tensor,
        audio: torch.Tensor,
        video_mask: torch.Tensor,
        audio_mask: torch.Tensor,
    ) -> torch.Tensor:
        given = (video, audio, video_mask, audio_mask)
        return torch.cat([self.forwards(*given), self.backwards(*given)], dim=-1)
