"""What each size changes of `default.py`.

`full` is the network as written. `cpu` has the same blocks, fewer and narrower. `bench` is what a
cross-validation of many cells can afford, and reads the clips of `cpu`. `voice` is audio alone, for
corpora of a thousand takes: a network in a minute. `tiny` is for tests.
"""

from typing import Any

CPU: dict[str, Any] = {
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
    "model.audio_widths": (96, 128, 128),
    "model.width": 128,
    "model.lstm_steps": 12,
    "model.lstm_width": 96,
    "model.fused_width": 128,
    "model.embedding_width": 64,
    "model.dropout": 0.15,
    "model.batch_norm_momentum": 0.95,
    "train.batch_size": 16,
}
BENCH = CPU | {
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
}
VOICE = CPU | {
    "data.modality": "audio",
    "input.audio_seconds": 3.5,
    # With 16 people and 20 epochs every change of the sound but short gaps cost recall.
    "augment.gain_db": 0.5,
    "augment.noise_probability": 0.0,
    "augment.max_speed_change": 0.0,
    "augment.equaliser_db": 0.0,
    "augment.audio_swap_probability": 0.0,
    "model.modalities": ("audio",),
    "model.fft_size": 512,
    "model.window_seconds": 0.032,
    "model.hop_seconds": 0.02,
    "train.batch_size": 32,
    "train.epochs": 20,
    "train.learning_rate": 2e-3,
    "train.num_evaluations": 2,
}
TINY = CPU | {
    "data.stored_size": 40,
    "data.stored_fps": 4.0,
    "data.demo_actors": 4,
    "split.folds": 4,
    "split.validation_subjects": 1,
    "input.frame_size": 32,
    "input.frames_train": 2,
    "input.frames_eval": 3,
    "input.audio_seconds": 3.0,
    "model.depths": (1, 1),
    "model.groups": 4,
    "model.stem_width": 8,
    "model.mel_bands": 24,
    "model.audio_widths": (16, 16),
    "model.width": 16,
    "model.lstm_steps": 4,
    "model.lstm_width": 8,
    "model.fused_width": 16,
    "model.embedding_width": 8,
    "train.batch_size": 8,
    "train.epochs": 2,
    "train.num_evaluations": 2,
    "train.log_every_steps": 1,
    "evaluate.batch_size": 16,
}
SIZES: dict[str, dict[str, Any]] = {
    "full": {},
    "cpu": CPU,
    "bench": BENCH,
    "voice": VOICE,
    "tiny": TINY,
}
