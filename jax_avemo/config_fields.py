"""Every setting of an experiment: default, meaning, validity; and what each size replaces."""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Field:
    """One setting: its default, what it means (with the unit), and which values are valid."""

    default: Any
    meaning: str
    valid: Callable[[Any], bool] = lambda value: True
    says: str = ""
    """What a valid value looks like, for the error line."""


def _one_of(default: Any, meaning: str, *choices: Any) -> Field:
    return Field(
        default, meaning, lambda v: v in choices, "one of " + ", ".join(map(repr, choices))
    )


def _number(default: float, meaning: str, low: float, high: float = 2**31 - 1) -> Field:
    says = f"at least {low:g}" if high == 2**31 - 1 else f"from {low:g} to {high:g}"
    return Field(default, meaning, lambda v: low <= v <= high, says)


def _text(default: str, meaning: str) -> Field:
    def valid(value: str) -> bool:
        return not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in value)

    return Field(default, meaning, valid, "text in UTF-8 without control characters")


def _file_name(default: str, meaning: str) -> Field:
    pattern = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
    says = "made of letters, digits and . _ - and does not begin with a dot"
    return Field(default, meaning, lambda value: bool(pattern.fullmatch(value)), says)


def _switch(default: bool, meaning: str) -> Field:
    return Field(default, meaning)


def _colour(default: tuple[float, float, float], meaning: str, low: float) -> Field:
    def valid(value: Any) -> bool:
        return len(value) == 3 and all(isinstance(v, float) and low <= v <= 1 for v in value)

    return Field(default, meaning, valid, f"three numbers from {low:g} to 1, for R, G and B")


def _sizes(default: tuple[int, ...], meaning: str) -> Field:
    def valid(value: Any) -> bool:
        return len(value) > 0 and all(isinstance(v, int) and v >= 1 for v in value)

    return Field(default, meaning, valid, "a tuple of whole numbers, such as (3,4,6,3)")


CORPORA = (
    "demo",
    "ravdess",
    "ravdess_song",
    "enterface05",
    "crema_d",
    "emodb",
    "folder",
    "manifest",
)
"""The names of `jax_avemo.data.corpora.READERS`, which a config must not import."""

FIELDS: dict[str, Field] = {
    "name": _file_name("decoupled", "name of the experiment; the run goes to runs/NAME"),
    "size": _one_of("full", "which set of defaults was taken", "tiny", "bench", "cpu", "full"),
    "seed": _number(0, "seed of initial weights, order, augmentation and dropout", 0),
    # --- where the clips come from
    "data.corpus": _one_of("demo", "how the corpus lies on disk", *CORPORA),
    "data.source": _text("", "the media files: folder, zip, CSV (demo: made when absent)"),
    "data.data_dir": _text("", "where prepared clips lie ('' = data/CORPUS...)"),
    "data.workers": _number(0, "processes that make clips (0 = one per core)", 0),
    "data.stored_size": _number(256, "side of the stored face crops, px", 16, 1024),
    "data.stored_fps": _number(15.0, "stored frames a second", 1, 120),
    "data.max_seconds": _number(12.0, "longer takes are refused, s", 0.5, 600),
    "data.modality": _one_of(
        "both", "what clips have, and all they have", "both", "audio", "video"
    ),
    "data.face_fallback": _one_of("reject", "when no face is found", "reject", "center"),
    "data.demo_actors": _number(24, "demo corpus: actors", 3, 98),
    "data.demo_takes": _number(1, "demo corpus: takes of each emotion and statement", 1, 99),
    "data.demo_seed": _number(0, "demo corpus: which actors are made", 0),
    "data.demo_confound": _number(0.0, "demo corpus: share of takes tied to the actor", 0, 1),
    # --- who is in which split
    "split.protocol": _one_of(
        "subject_independent",
        "what test and training do not share",
        "subject_independent",
        "content_independent",
        "leaky",
    ),
    "split.folds": _number(
        0,
        "number of folds (0 = demo 3, ravdess 6, else 5; times 2 or, where sentences are many, 5 "
        "under content_independent)",
        0,
        1000,
    ),
    "split.fold": _number(0, "which fold is tested", 0, 999),
    "split.validation_subjects": _number(4, "subjects that select the model", 1),
    "split.probe_fraction": _number(0.15, "share of each training subject kept for probes", 0, 0.5),
    "split.seed": _number(0, "seed of the split", 0),
    # --- what the network eats
    "input.frame_size": _number(224, "side of the face crops fed, px", 16, 1024),
    "input.frames_train": _number(8, "frames a clip in training", 1, 256),
    "input.frames_eval": _number(16, "frames a clip in evaluation", 1, 256),
    "input.audio_seconds": _number(6.0, "longer sound is cut (training: at random), s", 0.25, 60),
    "augment.flip_probability": _number(0.5, "probability of mirroring the face", 0, 1),
    "augment.colour_strength": _number(1.0, "strength of brightness and tint changes", 0, 3),
    "augment.grey_probability": _number(0.2, "probability of a grey clip", 0, 1),
    "augment.occlusion_probability": _number(
        0.5, "probability of a grey square over the face", 0, 1
    ),
    "augment.max_zoom": _number(0.1, "largest zoom of the face, a share of its side", 0, 0.5),
    "augment.max_rotation_degrees": _number(8.0, "largest rotation of the face, degrees", 0, 45),
    "augment.gain_db": _number(3.0, "standard deviation of the level, dB", 0, 30),
    "augment.noise_probability": _number(0.5, "probability of added noise (10 to 30 dB SNR)", 0, 1),
    "augment.max_speed_change": _number(0.06, "largest change of playing speed, a share", 0, 0.3),
    "augment.equaliser_db": _number(4.0, "standard deviation of a random response, dB", 0, 30),
    "augment.mask_probability": _number(
        0.3, "probability of a masked band, and of a masked moment", 0, 1
    ),
    "augment.audio_swap_probability": _number(
        0.5, "probability that a clip's sound is another take's of the same emotion", 0, 1
    ),
    # --- the network
    "model.modalities": Field(
        ("video", "audio"),
        "branches that exist",
        lambda v: tuple(v) in {("video", "audio"), ("video",), ("audio",)},
        "('video','audio'), ('video',) or ('audio',)",
    ),
    "model.pixels": Field(
        ("contrast",),
        "what the face network reads: colour, clip-standardised luminance, local contrast",
        lambda v: len(v) > 0 and set(v) <= {"colour", "luminance", "contrast"},
        "some of ('colour','luminance','contrast')",
    ),
    "model.colour_mean": _colour((0.5, 0.5, 0.5), "what is taken from R, G, B (in 0..1)", 0.0),
    "model.colour_deviation": _colour((0.25, 0.25, 0.25), "what they are divided by then", 0.01),
    "model.depths": _sizes((3, 4, 6, 3), "bottlenecks in each stage of the ResNeXt"),
    "model.groups": _number(32, "groups of the 3x3 convolutions", 1),
    "model.width_per_group": _number(4, "width of a group in the first stage", 1),
    "model.stem_width": _number(64, "channels of the first convolution", 1),
    "model.stem_kernel": _number(7, "side of the first convolution, px", 1, 15),
    "model.expansion": _number(4, "channels of the first stage over the stem's", 1),
    "model.frozen_stages": _number(
        0, "stages of the face network that don't learn: 1 its stem, 2 and its first stage, ...", 0
    ),
    "model.coordinate_attention": _switch(True, "coordinate attention in every bottleneck"),
    "model.attention_gate_bias": _number(
        0.0, "initial bias of coordinate attention's gates (2: they start nearly open)", -4, 4
    ),
    "model.residual_scale": _number(1.0, "initial scale of a bottleneck's last batch norm", 0, 4),
    "model.batch_norm_momentum": _number(0.9, "decay of the running statistics", 0, 0.9999),
    "model.spectral_features": _one_of("log_mel", "input of the audio network", "log_mel", "mfcc"),
    "model.mel_bands": _number(64, "mel bands", 8, 256),
    "model.prosody": _switch(True, "pitch, voicing and level beside the spectrum"),
    "model.functionals": _switch(True, "length, pitch, jitter, level and tilt of the utterance"),
    "model.audio_widths": _sizes((128, 192, 256), "channels of the audio network's blocks"),
    "model.audio_self_attention": _switch(True, "self-attention in the audio network"),
    "model.width": _number(256, "width of both sequences before the LSTM", 8),
    "model.lstm_width": _number(256, "width of the dual-sequence LSTM (each direction)", 4),
    "model.lstm_steps": _number(24, "steps the two sequences are brought to, by time", 1, 512),
    "model.bidirectional": _switch(True, "run the LSTM both ways"),
    "model.embedded_self_attention": _switch(True, "self-attention before the LSTM"),
    "model.fusion": _one_of(
        "dual_lstm",
        "how the sequences meet",
        "dual_lstm",
        "lstm_concat",
        "cross_modal_residual",
        "intermediate_attention",
        "intermediate_transformer",
        "late_transformer",
        "averaged_logits",
    ),
    "model.skip_connection": _switch(True, "pooled branch features also enter the fused embedding"),
    "model.fused_width": _number(256, "width of the fused embedding z", 4),
    "model.embedding_width": _number(128, "width of z_e and z_i", 4),
    "model.dropout": _number(0.2, "dropout", 0, 0.9),
    "model.decouple": _switch(True, "identity encoder and coupling; False = fusion only"),
    "model.erasure": _switch(
        True, "linear maps take what tells subjects apart out of z_e, and emotions out of z_i"
    ),
    "model.adversary": _one_of(
        "conditional",
        "adversaries: of identity on z_e and of emotion on z_i, given the other label or not",
        "conditional",
        "marginal",
        "none",
    ),
    "model.dtype": _one_of(
        "float32", "of the face and audio networks' computation", "float32", "bfloat16"
    ),
    "model.remat": _switch(False, "recompute the face network in the backward pass (memory)"),
    # --- what is optimised
    "objective.label_smoothing": _number(0.1, "label smoothing of the emotion loss", 0, 0.5),
    "objective.auxiliary_weight": _number(0.5, "weight of the emotion head on each branch", 0),
    "objective.reversal_strength": _number(0.1, "strength of the reversed gradient at the end", 0),
    "objective.orthogonality_weight": _number(0.1, "weight of the orthogonality of z_e and z_i", 0),
    "objective.hsic_weight": _number(0.0, "weight of HSIC(z_e, z_i)", 0),
    "objective.loss_balancing": _one_of(
        "gradnorm", "how the task weights move", "gradnorm", "fixed", "uncertainty"
    ),
    "objective.identity_weight": _number(
        1.0, "weight of the identity task when loss_balancing is fixed", 0
    ),
    "objective.identity_gradient_scale": _number(
        0.0,
        "share of identity's and the coupling's gradients that goes on into z and the trunk",
        0,
        1,
    ),
    "objective.gradnorm_alpha": _number(1.5, "GradNorm's restoring force", 0, 10),
    "objective.loss_balancing_learning_rate": _number(0.005, "step of the task weights", 0, 1),
    # --- where the first weights come from
    "init.weights_file": _text("", "ResNeXt weights of the face network: .safetensors or .pth"),
    "init.run": _text("", "run directory whose network training starts from"),
    # --- how
    "train.batch_size": _number(32, "clips a step, over all devices", 1),
    "train.accumulation_steps": _number(1, "parts a batch goes through the network in (memory)", 1),
    "train.epochs": _number(100, "passes over the training clips", 1),
    "train.learning_rate": _number(1e-3, "peak of the learning rate", 0, 10),
    "train.weight_decay": _number(0.05, "AdamW's weight decay", 0, 1),
    "train.warmup_fraction": _number(0.06, "share of the steps that warm up", 0, 0.9),
    "train.layer_decay": _number(
        1.0, "learning rate of a stage of the face network, a share of the next one's", 0.01, 1
    ),
    "train.max_grad_norm": _number(1.0, "largest norm of the gradient", 0),
    "train.ema_decay": _number(
        0.99, "decay of the averaged weights that are evaluated", 0, 0.99999
    ),
    "train.resample": _switch(
        True, "draw clips as if every subject showed every emotion equally often"
    ),
    "train.modality_dropout": _number(0.2, "probability that a clip loses one modality", 0, 1),
    "train.num_evaluations": _number(10, "validations (and checkpoints) over the run", 1),
    "train.log_every_steps": _number(10, "steps between lines of metrics.jsonl", 1),
    "train.compilation_cache_dir": _text(
        "", "folder of compiled programs ('' = user's cache folder)"
    ),
    "evaluate.batch_size": _number(64, "clips an evaluation step, over all devices", 1),
    "evaluate.bootstrap_samples": _number(2000, "resamples of the subjects for intervals", 100),
    "evaluate.selection_split": _one_of(
        "validation", "which subjects pick the model", "validation", "test"
    ),
}

_CPU: dict[str, Any] = {
    "data.stored_size": 80,
    "data.stored_fps": 12.0,
    "input.frame_size": 64,
    "input.frames_train": 4,
    "input.frames_eval": 12,
    "input.audio_seconds": 4.5,
    "model.depths": (1, 1, 1, 1),
    "model.groups": 16,
    "model.stem_width": 32,
    "model.attention_gate_bias": 2.0,
    "model.residual_scale": 0.5,
    "model.batch_norm_momentum": 0.95,
    "model.audio_widths": (96, 128, 128),
    "model.width": 128,
    "model.lstm_width": 96,
    "model.lstm_steps": 12,
    "model.fused_width": 128,
    "model.embedding_width": 64,
    "model.dropout": 0.15,
    "train.batch_size": 16,
    "train.epochs": 100,
}
SIZES: dict[str, dict[str, Any]] = {
    "full": {},
    "cpu": _CPU,
    "bench": _CPU
    | {
        "input.frame_size": 48,
        "input.frames_train": 3,
        "input.frames_eval": 8,
        "input.audio_seconds": 3.5,
        "model.groups": 8,
        "model.stem_width": 16,
        "model.width": 96,
        "model.lstm_width": 64,
        "model.fused_width": 96,
        "model.embedding_width": 48,
        "train.epochs": 36,
        "train.num_evaluations": 5,
    },
    "tiny": _CPU
    | {
        "data.stored_size": 40,
        "data.stored_fps": 4.0,
        "data.demo_actors": 4,
        "input.frame_size": 32,
        "input.frames_train": 2,
        "input.frames_eval": 3,
        "input.audio_seconds": 3.0,
        "split.folds": 4,
        "split.validation_subjects": 1,
        "model.groups": 4,
        "model.stem_width": 8,
        "model.mel_bands": 24,
        "model.audio_widths": (16, 16, 16),
        "model.width": 16,
        "model.lstm_width": 8,
        "model.lstm_steps": 4,
        "model.fused_width": 16,
        "model.embedding_width": 8,
        "train.batch_size": 8,
        "train.epochs": 2,
        "train.num_evaluations": 2,
        "train.log_every_steps": 1,
        "evaluate.batch_size": 16,
        "evaluate.bootstrap_samples": 200,
    },
}
"""What each size replaces: `full` is the method as written, `cpu` has the same blocks, fewer and
narrower, `bench` is what a cross-validation of many cells can afford (and reads the same clips),
`tiny` is for tests."""
