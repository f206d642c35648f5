"""Attention of a network on a few test clips: over the face and over time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, UInt8

from jax_avemo.data.pipeline import evaluation_batches
from jax_avemo.evaluation.evaluator import open_run
from jax_avemo.evaluation.predictions import PREDICTIONS_FILE, ClipPrediction, read_predictions
from jax_avemo.evaluation.tables import percent
from jax_avemo.training import build


class Looked(NamedTuple):
    """One clip and where the network looked in it; None = it does not look there at all."""

    title: str
    face: UInt8[np.ndarray, "H W 3"] | None
    """The middle frame."""
    maps: dict[str, Float[np.ndarray, "h w"]]
    """Layer -> coordinate attention over that frame, mean over the channels; empty without."""
    sound: Float[np.ndarray, " samples"]
    times: Float[np.ndarray, " S"]
    """Seconds."""
    weights: Float[np.ndarray, " S"] | None
    """What each step counts in z."""


def choose(predictions: Sequence[ClipPrediction], each: int = 2) -> list[ClipPrediction]:
    """The most confident right and wrong clips, `each` of both, of different emotions."""
    chosen: list[ClipPrediction] = []
    for right in (True, False):
        kind = [line for line in predictions if line.right == right]
        emotions: set[str] = set()
        for line in sorted(kind, key=lambda line: (-line.confidence, line.key)):
            if len(emotions) < each and line.emotion not in emotions:
                emotions.add(line.emotion)
                chosen.append(line)
    return chosen


def look(run: Path, data_dir: Path | None = None) -> list[Looked]:
    """Run the network of `run` over the clips of `choose` and collect where it looked.

    Raises:
      UserError: no checkpoint, or the clips are not stored any more.
    """
    chosen = choose(read_predictions(run / PREDICTIONS_FILE))
    trained, clips, rows, _ = open_run(run, data_dir=data_dir)
    by_key = {clips.labels[row].key: row for row in rows}
    wanted = [by_key[line.key] for line in chosen]
    inputs = build.build_inputs(trained.config, training=False)
    (batch,) = evaluation_batches(clips, wanted, inputs, trained.index, batch_size=len(wanted))

    @jax.jit
    def run_network(variables: Any, batch: Any) -> Any:
        return trained.model.apply(variables, batch, train=False, mutable=["intermediates"])

    (fused, _), sown = jax.device_get(run_network(trained.variables, batch))
    maps = _attention_maps(sown.get("intermediates", {}), frames=inputs.frames)
    found = []
    for number, line in enumerate(chosen):
        real = np.flatnonzero(batch["video_mask"][number])
        middle = int(real[len(real) // 2]) if len(real) else 0
        sure = percent(line.confidence, 0)
        weights = None if fused.step_weights is None else fused.step_weights[number]
        found.append(
            Looked(
                title=f"{line.emotion}, predicted {line.predicted} ({sure} %)",
                face=np.asarray(batch["video"][number, middle]) if len(real) else None,
                maps={layer: value[number, middle] for layer, value in maps.items()},
                sound=np.asarray(batch["audio"][number, : batch["audio_length"][number]]),
                times=np.asarray(fused.step_times[number]),
                weights=weights,
            )
        )
    return found


def _attention_maps(sown: Any, frames: int) -> dict[str, Float[np.ndarray, "B F h w"]]:
    """First and last layer of every stage of the face network -> a_h a_w, mean over channels."""
    blocks = {
        name: block["coordinate_attention"]
        for name, block in sown.get("video_network", {}).items()
        if "coordinate_attention" in block
    }
    # layer3_5: the sixth block of the third stage. Of every stage the last one is shown.
    last = {name.split("_")[0]: name for name in sorted(blocks, key=_place)}
    maps = {}
    for stage, name in last.items():
        (of_rows,), (of_columns,) = (
            blocks[name][f"{axis}_attention"] for axis in ("height", "width")
        )
        weights = np.einsum("nhc,nwc->nhw", of_rows, of_columns) / of_rows.shape[-1]
        maps[stage] = weights.reshape(-1, frames, *weights.shape[1:]).astype(np.float32)
    return maps


def _place(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in name.removeprefix("layer").split("_"))
