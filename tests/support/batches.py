"""Batches made for tests."""

import numpy as np

from jax_avemo.training.train_state import example_batch


def small_batch(config):
    """Four clips: one without picture, one without sound, one of nobody known."""
    rng = np.random.default_rng(0)
    batch = example_batch(config, rows=4)
    batch["video"] = rng.integers(0, 256, batch["video"].shape, dtype=np.uint8)
    batch["audio"] = rng.normal(0, 0.1, batch["audio"].shape).astype(np.float32)
    batch["emotion"] = np.array([0, 1, 2, 3], np.int32)
    batch["subject"] = np.array([0, 1, 2, -1], np.int32)
    batch["video_mask"][2] = False
    batch["audio_length"][3] = 0
    return batch
