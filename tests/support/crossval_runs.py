"""Finished cells of a cross-validation as they lie on disk, made up for tests."""

import json

from jax_avemo import config as settings
from jax_avemo.crossval.runner import Cell
from jax_avemo.evaluation.predictions import write_predictions
from jax_avemo.evaluation.results import Leakage, write_results
from jax_avemo.runtime.files import write_json
from support.made_results import made_attacks, made_predictions, made_results, verified


def write_finished(cell: Cell, accuracy: float, *, clips: int = 8, people: int = 2) -> None:
    """A cell that tested `people` of its own, `clips` each, of which `accuracy` rightly."""
    cell.run.mkdir(parents=True)
    settings.set_field(cell.config, "split.fold", cell.fold)
    tested = tuple(f"{cell.fold}{person}" for person in range(people))
    results = made_results(
        name=cell.config.name,
        size=cell.config.size,
        parameters=1234,
        config=settings.to_dict(cell.config),
        leakage=Leakage(
            unseen=made_attacks(accuracy, 0.3 + 0.1 * cell.seed, people=tested),
            known=None,
            verification={"z_e": {"cosine": verified(0.2 + 0.1 * cell.fold)}},
        ),
    )
    write_predictions(
        cell.run / "predictions.jsonl",
        made_predictions(
            accuracy,
            people=people,
            clips=clips,
            seed=7 * cell.fold + cell.seed,
            prefix=f"{cell.fold}",
        ),
    )
    write_results(cell.run / "results.json", results)
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
