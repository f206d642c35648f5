"""The settings of an experiment: what each means, with its unit, and which values are valid.

Their values stand in `configs/default.py` and `configs/sizes.py`, and a value has the type of its
default. A choice among variants names where these are implemented; `training.build.CHOICES` holds
it to them.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Field:
    """The meaning of one setting, and which values are valid."""

    meaning: str
    valid: Callable[[Any], bool] = lambda value: True
    says: str = ""
    """A description of valid values, for the error line."""


def _one_of(meaning: str, *choices: Any) -> Field:
    return Field(meaning, lambda v: v in choices, "one of " + ", ".join(map(repr, choices)))


def _number(meaning: str, low: float, high: float = 2**31 - 1) -> Field:
    says = f"at least {low:g}" if high == 2**31 - 1 else f"from {low:g} to {high:g}"
    return Field(meaning, lambda v: low <= v <= high, says)


def _text(meaning: str) -> Field:
    def valid(value: str) -> bool:
        return not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in value)

    return Field(meaning, valid, "text in UTF-8 without control characters")


def _file_name(meaning: str) -> Field:
    pattern = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
    says = "made of letters, digits and . _ - and does not begin with a dot"
    return Field(meaning, lambda value: bool(pattern.fullmatch(value)), says)


def _colour(meaning: str, low: float) -> Field:
    def valid(value: Any) -> bool:
        return len(value) == 3 and all(isinstance(v, float) and low <= v <= 1 for v in value)

    return Field(meaning, valid, f"three numbers from {low:g} to 1, for R, G and B")


def _sizes(meaning: str) -> Field:
    def valid(value: Any) -> bool:
        return len(value) > 0 and all(isinstance(v, int) and v >= 1 for v in value)

    return Field(meaning, valid, "a tuple of whole numbers, such as (3,4,6,3)")


FIELDS: dict[str, Field] = {
    "name": _file_name("name of the experiment; the run goes to runs/NAME"),
    "size": Field("which values were taken (`configs/sizes.py`)"),
    "seed": _number("seed of initial weights, order, augmentation and dropout", 0),
    "data.corpus": Field("how the corpus lies on disk (`data.corpora.READERS`)"),
    "data.source": _text("the media files: folder, zip, CSV (demo: made when absent)"),
    "data.data_dir": _text("where prepared clips lie ('' = data/CORPUS...)"),
    "data.workers": _number("processes that make clips (0 = one per core)", 0),
    "data.stored_size": _number("side of the stored face crops, px", 16, 1024),
    "data.stored_fps": _number("stored frames a second", 1, 120),
    "data.max_seconds": _number("longer takes are refused, s", 0.5, 600),
    "data.modality": _one_of("what clips have, and all they have", "both", "audio", "video"),
    "data.face_fallback": _one_of("when no face is found", "reject", "center"),
    "data.audio_track": _number("from 1; 0 = the default one, or the first not silent", 0, 99),
    "data.demo_actors": _number("demo corpus: actors", 3, 98),
    "data.demo_takes": _number("demo corpus: takes of each emotion and statement", 1, 99),
    "data.demo_seed": _number("demo corpus: which actors are made", 0),
    "data.demo_confound": _number(
        "demo corpus: fraction of takes whose emotion is tied to the actor", 0, 1
    ),
    "split.protocol": Field("what test and training do not share (`data.splits.PROTOCOLS`)"),
    "split.folds": _number("number of folds (0 = as is customary for the corpus)", 0, 1000),
    "split.fold": _number("which fold is tested", 0, 999),
    "split.validation_subjects": _number("validation subjects, which select the model", 1),
    "split.probe_fraction": _number(
        "fraction of each training subject's clips kept for probes", 0, 0.5
    ),
    "split.seed": _number("seed of the split", 0),
    "input.frame_size": _number("side of the face crops fed, px", 16, 1024),
    "input.frames_train": _number("frames a clip in training", 1, 256),
    "input.frames_eval": _number("frames a clip in evaluation", 1, 256),
    "input.audio_seconds": _number("longer audio is cut (training: at random), s", 0.25, 60),
    "augment.flip_probability": _number("probability of mirroring the face", 0, 1),
    "augment.colour_strength": _number("strength of brightness and tint changes", 0, 3),
    "augment.grey_probability": _number("probability of a grey clip", 0, 1),
    "augment.occlusion_probability": _number("probability of a grey square over the face", 0, 1),
    "augment.max_zoom": _number("largest zoom of the face, a fraction of its side", 0, 0.5),
    "augment.max_rotation_degrees": _number("largest rotation of the face, degrees", 0, 45),
    "augment.gain_db": _number("standard deviation of the level, dB", 0, 30),
    "augment.noise_probability": _number("probability of added noise (10 to 30 dB SNR)", 0, 1),
    "augment.max_speed_change": _number("largest change of the playing speed, a fraction", 0, 0.3),
    "augment.equaliser_db": _number("standard deviation of a random response, dB", 0, 30),
    "augment.mask_probability": _number(
        "probability of a masked band, and of a masked moment", 0, 1
    ),
    "augment.audio_swap_probability": _number(
        "probability of the audio of another take of the same emotion", 0, 1
    ),
    "model.modalities": Field("branches that exist (`models.front_ends.MODALITIES`)"),
    "model.pixels": Field("channels of the face network's input (`models.video.pixels.CHANNELS`)"),
    "model.colour_mean": _colour("what is taken from R, G, B (in 0..1)", 0.0),
    "model.colour_deviation": _colour("what they are divided by then", 0.01),
    "model.depths": _sizes("bottlenecks in each stage of the ResNeXt"),
    "model.groups": _number("groups of the 3x3 convolutions", 1),
    "model.width_per_group": _number("width of a group in the first stage", 1),
    "model.stem_width": _number("channels of the first convolution", 1),
    "model.stem_kernel": _number("side of the first convolution, px", 1, 15),
    "model.expansion": _number("channels of the first stage over the stem's", 1),
    "model.coordinate_attention": Field("coordinate attention in every bottleneck"),
    "model.attention_gate_bias": _number(
        "initial bias of coordinate attention's gates (2: they start nearly open)", -4, 4
    ),
    "model.residual_scale": _number("initial scale of a bottleneck's last batch norm", 0, 4),
    "model.frozen_stages": _number(
        "stages of the face network that do not learn (1 = its stem)", 0
    ),
    "model.spectral_features": Field(
        "input of the audio network (`models.audio.spectral.FEATURES`)"
    ),
    "model.mel_bands": _number("mel bands", 8, 256),
    "model.fft_size": _number("length of the Fourier transform, samples", 64, 2**16),
    "model.window_seconds": _number("length of the spectral window, s", 0.005, 1),
    "model.hop_seconds": _number("from one audio frame to the next, s", 0.002, 0.5),
    "model.prosody": Field("pitch, voicing and level beside the spectrum"),
    "model.functionals": Field("length, pitch, level and spectrum of the whole utterance"),
    "model.functionals_dropout": _number("dropout of these functionals", 0, 0.95),
    "model.audio_widths": _sizes("channels of the audio network's blocks"),
    "model.audio_kernel_size": _number("width of the audio network's convolutions, frames", 1, 31),
    "model.audio_self_attention": Field("self-attention in the audio network"),
    "model.width": _number("width of both sequences before the LSTM", 8),
    "model.heads": _number("heads of every self-attention; they divide the widths", 1, 64),
    "model.lstm_steps": _number("steps the two sequences are brought to, by time", 1, 512),
    "model.alignment_width_seconds": _number(
        "standard deviation of the temporal alignment's weights, s", 0.001, 10
    ),
    "model.alignment_gap_seconds": _number(
        "a step further than this from every element is masked, s", 0.001, 60
    ),
    "model.embedded_self_attention": Field("self-attention before the LSTM"),
    "model.fusion": Field("how the sequences are fused (`models.avemo.FUSIONS`)"),
    "model.lstm_width": _number("width of the dual-sequence LSTM (each direction)", 4),
    "model.bidirectional": Field("run the LSTM both ways"),
    "model.pooling_width": _number("hidden width of the attentive pooling", 1),
    "model.skip_connection": Field(
        "each modality's mean over time also enters the fused embedding"
    ),
    "model.fused_width": _number("width of the fused embedding z", 4),
    "model.decouple": Field("identity encoder and adversaries; False = fusion only"),
    "model.embedding_width": _number("width of z_e and z_i", 4),
    "model.encoder_hidden": _number("hidden width of the emotion and identity encoders", 1),
    "model.adversary": Field(
        "identity read from z_e, emotion from z_i (`models.avemo.ADVERSARIES`)"
    ),
    "model.adversary_hidden": _number("hidden width of the adversaries", 1),
    "model.erasure": Field("linear maps remove identity from z_e and emotion from z_i"),
    "model.person_centred": Field("z can be centred on other clips of the person (enrolment)"),
    "model.dropout": _number("dropout of the networks, the branches and the encoders", 0, 0.9),
    "model.batch_norm_momentum": _number("decay of the running statistics", 0, 0.9999),
    "model.dtype": _one_of("of the face and audio networks' computation", "float32", "bfloat16"),
    "model.remat": Field("recompute the face network in the backward pass (memory)"),
    "objective.label_smoothing": _number("label smoothing of the emotion loss", 0, 0.5),
    "objective.auxiliary_weight": _number("weight of each modality's own emotion loss", 0),
    "objective.reversal_strength": _number("strength of the reversed gradient at the end", 0),
    "objective.orthogonality_weight": _number("weight of the orthogonality of z_e and z_i", 0),
    "objective.hsic_weight": _number("weight of HSIC(z_e, z_i)", 0),
    "objective.loss_balancing": Field(
        "how the task weights move (`objectives.loss_balancing.BALANCERS`)"
    ),
    "objective.identity_weight": _number(
        "weight of the identity task when loss_balancing is fixed", 0
    ),
    "objective.identity_gradient_scale": _number(
        "scale of identity's and the adversaries' gradients into z", 0, 1
    ),
    "objective.person_centred_weight": _number(
        "if person_centred: share of the emotion loss on z less the mean of other clips", 0, 1
    ),
    "objective.gradnorm_alpha": _number("GradNorm's restoring force", 0, 10),
    "objective.loss_balancing_learning_rate": _number("step of the task weights", 0, 1),
    "init.weights_file": _text("ResNeXt weights of the face network: .safetensors or .pth"),
    "init.run": _text("run directory whose network training starts from"),
    "train.batch_size": _number("clips a step, over all devices", 1),
    "train.accumulation_steps": _number(
        "parts of a batch, one after another through the network (memory)", 1
    ),
    "train.epochs": _number("passes over the training clips", 1),
    "train.learning_rate": _number("peak of the learning rate", 0, 10),
    "train.weight_decay": _number("AdamW's weight decay", 0, 1),
    "train.warmup_fraction": _number("fraction of the steps that warm up", 0, 0.9),
    "train.layer_decay": _number(
        "learning rate of a stage of the face network over the next one's", 0.01, 1
    ),
    "train.max_grad_norm": _number("largest norm of the gradient", 0),
    "train.ema_decay": _number("decay of the averaged parameters, which are evaluated", 0, 0.99999),
    "train.clips_per_subject": _number(
        "clips of a subject that stand together in a batch (0 = clips are shuffled singly)", 0
    ),
    "train.resample": Field("draw clips of rare pairs of emotion and subject more often"),
    "train.modality_dropout": _number("probability that a clip loses one modality", 0, 1),
    "train.num_evaluations": _number("validations, and checkpoints, over the run", 1),
    "train.log_every_steps": _number("steps between lines of metrics.jsonl", 1),
    "train.compilation_cache_dir": _text("folder of compiled programs ('' = user's cache folder)"),
    "evaluate.batch_size": _number("clips an evaluation step, over all devices", 1),
    "evaluate.selection_split": _one_of("which subjects select the model", "validation", "test"),
}
