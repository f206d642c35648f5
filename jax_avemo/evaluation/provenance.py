"""Provenance of a result: corpus, split, commit, versions, hardware and config."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from jax_avemo import __version__
from jax_avemo import config as settings
from jax_avemo.data.clip_store import ClipSource
from jax_avemo.evaluation.results import ClipCounts, SplitFacts
from jax_avemo.evaluation.trained_network import Trained
from jax_avemo.runtime import devices
from jax_avemo.runtime.records import to_json


def provenance(trained: Trained, clips: ClipSource) -> dict[str, Any]:
    """The fields of `results.Provenance`."""
    split, config = trained.split, trained.config
    counts = ClipCounts(len(split.train), len(split.probe), len(split.validation), len(split.test))
    return {
        "name": config.name,
        "size": config.size,
        "corpus": config.data.corpus,
        "synthetic": config.data.corpus == "demo" or clips.synthetic,
        "corpus_seed": config.data.demo_seed if config.data.corpus == "demo" else None,
        "clips": clips.fingerprint,
        "subject_independent": split.subject_independent
        and config.evaluate.selection_split == "validation",
        "selected_on": config.evaluate.selection_split,
        "split": SplitFacts(
            protocol=split.protocol,
            fold=split.fold,
            folds=split.folds,
            seed=split.seed,
            train_subjects=tuple(split.train_subjects),
            validation_subjects=tuple(split.validation_subjects),
            test_subjects=tuple(split.test_subjects),
            clips=counts,
        ),
        "seed": config.seed,
        "step": trained.step,
        "total_steps": trained.about["total_steps"],
        "parameters": int(sum(x.size for x in jax.tree.leaves(trained.variables["params"]))),
        "emotions": tuple(trained.index.emotions),
        "commit": source_commit(),
        "versions": {"jax_avemo": __version__, "python": platform.python_version()}
        | {name: version(name) for name in ("jax", "flax", "optax", "numpy")},
        "hardware": f"{devices.describe()}, {os.cpu_count()} cores",
        "config": to_json(settings.to_dict(config)),
    }


def source_commit() -> str | None:
    """The commit of the checkout this package runs from ('+' behind it: with changes), or None."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--abbrev=12", "--dirty=+"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return told.stdout.strip() or None
