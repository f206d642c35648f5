"""The leakage report of a run: probes and verification attacks on its embeddings."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Shaped

from jax_avemo.evaluation import probes
from jax_avemo.evaluation.results import Leakage, ProbeResult, UnseenLeakage, VerificationResult
from jax_avemo.evaluation.trained_network import Trained
from jax_avemo.models.avemo import AVEmo
from jax_avemo.runtime import multihost
from jax_avemo.runtime.compilation import PROGRAMS_KEPT
from jax_avemo.runtime.devices import data_mesh, replicated
from jax_avemo.runtime.progress import Progress
from jax_avemo.schema import Labels
from jax_avemo.training.train_state import example_batch

EMBEDDINGS = ("z", "z_e", "z_i")
TARGETS = ("identity", "emotion")
Embed = Callable[[Any, Sequence[int], str], Mapping[str, np.ndarray]]
"""(variables, rows, label of the bar) -> embeddings by name, one line a row."""


def measure(
    labels: Sequence[Labels],
    train_rows: Sequence[int],
    probe_rows: Sequence[int],
    test_rows: Sequence[int],
    test_outputs: Mapping[str, np.ndarray],
    embed: Embed,
    *,
    variables: Any,
    untrained_variables: Any,
    seed: int,
) -> tuple[Leakage, dict[str, np.ndarray]]:
    """What z, z_e and z_i give away of identity and emotion, of this one network.

    `training_subjects`: linear and MLP probes trained on the network's training clips and tested
    on the clips of the same subjects that were held out; beside each stand chance and the floor of
    shuffled labels. `untrained`: linear probes on the same network before its first step: what the
    front ends and chance give away by themselves. `unseen_subjects`: can two clips of test subjects
    be told to be of one person, by cosine and by an attacker (discriminant analysis and PLDA) who
    learnt on the training clips; and a linear probe trained on half of each test subject's clips.

    Args:
      labels: of all stored clips; the rows point into them.
      test_outputs: of `test_rows`.
      embed: runs the network with the variables it is given.

    Returns:
      The report, and the embeddings of the training and probe rows, in that order.
    """
    rows = [*train_rows, *probe_rows]
    held_out = np.arange(len(rows)) >= len(train_rows)
    known = [labels[row] for row in rows]
    learnt = _only_embeddings(embed(variables, rows, "measuring leakage"))
    untrained = _only_embeddings(embed(untrained_variables, rows, "the untrained network"))

    probed = len(learnt) * len(probes.PROBES) + len(untrained)
    total = len(TARGETS) * probed
    with Progress(total, "probing", unit="probes", shown=multihost.is_first()) as progress:

        def probe(embeddings: Mapping[str, np.ndarray], kinds: Sequence[str]) -> Any:
            return probes.leakage(
                embeddings,
                targets_of(known),
                ~held_out,
                held_out,
                seed=seed,
                groups=takes_of(known),
                kinds=kinds,
                after_each=progress.advance,
            )

        trained_probes = probe(learnt, tuple(probes.PROBES))
        untrained_probes = probe(untrained, ("linear",))
    unseen = {
        name: _attack_unseen(
            test_outputs[name], x, ~held_out, known, [labels[row] for row in test_rows], seed
        )
        for name, x in learnt.items()
    }
    return Leakage(trained_probes, untrained_probes, unseen), learnt


def _attack_unseen(
    x: np.ndarray,
    training_x: np.ndarray,
    trained_on: Bool[np.ndarray, " N"],
    known: Sequence[Labels],
    unseen: Sequence[Labels],
    seed: int,
) -> UnseenLeakage:
    """`x` of the unseen subjects' clips; `training_x` and `known` of the training subjects'."""
    return UnseenLeakage(
        cosine=attack_by_cosine(x, training_x[trained_on], unseen),
        plda=_attack_by_plda(x, training_x, known, unseen),
        probe=probe_halves(x, unseen, seed=seed),
    )


def initial_variables(trained: Trained) -> Any:
    """The network's variables before its first step, as the run's seed gives them."""
    make = _initialisation(trained.model)
    return make(jax.random.key(trained.config.seed), example_batch(trained.config))


@functools.lru_cache(maxsize=PROGRAMS_KEPT)
def _initialisation(model: AVEmo) -> Callable[..., Any]:
    # Where a trained network's variables are.
    initialise = functools.partial(model.init, train=False)
    return jax.jit(initialise, out_shardings=replicated(data_mesh()))


def attack_by_cosine(
    x: np.ndarray, training_x: np.ndarray, labels: Sequence[Labels]
) -> VerificationResult:
    """`probes.verification_eer` of test clips, centred on the training clips."""
    return probes.verification_eer(x - training_x.mean(axis=0), *_pair_labels(labels))


def _attack_by_plda(
    x: np.ndarray,
    training_x: np.ndarray,
    known: Sequence[Labels],
    labels: Sequence[Labels],
) -> VerificationResult | None:
    subjects = np.array([label.subject for label in known])
    try:
        # Also the clips that no network was trained on: an attacker takes what there is.
        scores = probes.plda_scores(training_x, subjects, x)
    except ValueError:
        return None  # too few training subjects or clips to learn from
    return probes.verify(scores, *_pair_labels(labels))


def _pair_labels(labels: Sequence[Labels]) -> tuple[np.ndarray, np.ndarray, Any, np.ndarray]:
    statements = np.array([label.statement for label in labels])
    return (
        np.array([label.subject for label in labels]),
        np.array([label.emotion for label in labels]),
        statements if len(set(statements)) > 1 else None,
        np.array([label.sex for label in labels]),
    )


def probe_halves(
    x: np.ndarray, labels: Sequence[Labels], *, seed: int, kinds: Sequence[str] = ("linear",)
) -> dict[str, ProbeResult]:
    """Probes for identity on people the network never saw: trained on half of each one's clips.

    Empty where there are fewer than two people or nothing is left to test on.
    """
    train = first_half(labels)
    found = probes.leakage(
        {"x": x},
        {"identity": np.array([label.subject for label in labels])},
        train,
        ~train,
        seed=seed,
        groups=takes_of(labels),
        kinds=kinds,
    )
    return found["x"]["identity"]


def first_half(labels: Sequence[Labels]) -> Bool[np.ndarray, " N"]:
    """True for about half of every subject's clips of every emotion; takes stay whole.

    Takes are dealt in turn, emotion after emotion, so that both halves have every emotion and,
    over the emotions, every statement.
    """
    takes: dict[str, dict[str, set[tuple[str, str]]]] = {}
    for label in labels:
        of_subject = takes.setdefault(label.subject, {})
        of_subject.setdefault(label.emotion, set()).add((label.statement, _take(label)))
    half: set[tuple[str, str, str, str]] = set()
    for subject, emotions in takes.items():
        for shift, emotion in enumerate(sorted(emotions)):
            for position, (statement, take) in enumerate(sorted(emotions[emotion])):
                if (position + shift) % 2 == 0:
                    half.add((subject, emotion, statement, take))
    return np.array(
        [(x.subject, x.emotion, x.statement, _take(x)) in half for x in labels], dtype=bool
    )


def targets_of(labels: Sequence[Labels]) -> dict[str, Shaped[np.ndarray, " N"]]:
    """What probes are asked for."""
    return {
        "identity": np.array([label.subject for label in labels]),
        "emotion": np.array([label.emotion for label in labels]),
    }


def takes_of(labels: Sequence[Labels]) -> Shaped[np.ndarray, " N"]:
    """Equal for clips that must not be parted, such as the two intensities of a take."""
    return np.array([f"{x.subject}|{x.emotion}|{x.statement}|{_take(x)}" for x in labels])


def _take(label: Labels) -> str:
    # Where a corpus knows neither, every clip is a take of its own.
    return label.take if label.statement or label.take else label.key


def _only_embeddings(outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: outputs[name] for name in EMBEDDINGS if name in outputs}
