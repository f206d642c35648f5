"""Evaluation of a network trained under a confound, on balanced clips.

Where emotion and actor depend on each other in training, a network can predict who acts instead of
what is acted. Balanced takes show it: those of actors it never saw, and new ones of the actors it
was trained on (same people), where reading the person misleads most.
"""

from pathlib import Path

from jax_avemo.data.clip_store import read_clips
from jax_avemo.data.pipeline import check_stored
from jax_avemo.evaluation import leakage
from jax_avemo.evaluation.evaluator import labels_of, make_predict, metrics_of
from jax_avemo.evaluation.leakage_summary import FLOOR
from jax_avemo.evaluation.predictions import EMBEDDINGS, predictions_of, write_predictions
from jax_avemo.evaluation.provenance import provenance
from jax_avemo.evaluation.results import (
    BALANCED_FILE,
    BalancedLeakage,
    BalancedMetrics,
    BalancedResults,
    Metrics,
    PeopleAttacked,
    write_results,
)
from jax_avemo.evaluation.trained_network import load_run
from jax_avemo.runtime import devices
from jax_avemo.runtime.errors import UserError
from jax_avemo.training import build

PARTS = ("unseen", "same_people")


def evaluate_balanced(run: Path, data_dir: Path) -> BalancedResults:
    """Evaluate the best network of `run` on a balanced corpus of the same actors.

    Args:
      run: trained on another corpus of these actors.
      data_dir: the balanced corpus's clips; none of them was trained on.

    Returns:
      What is written: `results-balanced.json`, with `metrics` and `leakage` of "unseen" (the run's
      test subjects) and "same_people" (its training subjects, new takes). Leakage: attackers learn
      on half of these clips, the other half is attacked, and they are exchanged. Beside it stand
      `predictions-unseen.jsonl` and `predictions-same_people.jsonl`.

    Raises:
      UserError: the clips are those the network was trained on, or of other subjects.
    """
    trained = load_run(run)
    clips = read_clips(data_dir)
    check_stored(clips.frame_size, build.build_inputs(trained.config, training=False))
    if clips.fingerprint == trained.about["clips"]:
        raise UserError(f"{run} was trained on the clips in {data_dir}; give new takes")
    predict = make_predict(trained.model, devices.data_mesh(), trained.config, clips, trained.index)

    def evaluate(part: str, people: tuple[str, ...]) -> tuple[Metrics, PeopleAttacked | None]:
        rows = [row for row, label in enumerate(clips.labels) if label.subject in people]
        if len({clips.labels[row].subject for row in rows}) < len(people):
            raise UserError(f"{data_dir} lacks subjects of {run}; make the same actors' corpus")
        outputs = predict(trained.variables, rows, part.replace("_", " "))
        probabilities = outputs["probabilities"]
        labels = labels_of(clips, rows, trained.index)
        representations = {name: outputs[name] for name in EMBEDDINGS if name in outputs}
        representations[FLOOR] = leakage.log_probabilities(probabilities)
        attacked = leakage.attack_halves(
            leakage.People([clips.labels[row] for row in rows], representations),
            seed=trained.config.seed,
        )
        predictions = predictions_of(clips, rows, probabilities, trained.index.emotions)
        write_predictions(run / f"predictions-{part}.jsonl", predictions)
        return metrics_of(probabilities, labels, clips, rows, trained), attacked

    unseen, unseen_leakage = evaluate("unseen", trained.split.test_subjects)
    same_people, same_people_leakage = evaluate("same_people", trained.split.train_subjects)
    results = BalancedResults(
        **provenance(trained, clips),
        metrics=BalancedMetrics(unseen, same_people),
        leakage=BalancedLeakage(unseen_leakage, same_people_leakage),
    )
    write_results(run / BALANCED_FILE, results)
    return results
