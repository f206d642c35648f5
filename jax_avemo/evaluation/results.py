"""Types of results: estimates, metrics, attacks, provenance; with one reader and one writer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from jax_avemo.runtime.records import read_record, write_record

RESULTS_SCHEMA_VERSION = 4
RESULTS_FILE = "results.json"
ROBUSTNESS_FILE = "results-robustness.json"
BALANCED_FILE = "results-balanced.json"
R = TypeVar("R", bound="Provenance")
Bounds = tuple[float, float]
"""Low and high end of an interval."""


@dataclass(frozen=True)
class Estimate:
    """A value and its t interval over people; no interval where it was measured on one."""

    value: float
    low: float | None
    high: float | None

    @classmethod
    def of(cls, value: float, bounds: Bounds | None) -> "Estimate":
        """From a value and (low, high) or None."""
        return cls(value, *(bounds or (None, None)))

    @property
    def bounds(self) -> Bounds | None:
        """(low, high), or None."""
        return None if self.low is None or self.high is None else (self.low, self.high)


@dataclass(frozen=True)
class PairedDifference:
    """Metric of a minus metric of b, its interval, and the two-sided p of "no difference"."""

    difference: float
    low: float | None
    high: float | None
    p_value: float


@dataclass(frozen=True)
class ReliabilityBin:
    """The clips of one bin of confidence."""

    clips: int
    confidence: float
    """Mean."""
    accuracy: float


@dataclass(frozen=True)
class Coverage:
    """Accuracy where only the most confident share of the clips is predicted."""

    coverage: float
    clips: int
    accuracy: float


@dataclass(frozen=True)
class AttackResult:
    """How often one attacker is right about clips that it did not learn on."""

    balanced_accuracy: float
    """Mean over people of the mean recall over the classes that a person has clips of."""
    interval: Bounds | None
    """95 % t interval over people."""
    shuffled: float
    """The same attacker after learning on labels dealt at random."""
    by_subject: dict[str, float]

    @property
    def estimate(self) -> Estimate:
        """Balanced accuracy with its interval."""
        return Estimate.of(self.balanced_accuracy, self.interval)


Attackers = dict[str, AttackResult]
"""By attacker: linear, mlp, knn, cosine, plda."""


@dataclass(frozen=True)
class VerificationResult:
    """Equal error rates, in [0, 0.5] or so: 0.5 = identity cannot be told, 0 = always."""

    equal_error_rate: float | None
    """None where there is no genuine or no impostor pair (a single subject, one emotion)."""
    equal_error_rate_same_sex: float | None
    """Impostors of the same sex only; None also where the sexes are not known."""
    genuine_pairs: int
    impostor_pairs: int


@dataclass(frozen=True)
class ClipCounts:
    """Clips of each part of a split."""

    train: int
    probe: int
    """Of training subjects, held out for attackers."""
    validation: int
    test: int


@dataclass(frozen=True)
class SplitFacts:
    """Who was trained on, who selected the step, who was tested."""

    protocol: str
    fold: int
    folds: int
    seed: int
    train_subjects: tuple[str, ...]
    validation_subjects: tuple[str, ...]
    test_subjects: tuple[str, ...]
    clips: ClipCounts


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a reader must know before any number, of a run and of a cross-validation."""

    size: str
    corpus: str
    corpus_seed: int | None
    synthetic: bool
    subject_independent: bool
    """No test subject took part in training or in the selection of the step."""
    emotions: tuple[str, ...]
    """In the order of every list and matrix."""
    versions: dict[str, str]
    hardware: str


@dataclass(frozen=True, kw_only=True)
class Provenance(Facts):
    """Where a result comes from."""

    schema_version: int = RESULTS_SCHEMA_VERSION
    name: str
    clips: str
    """Fingerprint of the prepared clips."""
    selected_on: str
    split: SplitFacts
    seed: int
    step: int
    total_steps: int
    parameters: int
    commit: str | None
    config: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """UAR, WAR and macro-F1 in [0, 1] with 95 % intervals over subjects (None: one subject)."""

    chance: float
    uar: float
    uar_interval: Bounds | None
    war: float
    war_interval: Bounds | None
    macro_f1: float
    macro_f1_interval: Bounds | None

    @property
    def estimates(self) -> dict[str, Estimate]:
        """By the name that people read."""
        return {
            "UAR": Estimate.of(self.uar, self.uar_interval),
            "WAR": Estimate.of(self.war, self.war_interval),
            "macro-F1": Estimate.of(self.macro_f1, self.macro_f1_interval),
        }


@dataclass(frozen=True, kw_only=True)
class Metrics(Scores):
    """How well one network predicts some clips."""

    clips: int
    ece: float
    """Expected calibration error, before a temperature."""
    confusion: tuple[tuple[int, ...], ...]
    """Clips; rows = true emotion."""
    uar_by_subject: dict[str, float]
    uar_worst_quartile: float
    uar_by_sex: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class MetricsByPart:
    """Metrics of the parts of the split that were evaluated."""

    test: Metrics | None = None
    validation: Metrics | None = None
    probe: Metrics | None = None
    validation_at_selection: dict[str, float] | None = None
    """uar, war, macro_f1 and loss of the selected step on the validation subjects."""

    def of(self, part: str) -> Metrics:
        """Metrics of "test", "validation" or "probe"; KeyError: it was not evaluated."""
        found = {"test": self.test, "validation": self.validation, "probe": self.probe}[part]
        if found is None:
            raise KeyError(part)
        return found


@dataclass(frozen=True)
class TemperatureFit:
    """A temperature, and calibration before and after it on the clips it was fitted on."""

    temperature: float
    clips: int
    ece_before: float
    ece_after: float
    nll_before: float
    """Mean negative log-likelihood, nats."""
    nll_after: float


@dataclass(frozen=True)
class TestCalibration:
    """Calibration on test clips, which no temperature was fitted on."""

    __test__ = False  # not a test class of pytest

    ece_before: float
    ece_after: float
    reliability_before: tuple[ReliabilityBin, ...]
    reliability_after: tuple[ReliabilityBin, ...]
    selective_accuracy: tuple[Coverage, ...]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Temperatures by modalities ("video+audio", "video", "audio"), fitted on validation clips."""

    schema_version: int
    step: int
    fitted_on: str
    modalities: dict[str, TemperatureFit]
    test: TestCalibration | None = None


@dataclass(frozen=True, kw_only=True)
class PeopleAttacked:
    """What attackers read from the clips of some people, of which the system fitted nothing."""

    people: int
    clips: int
    identity_chance: float
    emotion_chance: float
    identity: dict[str, Attackers]
    """By representation: z, z_e, z_i, "probabilities" (the floor: what the emotion probabilities
    give away no emotion embedding can hide), "untrained z", "untrained z_e", "raw features"."""
    emotion: dict[str, Attackers]
    """z, z_i and untrained z: identity's embedding should tell no emotion."""


@dataclass(frozen=True, kw_only=True)
class Leakage:
    """What the embeddings of one network give away: see `evaluation.leakage`."""

    unseen: PeopleAttacked | None
    """Test subjects: learnt on half of each one's clips, attacked on the other, and exchanged."""
    known: PeopleAttacked | None  # training subjects: held-out clips, cross-fitted
    verification: dict[str, dict[str, VerificationResult]]
    """Test subjects, by representation and attacker: cosine, lda, plda."""
    not_measured: tuple[str, ...] = ()
    """What lacks above, and why."""


@dataclass(frozen=True, kw_only=True)
class Enrolled:
    """Test clips whose embeddings are centred on other, unlabelled clips of their person."""

    clips: int
    """Enrolled, of each person; where a person has fewer others, all of them."""
    uar: float
    uar_interval: Bounds | None
    uar_by_subject: dict[str, float]
    minus_none: PairedDifference
    """UAR minus that without enrolment."""
    leakage: PeopleAttacked | None
    """From z_e and the probabilities; None as in `Leakage.unseen`."""


@dataclass(frozen=True, kw_only=True)
class Results(Provenance):
    """results.json: a run on its test subjects (or, without the last two, on another part)."""

    metrics: MetricsByPart
    calibration: Calibration | None = None
    leakage: Leakage | None = None
    enrolment: tuple[Enrolled, ...] = ()
    """By rising number of clips; empty where the network is not person-centred."""

    @property
    def test(self) -> Metrics:
        """Metrics of the test subjects."""
        return self.metrics.of("test")


@dataclass(frozen=True)
class Condition:
    """UAR on the test clips under one condition, and less the one on the clean clips."""

    uar: float
    uar_interval: Bounds | None
    minus_clean: PairedDifference | None = None

    @property
    def estimate(self) -> Estimate:
        """UAR with its interval."""
        return Estimate.of(self.uar, self.uar_interval)


@dataclass(frozen=True, kw_only=True)
class RobustnessResults(Provenance):
    """results-robustness.json: test clips made worse, by condition; "clean" comes first."""

    robustness: dict[str, Condition]


@dataclass(frozen=True)
class BalancedMetrics:
    """Metrics on balanced takes of the test subjects, and of the training subjects."""

    unseen: Metrics
    same_people: Metrics


@dataclass(frozen=True)
class BalancedLeakage:
    """Attackers that learn on half of those clips; None: too few people or clips."""

    unseen: PeopleAttacked | None
    same_people: PeopleAttacked | None


@dataclass(frozen=True, kw_only=True)
class BalancedResults(Provenance):
    """results-balanced.json: a run trained under a confound, on balanced takes."""

    metrics: BalancedMetrics
    leakage: BalancedLeakage


@dataclass(frozen=True)
class TrainedOn:
    """The corpus that a network of another corpus's results was trained on."""

    corpus: str
    synthetic: bool
    clips: str
    emotions: tuple[str, ...]


@dataclass(frozen=True)
class CrossCorpusMetrics:
    """Metrics among the shared emotions of all clips of the other corpus."""

    cross_corpus: Metrics


@dataclass(frozen=True, kw_only=True)
class CrossCorpusResults(Provenance):
    """results-CORPUS.json: a network on a corpus that it was not trained on."""

    trained_on: TrainedOn
    left_out: dict[str, int]
    """Clips by emotion that the network does not know."""
    seen_subjects_left_out: int
    metrics: CrossCorpusMetrics
    outside_share: float
    """Share of clips whose likeliest emotion of all is none of the shared ones."""


def write_results(path: Path, results: Provenance) -> None:
    """Write any of these results as JSON, atomically."""
    write_record(path, results)


def read_results(path: Path) -> Results:
    """Read results.json.

    Raises:
      UserError: the file is not there, damaged, or of another version.
    """
    return read_results_of(Results, path)


def read_results_of(kind: type[R], path: Path) -> R:
    """Read any of these results, as `read_results` does."""
    return read_record(kind, path, RESULTS_SCHEMA_VERSION, f"give: avemo evaluate {path.parent}")
