"""How a network trained under a confound does on balanced clips: of unseen people, and of its own.

Where emotion and actor depend on each other in training, a network can judge who acts instead of
what is acted. Balanced takes show it: of actors it never saw, and new ones of the actors it was
trained on (marked: same people), where reading the person misleads most.
"""

from pathlib import Path
from typing import Any

from jax_avemo.data.clips.clips_dataset_builder import read_clips
from jax_avemo.data.pipeline import check_stored
from jax_avemo.evaluation import leakage
from jax_avemo.evaluation.evaluator import figures, labels_of, make_predict, write_predictions
from jax_avemo.evaluation.provenance import provenance
from jax_avemo.evaluation.trained_network import load_run
from jax_avemo.runtime import devices
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.files import write_json
from jax_avemo.training import build

BALANCED_RECORD = "results-balanced.json"
PARTS = ("unseen", "same_people")


def evaluate_balanced(run: Path, data_dir: Path) -> dict[str, Any]:
    """Measure the best network of `run` on a balanced corpus of the same actors.

    Args:
      run: trained on another corpus of these actors.
      data_dir: the balanced corpus's clips; none of them was trained on.

    Returns:
      What is written: `results-balanced.json`, with `metrics` and `leakage` of "unseen" (the run's
      test subjects) and "same_people" (its training subjects, new takes). Leakage: probes for
      identity trained on half of these clips and tested on the other half. Beside it stand
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
    people = {"unseen": trained.split.test_subjects, "same_people": trained.split.train_subjects}
    results = provenance(trained, clips)
    results |= {"metrics": {}, "leakage": {}}
    for part in PARTS:
        rows = [row for row, label in enumerate(clips.labels) if label.subject in people[part]]
        if len({clips.labels[row].subject for row in rows}) < len(people[part]):
            raise UserError(f"{data_dir} lacks subjects of {run}; make the same actors' corpus")
        outputs = predict(trained.variables, rows, part.replace("_", " "))
        labels = labels_of(clips, rows, trained.index)
        found = figures(outputs["probabilities"], labels, clips, rows, trained)
        results["metrics"][part] = found | {"same_people": part == "same_people"}
        known = [clips.labels[row] for row in rows]
        results["leakage"][part] = {
            name: leakage.probe_halves(
                outputs[name], known, seed=trained.config.seed, kinds=("linear", "mlp")
            )
            for name in leakage.EMBEDDINGS
            if name in outputs
        }
        write_predictions(run / f"predictions-{part}.jsonl", clips, rows, outputs, trained.index)
    write_json(run / BALANCED_RECORD, results)
    return results
