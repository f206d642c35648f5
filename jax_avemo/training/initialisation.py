"""Initialisation of a run from a file of weights or from another run."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jax_avemo import config as settings
from jax_avemo.data.pipeline import LabelIndex
from jax_avemo.data.splits import Split
from jax_avemo.pretrained.resnext_weights import ImportReport, import_resnext
from jax_avemo.pretrained.weight_files import read_weights
from jax_avemo.runtime import multihost
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.progress import say
from jax_avemo.training import build, checkpoints
from jax_avemo.training.train_state import TrainState
from jax_avemo.training.train_step import describe_state

_OF_SUBJECTS = ("identity_head", "identity_adversary", "emotion_adversary")
"""Parts whose classes are the training subjects: never taken over."""
_OF_EMOTIONS = ("emotion_head", "video_head", "audio_head")
"""Parts that are taken over where the emotions are the same, in the same order."""
_SAME_PEOPLE = ("data.corpus", "data.source", "data.demo_seed", "data.demo_actors")
"""Where these agree, a subject's name means the same person."""


def given(
    config: ConfigDict,
    state: TrainState,
    index: LabelIndex,
    split: Split,
    mesh: Mesh,
) -> TrainState:
    """`state` with the weights of `init.run` and then of `init.weights_file`; says what matched.

    Raises:
      UserError: such weights do not fit, or a run's training subjects are now to be tested.
    """
    variables = _initial_variables(state)
    if config.init.run:
        variables, report = from_run(Path(config.init.run), config, variables, index, split, mesh)
        _tell(f"{config.init.run}: {report.describe()}")
    if config.init.weights_file:
        if "video" not in config.model.modalities:
            raise UserError("init.weights_file are of the face network, which this config has not")
        tensors = read_weights(Path(config.init.weights_file))
        variables, report = into_face_network(tensors, variables)
        _tell(f"{config.init.weights_file}: {report.describe()}")
    if not (config.init.run or config.init.weights_file):
        return state

    def placed(new: Any, old: Any) -> Any:
        # Own buffers for the weights and for their average: the step gives both away.
        return jax.tree.map(lambda a, b: jax.device_put(np.array(a), b.sharding), new, old)

    return state.replace(
        params=placed(variables["params"], state.params),
        ema_params=placed(variables["params"], state.ema_params),
        batch_stats=placed(variables["batch_stats"], state.batch_stats),
    )


def _initial_variables(state: TrainState) -> dict[str, Any]:
    """What training begins with: the trained head, not the one that was fitted after erasure."""
    return {"params": state.ema_params, "batch_stats": state.batch_stats}


def _tell(line: str) -> None:
    if multihost.is_first():
        say(line)


def into_face_network(
    tensors: dict[str, np.ndarray], variables: dict[str, Any]
) -> tuple[dict[str, Any], ImportReport]:
    """The whole network's variables with its ResNeXt's replaced (see `import_resnext`)."""
    name = "video_network"
    own = {collection: tree[name] for collection, tree in variables.items()}
    imported, report = import_resnext(tensors, own)
    return {
        collection: dict(tree) | {name: imported[collection]}
        for collection, tree in variables.items()
    }, report


def from_run(
    run: Path,
    config: ConfigDict,
    variables: dict[str, Any],
    index: LabelIndex,
    split: Split,
    mesh: Mesh,
) -> tuple[dict[str, Any], ImportReport]:
    """`variables` with every array that the best network of `run` has by name and shape.

    Heads and adversaries of its subjects stay fresh; those of emotions too, where these differ.

    Raises:
      UserError: no checkpoint there, a network of other shapes, or a leak (see `refuse_leak`).
    """
    manager = checkpoints.open_checkpoints(run, read_only=True)
    step = checkpoints.best_step(manager, run)
    about = checkpoints.read_about(manager, step)
    theirs = settings.from_dict(about["config"])
    refuse_leak(run, about, config, split)
    their_index = LabelIndex(tuple(about["emotions"]), tuple(about["subjects"]))
    model = build.build_model(theirs, len(their_index.emotions), len(their_index.subjects))
    like = describe_state(theirs, model, about["total_steps"], mesh)
    found = _initial_variables(checkpoints.restore(manager, step, like))
    manager.close()
    fresh_parts: tuple[str, ...] = _OF_SUBJECTS
    if their_index.emotions != index.emotions:
        fresh_parts += _OF_EMOTIONS
    ours, given_ = flatten_dict(dict(variables)), flatten_dict(found)
    matched, fresh = [], []
    for path, leaf in ours.items():
        if path[1] in fresh_parts:
            fresh.append("/".join(path[1:]))
            continue
        if path not in given_ or given_[path].shape != leaf.shape:
            there = "none" if path not in given_ else str(given_[path].shape)
            raise UserError(
                f"{run} has another network: {'/'.join(path[1:])} is {leaf.shape} here and {there} "
                "there; give the same model fields and size"
            )
        ours[path] = given_[path]
        matched.append("/".join(path[1:]))
    unused = ["/".join(path[1:]) for path in given_ if path not in ours or path[1] in fresh_parts]
    return unflatten_dict(ours), ImportReport(tuple(matched), tuple(unused), tuple(fresh))


def refuse_leak(run: Path, about: dict[str, Any], config: ConfigDict, split: Split) -> None:
    """UserError when a training subject of `run` is validation or test subject now, or a validation
    subject is test subject."""
    here = settings.to_dict(config)
    if not split.subject_independent or any(
        about["config"].get(k) != here[k] for k in _SAME_PEOPLE
    ):
        return
    trained, selected = (
        set(about["split"][f"{part}_subjects"]) for part in ("train", "validation")
    )
    tested = set(split.test_subjects)
    leaked = sorted((trained & (tested | set(split.validation_subjects))) | (selected & tested))
    if leaked:
        raise UserError(
            f"{run} was trained or selected on {len(leaked)} subjects that are measured on now "
            f"({', '.join(leaked[:4])}{', ...' if len(leaked) > 4 else ''}): give the same fold "
            "and split seed, or start from another run"
        )
