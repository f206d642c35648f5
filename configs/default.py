"""Every value of an experiment, at size `full`: the network as written.

`sizes.py` says what a smaller size changes, and the experiments beside this file what they change.
What a value means, and which are valid, stands in `jax_avemo/config_fields.py` and in
`python -m jax_avemo.main --help`.
"""

from typing import Any

DEFAULT: dict[str, Any] = {
    "name": "decoupled",
    "size": "full",
    "seed": 0,
    # The clips: the corpus, and how its media files are prepared.
    "data": {
        "corpus": "demo",
        "source": "",
        "data_dir": "",
        "workers": 0,
        "stored_size": 256,
        "stored_fps": 15.0,
        "max_seconds": 12.0,
        "modality": "both",
        "face_fallback": "reject",
        "audio_track": 0,
        "demo_actors": 24,
        "demo_takes": 1,
        "demo_seed": 0,
        "demo_confound": 0.0,
    },
    # Training, validation and test subjects.
    "split": {
        "protocol": "subject_independent",
        "folds": 0,
        "fold": 0,
        "validation_subjects": 4,
        "probe_fraction": 0.15,
        "seed": 0,
    },
    # A clip as the network reads it.
    "input": {
        "frame_size": 224,
        "frames_train": 8,
        "frames_eval": 16,
        "audio_seconds": 6.0,
    },
    # Augmentation of training clips.
    "augment": {
        "flip_probability": 0.5,
        "colour_strength": 1.0,
        "grey_probability": 0.2,
        "occlusion_probability": 0.5,
        "max_zoom": 0.1,
        "max_rotation_degrees": 8.0,
        "gain_db": 3.0,
        "noise_probability": 0.5,
        "max_speed_change": 0.06,
        "equaliser_db": 4.0,
        "mask_probability": 0.3,
        "audio_swap_probability": 0.5,
    },
    # The network: AVEmo(num_emotions, num_subjects, **config.model).
    "model": {
        "modalities": ("video", "audio"),
        # Faces: ResNeXt50 32x4d with coordinate attention.
        "pixels": ("contrast",),
        "colour_mean": (0.5, 0.5, 0.5),
        "colour_deviation": (0.25, 0.25, 0.25),
        "depths": (3, 4, 6, 3),
        "groups": 32,
        "width_per_group": 4,
        "stem_width": 64,
        "stem_kernel": 7,
        "expansion": 4,
        "coordinate_attention": True,
        "attention_gate_bias": 0.0,
        "residual_scale": 1.0,
        "frozen_stages": 0,
        # Audio: log-mel bands and prosody, a 1-D CNN with self-attention.
        "spectral_features": "log_mel",
        "mel_bands": 64,
        "fft_size": 1024,
        "window_seconds": 0.05,
        "hop_seconds": 0.016,
        "prosody": True,
        "functionals": True,
        "functionals_dropout": 0.4,
        "audio_widths": (128, 192, 256),
        "audio_kernel_size": 5,
        "audio_self_attention": True,
        # Temporal alignment and fusion.
        "width": 256,
        "heads": 4,
        "lstm_steps": 24,
        "alignment_width_seconds": 0.12,
        "alignment_gap_seconds": 1.0,
        "embedded_self_attention": True,
        "fusion": "dual_lstm",
        "lstm_width": 256,
        "bidirectional": True,
        "pooling_width": 64,
        "skip_connection": True,
        "fused_width": 256,
        # Emotion and identity.
        "decouple": True,
        "embedding_width": 128,
        "encoder_hidden": 128,
        "adversary": "conditional",
        "adversary_hidden": 128,
        "erasure": True,
        "person_centred": False,
        # All of it.
        "dropout": 0.2,
        "batch_norm_momentum": 0.9,
        "dtype": "float32",
        "remat": False,
    },
    # The losses and their weights.
    "objective": {
        "label_smoothing": 0.1,
        "auxiliary_weight": 0.5,
        "reversal_strength": 0.1,
        "orthogonality_weight": 0.1,
        "hsic_weight": 0.0,
        "loss_balancing": "gradnorm",
        "identity_weight": 1.0,
        "identity_gradient_scale": 0.0,
        "person_centred_weight": 0.7,
        "gradnorm_alpha": 1.5,
        "loss_balancing_learning_rate": 0.005,
    },
    # Initialisation from other weights.
    "init": {"weights_file": "", "run": ""},
    # Optimisation.
    "train": {
        "batch_size": 32,
        "accumulation_steps": 1,
        "epochs": 100,
        "learning_rate": 1e-3,
        "weight_decay": 0.05,
        "warmup_fraction": 0.06,
        "layer_decay": 1.0,
        "max_grad_norm": 1.0,
        "ema_decay": 0.99,
        "clips_per_subject": 0,
        "resample": True,
        "modality_dropout": 0.2,
        "num_evaluations": 10,
        "log_every_steps": 10,
        "compilation_cache_dir": "",
    },
    # Evaluation.
    "evaluate": {
        "batch_size": 64,
        "selection_split": "validation",
    },
}
