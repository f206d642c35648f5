"""Exported network folders: safetensors, configuration and model card, no pickle."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
from ml_collections import ConfigDict
from safetensors.numpy import load_file, save_file

from jax_avemo import __version__
from jax_avemo import config as settings
from jax_avemo.configs.default import DEFAULT
from jax_avemo.data.pipeline import LabelIndex
from jax_avemo.evaluation.calibration import CALIBRATION_FILE, read_temperatures
from jax_avemo.evaluation.model_card import CARD_NAME
from jax_avemo.evaluation.network import make_network
from jax_avemo.evaluation.trained_network import Trained, load_run
from jax_avemo.inference.timeline import APPARENT, SYNTHETIC_WARNING
from jax_avemo.models.avemo import AVEmo
from jax_avemo.runtime.compilation import keep_compiled_programs
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.files import atomic_path, write_atomic, write_json
from jax_avemo.training import build
from jax_avemo.training.train_state import example_batch

FOLDER_SCHEMA_VERSION = 1
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
HUB = "hub:"
_FILES = (WEIGHTS, CONFIG, CALIBRATION_FILE, CARD)
_PRIVATE_FIELDS = (
    "data.source",
    "data.data_dir",
    "init.weights_file",
    "init.run",
    "train.compilation_cache_dir",
)
"""Paths of the machine it was trained on; a network is made without them."""


@dataclass(frozen=True)
class SharedNetwork:
    """What a folder holds, as far as prediction needs it."""

    run: Path
    step: int
    variables: Any
    model: AVEmo
    config: ConfigDict
    index: LabelIndex
    synthetic: bool


def write_folder(run: Path, target: Path) -> Path:
    """Write the best network of `run` into the folder `target`; returns it.

    The weights are model.safetensors, everything else about the network config.json; the names of
    the subjects and paths of this machine are left out. The card is README.md, the temperatures
    calibration.json.

    Raises:
      UserError: no such run, or `target` holds something else.
    """
    if target.exists() and not (target.is_dir() and is_folder_or_empty(target)):
        raise UserError(f"{target} is there and is no exported network: give another --out")
    trained = load_run(run)
    weights = target / WEIGHTS
    with atomic_path(weights) as temporary:
        leaves = jax.tree_util.tree_leaves_with_path(trained.variables)
        named = {jax.tree_util.keystr(path, simple=True, separator="/"): x for path, x in leaves}
        save_file({name: np.ascontiguousarray(x) for name, x in named.items()}, temporary)
    config = settings.to_dict(trained.config)
    config |= {name: settings.get_field(DEFAULT, name) for name in _PRIVATE_FIELDS}
    if read_temperatures(trained.run, trained.step) is not None:
        write_atomic(target / CALIBRATION_FILE, (trained.run / CALIBRATION_FILE).read_bytes())
    write_atomic(target / CARD, _card(trained).encode())
    write_json(
        target / CONFIG,
        {
            "schema_version": FOLDER_SCHEMA_VERSION,
            "jax_avemo": __version__,
            "warning": SYNTHETIC_WARNING if trained.synthetic else None,
            "meaning": APPARENT,
            "synthetic": trained.synthetic,
            "emotions": list(trained.index.emotions),
            "subjects": len(trained.index.subjects),
            "step": trained.step,
            "sha256": _digest(weights),
            "config": config,
        },
    )
    return target


def is_folder(path: Path) -> bool:
    """Whether an exported network lies there."""
    return (path / WEIGHTS).is_file() and (path / CONFIG).is_file()


def is_folder_or_empty(path: Path) -> bool:
    """Whether writing an exported network there destroys nothing else."""
    return is_folder(path) or not any(path.iterdir())


def read_folder(path: Path) -> SharedNetwork:
    """The network in a folder that `write_folder` made; nothing in it is run.

    Raises:
      UserError: damaged, changed since it was written, or of another version.
    """
    if not jax.config.values["jax_compilation_cache_dir"]:
        keep_compiled_programs("")
    about = _read_config(path / CONFIG)
    if _digest(path / WEIGHTS) != about["sha256"]:
        raise UserError(f"{path / WEIGHTS} is not the file that {CONFIG} describes: copy it again")
    try:
        variables = _nested(load_file(path / WEIGHTS))
    except (safetensors.SafetensorError, ValueError) as error:
        raise UserError(f"{path / WEIGHTS} is damaged: {error}") from error
    config = settings.from_dict(about["config"])
    subjects = tuple(f"subject {number}" for number in range(about["subjects"]))
    index = LabelIndex(tuple(about["emotions"]), subjects)
    model = build.build_model(config, len(index.emotions), len(index.subjects))
    _check_fit(model, variables, config, path)
    return SharedNetwork(
        path, about["step"], variables, model, config, index, bool(about["synthetic"])
    )


def download(name: str) -> Path:
    """The folder of "hub:OWNER/NAME" or "hub:OWNER/NAME@REVISION", fetched by the hub's client.

    Only the files of `write_folder` are fetched.

    Raises:
      UserError: the client is not installed, no such name, no network.
    """
    repository, _, revision = name.removeprefix(HUB).partition("@")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise UserError(f"'{name}' is no name on the hub; write hub:OWNER/NAME")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise UserError(f"{name} needs the extra hub: pip install 'jax_avemo[hub]'") from error
    try:
        folder = snapshot_download(
            repo_id=repository, revision=revision or None, allow_patterns=list(_FILES)
        )
    except (OSError, ValueError) as error:  # what the client's errors derive from
        reason = " ".join(str(error).split())
        raise UserError(f"{name} could not be fetched: {reason or type(error).__name__}") from error
    if not is_folder(Path(folder)):
        raise UserError(f"{name} holds no exported network ({WEIGHTS} and {CONFIG})")
    return Path(folder)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(path.read_text())
        version = about["schema_version"]
        kinds = {"config": dict, "emotions": list, "subjects": int, "step": int, "sha256": str}
        fits = all(isinstance(about[name], kind) for name, kind in kinds.items())
        fits &= all(isinstance(name, str) for name in about["emotions"]) and about["subjects"] >= 0
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} does not describe a network: {error}") from error
    if version != FOLDER_SCHEMA_VERSION:
        raise UserError(f"{path} is of version {version}, this program reads version 1")
    if not fits:
        raise UserError(f"{path} does not describe a network: a value has the wrong type")
    return about | {"synthetic": about.get("synthetic", False)}


def _check_fit(model: AVEmo, variables: Any, config: ConfigDict, path: Path) -> None:
    """Refuse weights that are not those of the configured network, before anything is compiled."""
    network = make_network(model)
    batch = example_batch(config, 1, training=False)
    try:
        jax.eval_shape(network, variables, batch)
    except Exception as error:  # Flax has an error for each way not to fit
        first = str(error).strip().splitlines()[0]
        raise UserError(f"{path}: the weights do not fit the configuration: {first}") from error


def _nested(flat: Mapping[str, np.ndarray]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, leaf = name.split("/")
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        place[leaf] = value
    return tree


def _card(trained: Trained) -> str:
    head = "---\nlibrary_name: jax_avemo\ntags: [emotion-recognition, audio-visual, jax]\n---\n\n"
    card = trained.run / CARD_NAME
    if card.is_file():
        return head + card.read_text()
    warning = f"\n> **{SYNTHETIC_WARNING}**\n" if trained.synthetic else ""
    emotions = ", ".join(trained.index.emotions)
    return (
        f"{head}# {trained.config.name}\n{warning}\nPredicts {APPARENT}: {emotions}. It was never "
        f"evaluated: `avemo evaluate RUN` writes a model card.\n"
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
