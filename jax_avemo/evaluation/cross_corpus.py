"""Evaluation of a network on another corpus, on the emotions that both have."""

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from jax_avemo.data.clip_store import ClipSource
from jax_avemo.data.pipeline import LabelIndex, check_stored
from jax_avemo.evaluation.evaluator import make_predict, metrics_of
from jax_avemo.evaluation.predictions import predictions_of, write_predictions
from jax_avemo.evaluation.provenance import provenance
from jax_avemo.evaluation.results import (
    CrossCorpusMetrics,
    CrossCorpusResults,
    TrainedOn,
    write_results,
)
from jax_avemo.evaluation.trained_network import Trained
from jax_avemo.runtime import devices
from jax_avemo.runtime.errors import UserError
from jax_avemo.schema import UNKNOWN, shared_emotion
from jax_avemo.training import build

_SAME_PEOPLE = frozenset({"ravdess", "ravdess_song"})
_ANYTHING = frozenset({"folder", "manifest"})
"""Readers of whatever a user has: the same name need not be the same recordings."""


def evaluate_on(trained: Trained, clips: ClipSource, corpus: str) -> CrossCorpusResults:
    """Evaluate a network on all clips of another corpus, and write the results beside the run.

    Emotions are matched by `schema.shared_emotion` ("anger" is "angry"). Clips of an emotion that
    the network does not know, or of which it had no clip, are left out; the network's probabilities
    are summed over its names of each shared emotion and divided by their sum, so that it chooses
    among those alone. UAR is over the shared emotions. `outside_share` is the share of clips whose
    likeliest emotion of all is none of them. Where both corpora have the same people (RAVDESS's
    speech and songs) only those whom the network never saw are evaluated.

    Returns:
      What `results-CORPUS.json` has; `predictions-CORPUS.jsonl` has a line for each clip.

    Raises:
      UserError: the run's own clips, other people's clips of the same corpus, or fewer than two
        shared emotions.
    """
    home, split = trained.config.data.corpus, trained.split
    check_another(
        home,
        corpus,
        clips.corpus,
        {*split.train, *split.probe, *split.validation},
        {label.key for label in clips.labels},
    )
    check_stored(clips.frame_size, build.build_inputs(trained.config, training=False))
    unseen = _rows_of_unseen_subjects(trained, clips, corpus)
    # A reader lists every emotion of its corpus; of some there may have been no clip.
    learnt = trained.about["learnt_emotions"]
    names = shared_emotions(learnt, [clips.labels[row].emotion for row in unseen])
    _check_shared(names, corpus, clips.emotions, learnt)
    rows = [row for row in unseen if shared_emotion(clips.labels[row].emotion) in names]
    predict = make_predict(trained.model, devices.data_mesh(), trained.config, clips, trained.index)
    outputs = predict(trained.variables, rows, f"evaluating {corpus}")
    among, outside = restrict(outputs["probabilities"], trained.index.emotions, names)
    labels = np.array([names.index(shared_emotion(clips.labels[row].emotion)) for row in rows])
    shared = dataclasses.replace(trained, index=LabelIndex(names, trained.index.subjects))
    here = {
        "corpus": corpus,
        "corpus_seed": None,
        "synthetic": corpus == "demo" or clips.synthetic,
    }
    left_out = Counter(clips.labels[row].emotion for row in set(unseen) - set(rows))
    results = CrossCorpusResults(
        **provenance(shared, clips) | here,
        trained_on=TrainedOn(
            corpus=home,
            synthetic=trained.synthetic,
            clips=trained.about["clips"],
            emotions=tuple(trained.index.emotions),
        ),
        left_out=dict(sorted(left_out.items())),
        seen_subjects_left_out=len(clips) - len(unseen),
        metrics=CrossCorpusMetrics(metrics_of(among, labels, clips, rows, shared)),
        outside_share=outside,
    )
    write_predictions(
        trained.run / f"predictions-{corpus}.jsonl", predictions_of(clips, rows, among, names)
    )
    write_results(trained.run / f"results-{corpus}.json", results)
    return results


def _check_shared(
    names: Sequence[str], corpus: str, theirs: Sequence[str], ours: Sequence[str]
) -> None:
    if len(names) < 2:
        raise UserError(
            f"{corpus} ({', '.join(theirs)}) and the run ({', '.join(ours)}) share "
            f"{len(names)} emotions: two are needed"
        )


def _rows_of_unseen_subjects(trained: Trained, clips: ClipSource, corpus: str) -> list[int]:
    """All clips; where both corpora have the same people, of those whom the network never saw."""
    seen = {*trained.split.train_subjects, *trained.split.validation_subjects}
    same_people = {trained.config.data.corpus, corpus} <= _SAME_PEOPLE
    return [
        row for row, label in enumerate(clips.labels) if not (same_people and label.subject in seen)
    ]


def shared_emotions(known: Sequence[str], occurring: Sequence[str]) -> tuple[str, ...]:
    """Shared names of the emotions that the network knows and that occur, in its order."""
    there = {shared_emotion(name) for name in occurring}
    names = dict.fromkeys(shared_emotion(name) for name in known)
    return tuple(name for name in names if name in there)


def restrict(
    probabilities: Float[np.ndarray, "N K"], known: Sequence[str], names: Sequence[str]
) -> tuple[Float[np.ndarray, "N M"], float]:
    """Probabilities among the shared emotions `names`, and how often the likeliest is none.

    p'_m = sum over the network's emotions k that are shared emotion m of p_k, divided by the sum
    of these over m.
    """
    column: Int[np.ndarray, " K"] = np.array(
        [
            names.index(name) if name in names else UNKNOWN
            for name in (shared_emotion(emotion) for emotion in known)
        ]
    )
    sums = np.stack(
        [probabilities[:, column == number].sum(axis=1) for number in range(len(names))], axis=1
    )
    outside = float((column[probabilities.argmax(axis=1)] == UNKNOWN).mean())
    tiny = np.finfo(sums.dtype).tiny
    return (sums + tiny) / (sums + tiny).sum(axis=1, keepdims=True), outside


def check_another(home: str, corpus: str, stored: str, trained: set[str], keys: set[str]) -> None:
    """Refuse clips that the run knows: `trained` and `keys` are its clips' keys and the others'.

    `home` is the run's corpus, `corpus` the asked one, `stored` what the clips say they are.
    """
    if stored not in ("", corpus):
        raise UserError(f"these are clips of {stored}, not of {corpus}")
    if corpus == home and (corpus not in _ANYTHING or trained & keys):
        raise UserError(
            f"the run was trained on {home}: without --corpus its own test subjects are evaluated"
        )
