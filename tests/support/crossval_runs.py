"""Finished cells of a cross-validation as they lie on disk, made up for tests."""

import json

import numpy as np

from jax_avemo import config as settings
from jax_avemo.crossval.runner import Cell
from jax_avemo.runtime.files import write_json

EMOTIONS = ["happy", "sad"]


def probe(value: float) -> dict:
    return {"balanced_accuracy": value, "low": value, "high": value, "chance": 0.25}


def write_finished(cell: Cell, accuracy: float, *, clips: int = 8, people: int = 2) -> None:
    """A cell that tested `people` of its own, `clips` each, of which `accuracy` rightly."""
    cell.run.mkdir(parents=True)
    rng = np.random.default_rng([cell.fold, cell.seed])
    lines = []
    for person in range(people):
        for number in range(clips):
            emotion = EMOTIONS[number % 2]
            predicted = emotion if rng.random() < accuracy else EMOTIONS[1 - number % 2]
            p = 0.8 if predicted == "happy" else 0.2
            subject = f"{cell.fold}{person}"
            lines.append(
                {
                    "key": f"{subject}/{number}",
                    "subject": subject,
                    "sex": ("female", "male")[person % 2],
                    "emotion": emotion,
                    "predicted": predicted,
                    "probabilities": [p, 1 - p],
                }
            )
    verified = {"equal_error_rate": 0.2, "equal_error_rate_same_sex": None}
    leak = {"identity": {"linear": probe(0.5)}, "emotion": {"linear": probe(accuracy)}}
    settings.set_field(cell.config, "split.fold", cell.fold)
    results = {
        "schema_version": 2,
        "name": cell.config.name,
        "size": cell.config.size,
        "corpus": "demo",
        "corpus_seed": 0,
        "synthetic": True,
        "honest": True,
        "parameters": 1234,
        "emotions": EMOTIONS,
        "commit": "0123456789ab",
        "versions": {"jax_avemo": "0", "python": "3"},
        "hardware": "1 cpu, 2 cores",
        "config": settings.to_dict(cell.config),
        "calibration": {"test": {"ece_before": 0.2, "ece_after": 0.1}},
        "leakage": {
            "training_subjects": {"z": leak, "z_e": leak},
            "untrained": {"z": leak},
            "unseen_subjects": {
                "z_e": {"cosine": verified, "plda": None, "probe": {"linear": probe(0.4)}}
            },
        },
    }
    (cell.run / "predictions.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    (cell.run / "results.json").write_text(json.dumps(results))
    (cell.run / "config.json").write_text(json.dumps(settings.to_dict(cell.config)))
    write_done(cell)


def write_done(cell: Cell) -> None:
    """Only the mark that it is finished."""
    done = {
        "fold": cell.fold,
        "seed": cell.seed,
        "training_seconds": 60.0,
        "evaluation_seconds": 10.0,
        "resumed": False,
        "hardware": "1 cpu, 2 cores",
    }
    write_json(cell.run / "cell.json", done)  # as a run does: others look while it is written
