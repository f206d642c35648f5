"""Results of a run, made up for tests."""

from dataclasses import replace

import numpy as np

from jax_avemo.evaluation import metrics
from jax_avemo.evaluation.predictions import ClipPrediction
from jax_avemo.evaluation.results import (
    AttackResult,
    Calibration,
    ClipCounts,
    Enrolled,
    Leakage,
    Metrics,
    MetricsByPart,
    PeopleAttacked,
    Results,
    SplitFacts,
    TemperatureFit,
    TestCalibration,
    VerificationResult,
)
from jax_avemo.evaluation.statistics import PairedDifference

EMOTIONS = ("happy", "sad")


def attacked(value: float, *, people: tuple[str, ...] = ("04", "05")) -> AttackResult:
    """The same success on each of some people."""
    bounds = (value - 0.1, value + 0.1) if len(people) > 1 else None
    return AttackResult(value, bounds, 0.3, dict.fromkeys(people, value))


def made_attacks(
    z_e: float, floor: float, *, people: tuple[str, ...] = ("04", "05")
) -> PeopleAttacked:
    """A linear attacker and an MLP, which is 0.1 better, on z_e, z_i and the probabilities."""

    def read(value: float) -> dict[str, AttackResult]:
        return {
            "linear": attacked(value - 0.1, people=people),
            "mlp": attacked(value, people=people),
        }

    return PeopleAttacked(
        people=len(people),
        clips=8 * len(people),
        identity_chance=1 / len(people),
        emotion_chance=0.5,
        identity={"z_e": read(z_e), "z_i": read(0.9), "probabilities": read(floor)},
        emotion={"z_i": read(0.55)},
    )


def verified(rate: float | None, same_sex: float | None = None) -> VerificationResult:
    return VerificationResult(rate, same_sex, genuine_pairs=10, impostor_pairs=30)


def made_metrics() -> Metrics:
    return Metrics(
        clips=16,
        chance=0.5,
        uar=0.7188,
        uar_interval=(0.625, 0.812),
        war=0.75,
        war_interval=(0.6, 0.9),
        macro_f1=0.7,
        macro_f1_interval=(0.55, 0.85),
        ece=0.0567,
        confusion=((6, 2), (3, 5)),
        uar_by_subject={"04": 0.8, "05": 0.6},
        uar_worst_quartile=0.6,
        uar_by_sex={"female": 0.81, "male": 0.59},
    )


def made_calibration() -> Calibration:
    rng = np.random.default_rng(0)
    probabilities, labels = rng.dirichlet(np.ones(2), size=40), rng.integers(0, 2, 40)
    diagram = metrics.reliability(probabilities, labels)
    return Calibration(
        schema_version=1,
        step=40,
        fitted_on="validation",
        modalities={"video+audio": TemperatureFit(1.2, 16, 0.2, 0.1, 0.9, 0.8)},
        test=TestCalibration(
            ece_before=0.0567,
            ece_after=0.034,
            reliability_before=diagram,
            reliability_after=diagram,
            selective_accuracy=metrics.selective_accuracy(probabilities, labels),
        ),
    )


def made_leakage() -> Leakage:
    return Leakage(
        unseen=made_attacks(0.612, 0.5),
        known=None,
        verification={"z_e": {"cosine": verified(0.345), "plda": verified(0.321, 0.377)}},
        not_measured=("known subjects: too few",),
    )


def made_enrolment() -> tuple[Enrolled, ...]:
    """Of one and of eight clips; the second was not attacked."""
    better = PairedDifference(0.05, -0.01, 0.11, 0.0625)
    people = {"04": 0.8, "05": 0.7}
    return (
        Enrolled(
            clips=1,
            uar=0.75,
            uar_interval=(0.65, 0.85),
            uar_by_subject=people,
            minus_none=better,
            leakage=made_attacks(0.6, 0.4),
        ),
        Enrolled(
            clips=8,
            uar=0.8,
            uar_interval=None,
            uar_by_subject=people,
            minus_none=better,
            leakage=None,
        ),
    )


def made_results(**changes) -> Results:
    """Results of a tiny run on the demo corpus, with some fields changed."""
    results = Results(
        name="decoupled",
        size="cpu",
        corpus="demo",
        corpus_seed=7,
        synthetic=True,
        subject_independent=True,
        clips="d9341b63cebd52e4",
        selected_on="validation",
        split=SplitFacts(
            protocol="subject_independent",
            fold=1,
            folds=3,
            seed=0,
            train_subjects=("02", "03"),
            validation_subjects=("01",),
            test_subjects=("04", "05"),
            clips=ClipCounts(train=27, probe=5, validation=16, test=16),
        ),
        seed=0,
        step=40,
        total_steps=50,
        parameters=1_234_567,
        emotions=EMOTIONS,
        commit="0123456789ab",
        versions={"jax_avemo": "0.1.0", "jax": "0.10.2"},
        hardware="1 cpu, 2 cores",
        config={"model.modalities": ["video", "audio"], "model.decouple": True},
        metrics=MetricsByPart(test=made_metrics()),
        calibration=made_calibration(),
        leakage=made_leakage(),
    )
    return replace(results, **changes)


def with_test(results: Results, **changes) -> Results:
    """The same with some test metrics changed."""
    return replace(results, metrics=MetricsByPart(test=replace(results.test, **changes)))


def made_predictions(
    accuracy: float, *, people: int = 4, clips: int = 8, seed: int = 0, prefix: str = ""
) -> list[ClipPrediction]:
    """`clips` of each of `people`, of which about `accuracy` are predicted rightly."""
    rng = np.random.default_rng(seed)
    made = []
    for person in range(people):
        for number in range(clips):
            emotion = EMOTIONS[number % 2]
            predicted = emotion if rng.random() < accuracy else EMOTIONS[1 - number % 2]
            p = 0.8 if predicted == EMOTIONS[0] else 0.2
            made.append(
                ClipPrediction(
                    key=f"{prefix}{person}/{number}",
                    subject=f"{prefix}{person}",
                    sex=("female", "male")[person % 2],
                    emotion=emotion,
                    predicted=predicted,
                    probabilities=(p, 1 - p),
                )
            )
    return made
