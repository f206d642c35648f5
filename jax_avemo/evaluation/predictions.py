"""Predictions and embeddings of single clips, as they are stored beside the results."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from jax_avemo.data.clip_store import ClipSource
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.files import atomic_path, write_atomic
from jax_avemo.runtime.records import from_json, to_json

PREDICTIONS_FILE = "predictions.jsonl"
EMBEDDINGS_FILE = "embeddings.npz"
EMBEDDINGS = ("z", "z_e", "z_i")


@dataclass(frozen=True)
class ClipPrediction:
    """A line of predictions.jsonl."""

    key: str
    subject: str
    sex: str
    emotion: str
    """The label."""
    predicted: str
    probabilities: tuple[float, ...]
    """In the order of the network's emotions."""

    @property
    def right(self) -> bool:
        """Whether the label was predicted."""
        return self.predicted == self.emotion

    @property
    def confidence(self) -> float:
        """The largest probability."""
        return max(self.probabilities)


def predictions_of(
    clips: ClipSource,
    rows: Sequence[int],
    probabilities: Float[np.ndarray, "N K"],
    emotions: Sequence[str],
) -> list[ClipPrediction]:
    """What was predicted for the clips of `rows`; probabilities are rounded to six digits."""
    return [
        ClipPrediction(
            key=clips.labels[row].key,
            subject=clips.labels[row].subject,
            sex=clips.labels[row].sex,
            emotion=clips.labels[row].emotion,
            predicted=emotions[int(p.argmax())],
            probabilities=tuple(round(float(one), 6) for one in p),
        )
        for row, p in zip(rows, probabilities, strict=True)
    ]


def write_predictions(path: Path, predictions: Sequence[ClipPrediction]) -> None:
    """One JSON object a line."""
    lines = [json.dumps(to_json(prediction)) for prediction in predictions]
    write_atomic(path, ("\n".join(lines) + "\n").encode())


def read_predictions(path: Path) -> list[ClipPrediction]:
    """Read what `write_predictions` wrote.

    Raises:
      UserError: the file is not there, or damaged.
    """
    remedy = f"give: avemo evaluate {path.parent}"
    try:
        lines = path.read_text().splitlines()
        return [from_json(ClipPrediction, json.loads(line)) for line in lines]
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; {remedy}") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); {remedy}") from error


def write_embeddings(
    path: Path,
    clips: ClipSource,
    parts: Sequence[tuple[str, Sequence[int]]],
    outputs: Sequence[Mapping[str, np.ndarray]],
) -> None:
    """float32 arrays by name, and of every line `key`, `subject`, `emotion` and `part`."""
    labels = [clips.labels[row] for _, rows in parts for row in rows]
    arrays = {
        name: np.concatenate([of_part[name] for of_part in outputs])
        for name in EMBEDDINGS
        if name in outputs[0]
    }
    arrays |= {
        name: np.array([getattr(label, name) for label in labels])
        for name in ("key", "subject", "emotion")
    }
    arrays["part"] = np.array([part for part, rows in parts for _ in rows])
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **arrays)


def read_embeddings(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays of `write_embeddings`; None where there is no such file."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)
    except (OSError, ValueError, EOFError) as error:
        remedy = f"give: avemo evaluate {path.parent}"
        raise UserError(f"{path} is damaged ({error}); {remedy}") from error
