"""The best checkpoint of a run directory, as a network."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from jax_avemo import config as settings
from jax_avemo.data.pipeline import LabelIndex
from jax_avemo.data.splits import Split
from jax_avemo.models.avemo import AVEmo
from jax_avemo.runtime import devices
from jax_avemo.runtime.compilation import keep_compiled_programs
from jax_avemo.runtime.records import from_json
from jax_avemo.training import build, checkpoints
from jax_avemo.training.train_state import evaluated_variables
from jax_avemo.training.train_step import describe_state


@dataclass(frozen=True)
class Trained:
    """A network as it was saved, with what its checkpoint says of it."""

    run: Path
    step: int
    variables: Any
    model: AVEmo
    config: ConfigDict
    split: Split
    index: LabelIndex
    about: dict[str, Any]

    @property
    def synthetic(self) -> bool:
        """Whether it was trained on the demo's media, whatever corpus they were read as."""
        return self.config.data.corpus == "demo" or bool(self.about.get("synthetic"))


def load_run(run: Path) -> Trained:
    """The best network of a run directory, from its checkpoint alone; nothing is compiled.

    What is compiled to run it will be kept in the user's cache folder, unless this process already
    keeps its programs somewhere.

    Raises:
      UserError: no checkpoint there.
    """
    if not jax.config.values["jax_compilation_cache_dir"]:
        keep_compiled_programs("")
    manager = checkpoints.open_checkpoints(run, read_only=True)
    step = checkpoints.best_step(manager, run)
    about = checkpoints.read_about(manager, step)
    config = settings.from_dict(about["config"])
    index = LabelIndex(tuple(about["emotions"]), tuple(about["subjects"]))
    model = build.build_model(config, len(index.emotions), len(index.subjects))
    like = describe_state(config, model, about["total_steps"], devices.data_mesh())
    state = checkpoints.restore(manager, step, like)
    manager.close()
    split = from_json(Split, about["split"])
    return Trained(run, step, evaluated_variables(state), model, config, split, index, about)
