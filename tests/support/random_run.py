"""A run directory with random weights: what reads runs can be tested without training one."""

from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from jax_avemo import config as settings
from jax_avemo.data.pipeline import LabelIndex
from jax_avemo.data.splits import split_clips
from jax_avemo.models.avemo import AVEmo
from jax_avemo.runtime import devices
from jax_avemo.runtime.records import to_json
from jax_avemo.schema import RAVDESS_EMOTIONS, Labels
from jax_avemo.training import build, checkpoints
from jax_avemo.training.train_state import TrainState, build_balancer
from jax_avemo.training.train_step import describe_state

TOTAL_STEPS = 10


def random_state(config: ConfigDict, model: AVEmo) -> TrainState:
    """The state of a network of random weights: nothing is compiled."""
    rng = np.random.default_rng(0)

    def filled(path, leaf):
        name = jax.tree_util.keystr(path)
        if leaf.dtype != np.float32:
            return np.zeros(leaf.shape, leaf.dtype)
        if "var" in name or "scale" in name:
            return rng.uniform(0.8, 1.2, leaf.shape).astype(np.float32)
        return np.asarray(rng.normal(size=leaf.shape) * 0.2, np.float32)

    like = describe_state(config, model, TOTAL_STEPS, devices.data_mesh())
    state = jax.tree_util.tree_map_with_path(filled, like)
    return state.replace(
        opt_state=jax.tree.map(np.zeros_like, state.opt_state),  # as AdamW begins
        balancer_state=build_balancer(config, model).init(),
    )


def write_run(run: Path, changes: dict | None = None) -> Path:
    """A checkpoint of the tiny network, its weights random, as training would leave it."""
    config = settings.make_config("tiny", "tiny", changes)
    labels = [
        Labels(f"{subject}/{emotion}", emotion, subject)
        for subject in ("01", "02", "03", "04")
        for emotion in RAVDESS_EMOTIONS
    ]
    split = split_clips(
        labels,
        protocol="subject_independent",
        folds=4,
        fold=0,
        validation_subjects=1,
        seed=0,
        probe_share=0.1,
    )
    index = LabelIndex(RAVDESS_EMOTIONS, split.train_subjects)
    model = build.build_model(config, len(index.emotions), len(index.subjects))
    state = random_state(config, model)
    about = {
        "version": "0",
        "config": settings.to_dict(config),
        "split": to_json(split),
        "emotions": list(index.emotions),
        "learnt_emotions": list(index.emotions),
        "subjects": list(index.subjects),
        "clips": "none",
        "total_steps": TOTAL_STEPS,
    }
    with checkpoints.writing(run) as manager:
        checkpoints.save(manager, 3, state, about, 0.5)
    return run
