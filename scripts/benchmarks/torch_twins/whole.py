"""PyTorch twin of the whole network, and of its training step."""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from ml_collections import ConfigDict
from torch import nn
from torch.nn import functional as F

from jax_avemo.models.audio.functionals import CEPSTRA, VOICE
from jax_avemo.models.audio.spectral import SpectralFrontEnd
from jax_avemo.models.avemo import AVEmo
from jax_avemo.models.front_ends import LARGEST
from jax_avemo.models.video.pixels import LEAST_CONTRAST, LUMINANCE, _neighbourhood
from jax_avemo.schema import AUDIO_SAMPLE_RATE
from torch_twins.images import ResNeXt
from torch_twins.sequences import (
    AttentivePooling,
    AudioNetwork,
    DualLSTM,
    StepAttention,
    layer_norm,
)
from torch_twins.sound import Sound

ADAM_B2 = 0.99


class Reverse(torch.autograd.Function):
    """Gradient reversal."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(strength)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return -ctx.saved_tensors[0] * gradient, None


class TaskEncoder(nn.Module):
    """z to z_e or z_i."""

    def __init__(self, inputs: int, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = layer_norm(inputs)
        self.drop = nn.Dropout(dropout)
        self.hidden = nn.Linear(inputs, hidden)
        self.output = nn.Linear(hidden, width)
        self.output_norm = layer_norm(width)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        hidden = F.gelu(self.hidden(self.drop(self.norm(z))), approximate="tanh")
        return self.output_norm(self.output(hidden))


class Adversary(nn.Module):
    """The conditional form."""

    def __init__(self, inputs: int, classes: int, hidden: int, conditions: int) -> None:
        super().__init__()
        self.conditions = conditions
        self.hidden = nn.Linear(inputs + conditions + inputs * conditions, hidden)
        self.output = nn.Linear(hidden, classes)

    def forward(self, z: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        y = F.one_hot(condition, self.conditions).to(z.dtype)
        outer = (z[:, :, None] * y[:, None, :]).flatten(1)
        return self.output(F.relu(self.hidden(torch.cat([z, y, outer], dim=1))))


class AVEmoTwin(nn.Module):
    """The twin of an `AVEmo` with both modalities, the dual-sequence LSTM and both adversaries."""

    def __init__(self, model: AVEmo) -> None:
        super().__init__()
        if (
            model.pixels != ("contrast",)
            or model.adversary != "conditional"
            or not model.skip_connection
        ):
            raise ValueError("the twin has contrast alone, conditional adversaries and the skip")
        self.model = model
        width, momentum = model.width, 1 - model.batch_norm_momentum
        self.video_network = ResNeXt(
            1,
            model.depths,
            model.groups,
            model.width_per_group,
            model.stem_width,
            model.stem_kernel,
            model.expansion,
            model.coordinate_attention,
            momentum,
        )
        features = model.stem_width * model.expansion * 2 ** (len(model.depths) - 1)
        self.video_projection = nn.Linear(features, width)
        self.video_norm = layer_norm(width)
        front_end = SpectralFrontEnd(
            features="log_mel",
            mel_bands=model.mel_bands,
            fft_size=model.fft_size,
            window_seconds=model.window_seconds,
            hop_seconds=model.hop_seconds,
            prosody=True,
        )
        self.sound = Sound(front_end)
        self.audio_network = AudioNetwork(
            front_end.channels,
            model.audio_widths,
            model.audio_kernel_size,
            width,
            model.heads,
            model.dropout,
            model.hop_seconds,
            momentum,
        )
        functionals = len(VOICE) + 3 * model.mel_bands + 4 * min(CEPSTRA, model.mel_bands)
        self.utterance = nn.Sequential(
            OrderedDict(
                norm=nn.BatchNorm1d(functionals, momentum=momentum),
                cut=nn.Hardtanh(-LARGEST, LARGEST),
                dropout=nn.Dropout(model.functionals_dropout),
                layer=nn.Linear(functionals, width),
            )
        )
        self.video_head = nn.Linear(width, model.num_emotions)
        self.audio_head = nn.Linear(width, model.num_emotions)
        self.video_attention = StepAttention(width, model.heads)
        self.audio_attention = StepAttention(width, model.heads)
        self.lstm = DualLSTM(width, model.lstm_width)
        self.pooling = AttentivePooling(2 * model.lstm_width, model.pooling_width)
        inputs = 2 * model.lstm_width + 2 * width
        self.fusion_norm = layer_norm(inputs)
        self.fusion_layer = nn.Linear(inputs, model.fused_width)
        encoder = (model.fused_width, model.embedding_width, model.encoder_hidden, model.dropout)
        self.emotion_encoder = TaskEncoder(*encoder)
        self.identity_encoder = TaskEncoder(*encoder)
        self.emotion_head = nn.Linear(model.embedding_width, model.num_emotions)
        self.identity_head = nn.Linear(model.embedding_width, model.num_subjects)
        emotions, subjects = model.num_emotions, model.num_subjects
        adversary = (model.embedding_width, model.adversary_hidden)
        self.identity_adversary = Adversary(adversary[0], subjects, adversary[1], emotions)
        self.emotion_adversary = Adversary(adversary[0], emotions, adversary[1], subjects)
        self.drop = nn.Dropout(model.dropout)

    def fuse(
        self,
        video: torch.Tensor,
        video_time: torch.Tensor,
        audio: torch.Tensor,
        video_present: torch.Tensor,
        audio_present: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """(z, what the layer before it reads, logits of picture, of sound)."""
        pixels = self.contrast(video)
        features = self.video_network(pixels).float()
        of_video = self.video_norm(self.video_projection(features))
        of_video = of_video.unflatten(0, video.shape[:2])
        heard, whole = self.sound(audio)
        of_audio = self.audio_network(heard).float() + self.utterance(whole)[:, None]
        audio_time = torch.arange(of_audio.shape[1], device=audio.device)
        audio_time = audio_time * self.audio_network.seconds_a_step

        seconds = audio.shape[1] / AUDIO_SAMPLE_RATE
        duration = torch.maximum(video_time.amax(1) * video_present, audio_present * seconds)
        steps = self.model.lstm_steps
        times = duration[:, None] * (torch.arange(steps, device=audio.device) + 0.5) / steps
        distance = duration / steps
        width = (distance / 2).clamp(min=self.model.alignment_width_seconds)
        gap = distance.clamp(min=self.model.alignment_gap_seconds)

        branches, logits, means = [], [], []
        for values, moments, present, head, attention in (
            (of_video, video_time, video_present, self.video_head, self.video_attention),
            (of_audio, audio_time[None], audio_present, self.audio_head, self.audio_attention),
        ):
            average = values.mean(1)
            away = moments[:, None, :] - times[:, :, None]
            near = (away.abs() <= gap[:, None, None]).any(-1) & present[:, None]
            weights = (-0.5 * (away / width[:, None, None]).square()).softmax(-1)
            aligned = (weights @ values) * near[..., None]
            branches.append((self.drop(attention(aligned, times, near)), near))
            logits.append(head(self.drop(average)))
            means.append(average * present[:, None])
        (seen, video_steps), (sounding, audio_steps) = branches
        outputs = self.lstm(seen, sounding, video_steps, audio_steps)
        pooled = self.pooling(outputs, video_steps | audio_steps)
        inputs = self.fusion_norm(torch.cat([pooled, *means], dim=-1))
        return self.fusion_layer(inputs), inputs, *logits

    def contrast(self, video: torch.Tensor) -> torch.Tensor:
        """Local contrast of the luminance, (B F) 1 H W."""
        weights = torch.tensor(LUMINANCE, device=video.device)
        luminance = ((video.float() / 255.0) @ weights).flatten(0, 1)
        down, across = (
            torch.from_numpy(_neighbourhood(size)).float().to(video.device)
            for size in luminance.shape[1:]
        )

        def smooth(x: torch.Tensor) -> torch.Tensor:
            return down @ x @ across.T

        average = smooth(luminance)
        variance = (smooth(luminance.square()) - average.square()).clamp(min=0)
        contrast = (luminance - average) / ((variance + 1e-8).sqrt() + LEAST_CONTRAST)
        return contrast[:, None].contiguous(memory_format=torch.channels_last)

    def decouple(
        self, z: torch.Tensor, emotion: torch.Tensor, subject: torch.Tensor, strength: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """(z_e, z_i, logits of emotion, identity, identity from z_e, emotion from z_i)."""
        z_e, z_i = self.emotion_encoder(z), self.identity_encoder(z)
        return (
            z_e,
            z_i,
            self.emotion_head(self.drop(z_e)),
            self.identity_head(self.drop(z_i)),
            self.identity_adversary(Reverse.apply(z_e, strength), emotion),
            self.emotion_adversary(Reverse.apply(z_i, strength), subject),
        )

    def predict(self, *batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(probabilities, z, z_e, z_i): no adversary is asked."""
        z, *_ = self.fuse(*batch)
        z_e, z_i = self.emotion_encoder(z), self.identity_encoder(z)
        return self.emotion_head(z_e).softmax(-1), z, z_e, z_i


def make_train_step(
    twin: AVEmoTwin,
    config: ConfigDict,
    *,
    total_steps: int,
    initial_losses: Mapping[str, float],
    modality_dropout: float,
    compile_it: Callable[[Any], Any],
    mode: Callable[[], AbstractContextManager[None]],
) -> Callable[[Mapping[str, torch.Tensor]], dict[str, float]]:
    """One step of `training.train_step`: a function of a batch that changes the twin."""
    objective, train = config.objective, config.train
    fuse, decouple = compile_it(twin.fuse), compile_it(twin.decouple)
    params = list(twin.parameters())
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in params if p.ndim > 1], "weight_decay": train.weight_decay},
            {"params": [p for p in params if p.ndim == 1], "weight_decay": 0.0},
        ],
        lr=train.learning_rate,
        betas=(0.9, ADAM_B2),
        fused=True,
    )
    average = [p.detach().clone() for p in params]
    log_weights = torch.zeros(2, device=params[0].device)
    initial = torch.tensor(
        [initial_losses["emotion"], initial_losses["identity"]], device=params[0].device
    )
    balancing = torch.optim.Adam([log_weights], lr=objective.loss_balancing_learning_rate)
    taken = 0

    def step(batch: Mapping[str, torch.Tensor]) -> dict[str, float]:
        nonlocal taken
        progress = taken / total_steps
        reversal = objective.reversal_strength * (2 / (1 + math.exp(-10 * progress)) - 1)
        emotion, subject = batch["emotion"], batch["subject"]
        draw, rate = torch.rand(emotion.shape, device=emotion.device), modality_dropout
        present = (draw >= rate / 2, draw < 1 - rate / 2)
        with mode():
            z, inputs, of_video, of_audio = fuse(
                batch["video"], batch["video_time"], batch["audio"], *present
            )
        cut = z.detach().float().requires_grad_()
        with mode():
            z_e, z_i, *logits = decouple(cut, emotion, subject, torch.tensor(reversal))
        smoothing = objective.label_smoothing
        losses = {
            "emotion": F.cross_entropy(logits[0], emotion, label_smoothing=smoothing),
            "emotion_unsmoothed": F.cross_entropy(logits[0], emotion),
            "identity": F.cross_entropy(logits[1], subject),
            "orthogonality": orthogonality(z_e, z_i),
            "adversary_identity": F.cross_entropy(logits[2], subject),
            "adversary_emotion": F.cross_entropy(logits[3], emotion),
            "video": F.cross_entropy(of_video, emotion, label_smoothing=smoothing),
            "audio": F.cross_entropy(of_audio, emotion, label_smoothing=smoothing),
        }
        names = ("emotion", "identity")
        gradients = [torch.autograd.grad(losses[n], cut, retain_graph=True)[0] for n in names]
        weights = log_weights.exp().clone()
        of_heads = (
            weights[0] * losses["emotion"]
            + weights[1] * losses["identity"]
            + objective.orthogonality_weight * losses["orthogonality"]
            + losses["adversary_identity"]
            + losses["adversary_emotion"]
        )
        of_branches = objective.auxiliary_weight * (losses["video"] + losses["audio"])
        with torch.no_grad():  # GradNorm's gradient, and its own Adam
            norms = weights * torch.stack([(inputs.T @ gradient).norm() for gradient in gradients])
            rates = torch.stack([losses["emotion_unsmoothed"], losses["identity"]]) / initial
            target = norms.mean() * (rates / rates.mean()) ** objective.gradnorm_alpha
            log_weights.grad = (norms - target).sign() * norms
            balancing.step()
            log_weights.sub_(log_weights.logsumexp(0) - math.log(2))
        optimizer.zero_grad()
        of_heads.backward()
        # Once through the trunk.
        torch.autograd.backward([of_branches, z], [None, cut.grad.to(z.dtype)])
        norm = nn.utils.clip_grad_norm_(params, train.max_grad_norm)
        if math.isfinite(norm):
            optimizer.step()
        taken += 1
        kept = min(train.ema_decay, taken / (9 + taken))
        with torch.no_grad():
            torch._foreach_lerp_(average, params, 1 - kept)
        found = {f"loss/{name}": value for name, value in losses.items()}
        found |= {
            "loss/total": of_heads + of_branches,
            "gradient_norm": norm,
            "weight/emotion": weights[0],
        }
        return {name: value.detach() for name, value in found.items()}

    return step


def orthogonality(z_e: torch.Tensor, z_i: torch.Tensor) -> torch.Tensor:
    """See `jax_avemo.objectives.losses.orthogonality`."""

    def unit(z: torch.Tensor) -> torch.Tensor:
        centred = z - z.mean(0)
        return centred * (centred.square().sum(1, keepdim=True) + 1e-12).rsqrt()

    return (unit(z_e).T @ unit(z_i)).square().sum() / len(z_e) ** 2
