"""The smallest whole network, a batch with every kind of gap, and helpers of its tests."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jax_avemo import config as settings
from jax_avemo.models.avemo import AVEmo

B, F, PX, N = 4, 3, 12, 4000
TINY = settings.make_config("tests", "tiny").model.to_dict() | {
    "num_emotions": 3,
    "num_subjects": 2,
    "depths": (1,),
    "groups": 2,
    "width_per_group": 2,
    "stem_width": 4,
    "stem_kernel": 3,
    "expansion": 2,
    "pixels": ("colour", "luminance"),
    "attention_gate_bias": 0.0,
    "residual_scale": 1.0,
    "mel_bands": 8,
    "fft_size": 256,
    "window_seconds": 0.016,
    "audio_widths": (6,),
    "width": 8,
    "heads": 2,
    "lstm_steps": 4,
    "alignment_width_seconds": 0.03,
    "alignment_gap_seconds": 0.05,
    "lstm_width": 6,
    "pooling_width": 4,
    "fused_width": 10,
    "embedding_width": 6,
    "encoder_hidden": 7,
    "adversary_hidden": 5,
    "erasure": False,
    "functionals_dropout": 0.0,
    "person_centred": False,
    "dropout": 0.0,
    "batch_norm_momentum": 0.9,
}
MODEL = AVEmo(**TINY)
# Compiling, not running, is what these tests cost.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def make_batch(seed=0):
    """Row 1 has no picture, row 2 no sound, row 3 is shorter in both."""
    rng = np.random.default_rng(seed)
    video_mask = np.ones((B, F), bool)
    video_mask[1], video_mask[3, 2] = False, False
    return {
        "video": rng.integers(0, 256, (B, F, PX, PX, 3), dtype=np.uint8),
        "video_mask": video_mask,
        "video_time": np.tile(np.array([0.02, 0.1, 0.2], np.float32), (B, 1)),
        "audio": (rng.normal(size=(B, N)) / 10).astype(np.float32),
        "audio_length": np.array([N, N, 0, 3000], np.int32),
        "emotion": np.array([0, 1, 2, 0], np.int32),
        "subject": np.array([0, 1, 0, -1], np.int32),
        "valid": np.ones(B, bool),
    }


def pad(batch):
    """More rows, frames and samples, all of them rubbish that masks declare unreal."""
    rng = np.random.default_rng(9)

    def rubbish(x, axis):
        shape = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
        if x.dtype == bool:
            return np.ones(shape, bool)
        return rng.integers(0, 3, shape).astype(x.dtype)

    padded = dict(batch)
    for key in ("video", "video_mask", "video_time"):
        new = np.zeros((B, 1), bool) if key == "video_mask" else rubbish(batch[key], 1)
        padded[key] = np.concatenate([batch[key], new], 1)
    samples = rng.normal(size=(B, 1000)).astype(np.float32)
    padded["audio"] = np.concatenate([batch["audio"], samples], 1)
    for key in batch:
        new = np.array([False]) if key == "valid" else rubbish(padded[key], 0)
        padded[key] = np.concatenate([padded[key], new], 0)
    padded["audio_length"][-1] = 2000
    return padded


def spoil(batch):
    """Other rubbish in every frame and sample that is masked already."""
    real = batch["video_mask"][:, :, None, None, None]
    sounding = np.arange(N) < batch["audio_length"][:, None]
    return batch | {
        "video": np.where(real, batch["video"], 255 - batch["video"]),
        "video_time": np.where(batch["video_mask"], batch["video_time"], 77).astype(np.float32),
        "audio": np.where(sounding, batch["audio"], 0.9).astype(np.float32),
    }


def random_variables(model, batch):
    """Random in every parameter (no compilation), so that no initial zero hides a gradient."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), batch)
    rng = np.random.default_rng(1)
    filled = jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape) / 2, jnp.float32), shapes)
    filled["batch_stats"] = jax.tree.map(lambda a: jnp.abs(a) + 0.5, filled["batch_stats"])
    return filled
