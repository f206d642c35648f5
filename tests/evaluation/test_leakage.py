"""The leakage report: who is attacked, by attackers that learnt on whom."""

from dataclasses import replace

import numpy as np
import pytest
from ml_collections import ConfigDict

from jax_avemo.data.clip_store import ClipSource
from jax_avemo.data.pipeline import LabelIndex
from jax_avemo.data.splits import split_clips
from jax_avemo.evaluation import evaluator, leakage
from jax_avemo.evaluation.leakage import People
from jax_avemo.evaluation.leakage_summary import FLOOR, above_floor, lowest_eer, strongest
from jax_avemo.evaluation.predictions import read_embeddings
from jax_avemo.evaluation.results import Leakage
from jax_avemo.evaluation.trained_network import Trained
from jax_avemo.models.avemo import AVEmo
from jax_avemo.runtime.records import dumps
from jax_avemo.schema import Labels

EMOTIONS = ("angry", "calm", "happy", "sad")


def clips(subjects, statements=("1", "2"), takes=("1",)):
    return [
        Labels(
            key=f"{subject}-{emotion}-{statement}-{take}",
            emotion=emotion,
            subject=subject,
            sex="male" if int(subject) % 2 else "female",
            statement=statement,
            take=take,
        )
        for subject in subjects
        for emotion in EMOTIONS
        for statement in statements
        for take in takes
    ]


def test_halves_hold_every_subject_and_emotion_and_both_statements():
    labels = clips(["1", "2", "3"])
    half = leakage.halves(labels)
    for part in (half == 0, half == 1):
        chosen = [label for label, kept in zip(labels, part, strict=True) if kept]
        assert len(chosen) == len(labels) // 2
        for subject in ("1", "2", "3"):
            of_subject = [label for label in chosen if label.subject == subject]
            assert {label.emotion for label in of_subject} == set(EMOTIONS)
            assert {label.statement for label in of_subject} == {"1", "2"}


@pytest.mark.parametrize("deal", [leakage.halves, leakage.person_folds])
def test_intensities_of_one_take_stay_in_one_fold(deal):
    labels = [
        Labels(f"{s}{e}{w}{i}", e, s, statement=w, intensity=i, take="1")
        for s in "12"
        for e in EMOTIONS
        for w in "ab"
        for i in ("normal", "strong")
    ]
    sides = {}
    for label, fold in zip(labels, deal(labels), strict=True):
        sides.setdefault((label.subject, label.emotion, label.statement), set()).add(int(fold))
    assert all(len(side) == 1 for side in sides.values())


def test_every_fold_has_clips_of_every_subject():
    labels = clips([str(n) for n in range(16)], statements=("1",))
    folds = leakage.person_folds(labels)
    for fold in range(leakage.KNOWN_FOLDS):
        here = {label.subject for label, of in zip(labels, folds, strict=True) if of == fold}
        assert len(here) == 16


def test_a_corpus_without_statement_and_take_is_halved_clip_by_clip():
    labels = [Labels(f"k{n}", EMOTIONS[n % 2], "1") for n in range(8)]
    assert leakage.halves(labels).sum() == 4


def made_people(subjects, *, seed=0) -> People:
    """z names the person, z_e the emotion, z_i the person; probabilities the emotion."""
    labels = clips(subjects)
    who = np.array([int(label.subject) for label in labels], int)
    what = np.array([EMOTIONS.index(label.emotion) for label in labels], int)
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(4, len(labels), 16)).astype(np.float32)
    of_person, of_emotion = 6 * np.eye(16)[4 + who], 6 * np.eye(16)[what]
    return People(
        labels,
        {
            "z": noise[0] + of_person + of_emotion,
            "z_e": noise[1] + of_emotion,
            "z_i": noise[2] + of_person,
            FLOOR: leakage.log_probabilities(np.eye(4)[what] * 0.9 + 0.025),
            "untrained z": noise[3],
        },
    )


def only_z(subjects) -> People:
    people = made_people(subjects)
    return people._replace(representations={"z": people.representations["z"]})


@pytest.fixture(scope="module")
def report():
    unseen = made_people([str(n) for n in range(1, 9)])
    known = made_people([str(n) for n in range(9, 12)])
    return leakage.measure(unseen, known, seed=0)


def test_attackers_read_what_is_there_and_no_more(report):
    for attacked, people in ((report.unseen, 8), (report.known, 3)):
        assert attacked.people == people
        assert attacked.identity_chance == 1 / people
        for name in ("z", "z_i"):
            assert strongest(attacked.identity[name])[1].balanced_accuracy > 0.95
        assert attacked.identity["z_e"].keys() == {"linear", "mlp", "knn", "cosine", "plda"}
    unseen = report.unseen
    for name in ("z_e", FLOOR, "untrained z"):
        assert strongest(unseen.identity[name])[1].balanced_accuracy < 0.35
    assert unseen.emotion.keys() == {"z", "z_i", "untrained z"}
    assert strongest(unseen.emotion["z"])[1].balanced_accuracy > 0.95
    assert strongest(unseen.emotion["z_i"])[1].balanced_accuracy < 0.5
    assert all(found.shuffled < 0.4 for found in unseen.identity["z"].values())


def test_the_distance_to_the_floor_is_paired_by_person(report):
    unseen = report.unseen
    of_z = above_floor(unseen, "z")
    assert of_z.low > 0.5
    assert of_z.p_value <= 2 / 2**7  # eight people, one of them told by the floor as well
    ours, floor = (strongest(unseen.identity[name])[1] for name in ("z_e", FLOOR))
    expected = ours.balanced_accuracy - floor.balanced_accuracy
    assert above_floor(unseen).difference == pytest.approx(expected)
    assert above_floor(replace(unseen, identity={})) is None


def test_verification_learns_on_other_people(report):
    verified = report.verification
    assert verified["z_i"].keys() == {"cosine", "lda", "plda"}
    assert lowest_eer(verified["z_i"])[1] < 0.15
    assert lowest_eer(verified["z_e"])[1] > 0.35
    assert lowest_eer(verified["z_i"], same_sex=True)[1] < 0.15
    assert lowest_eer({}) is None


class OnlyLabels(ClipSource):
    """Stored clips of which nothing but the labels is there."""

    def __init__(self, labels):
        self.labels = tuple(labels)

    def __len__(self):
        return 0


def test_no_attacker_sees_a_clip_that_the_system_was_fitted_on(monkeypatch, tmp_path):
    labels = clips([str(n) for n in range(8)])
    split = split_clips(
        labels, protocol="subject_independent", folds=4, fold=0, validation_subjects=2, seed=0
    )
    fitted = {*split.train, *split.validation}
    trained = Trained(
        run=tmp_path,
        step=0,
        variables="trained",
        model=object.__new__(AVEmo),
        config=ConfigDict({"seed": 0}),
        split=split,
        index=LabelIndex(EMOTIONS, split.train_subjects),
        about={},
    )
    stored = OnlyLabels(labels)
    computed, attacked = [], {}

    def predict(variables, rows, label="", *, change=None):
        computed.extend(rows)
        zeros = np.zeros((len(rows), 3), np.float32)
        return {"z": zeros, "z_e": zeros, "probabilities": zeros + 1 / 3}

    monkeypatch.setattr(evaluator.leakage, "initial_variables", lambda _: "untrained")
    monkeypatch.setattr(
        evaluator, "raw_features_of", lambda trained, clips, rows: predict("", rows)["z"]
    )
    nothing = Leakage(unseen=None, known=None, verification={})

    def measure(unseen, known, *, seed):
        attacked.update(unseen=unseen, known=known)
        return nothing

    monkeypatch.setattr(evaluator.leakage, "measure", measure)
    test_rows = [row for row, label in enumerate(labels) if label.key in split.test]
    evaluator.measure_leakage(trained, stored, predict, test_rows, predict("trained", test_rows))
    assert not {labels[row].key for row in computed} & fitted
    assert {label.key for label in attacked["unseen"].labels} == set(split.test)
    assert {label.key for label in attacked["known"].labels} == set(split.probe)
    assert len(split.probe) > 0
    kept = read_embeddings(tmp_path / "embeddings.npz")
    assert set(kept["key"]) == {*split.test, *split.probe}


def test_what_cannot_be_measured_is_said():
    few = leakage.measure(only_z(["1", "2"]), only_z([]), seed=0)
    assert few.known is None
    assert few.unseen.people == 2
    assert few.verification["z"].keys() == {"cosine"}
    assert len(few.not_measured) == 2
    assert "known subjects" in few.not_measured[0]
    assert "of 2 unseen subjects too few" in few.not_measured[1]
    alone = leakage.measure(only_z(["1"]), only_z(["2"]), seed=0)
    assert alone.unseen is None
    assert alone.verification["z"]["cosine"].equal_error_rate is None


def test_people_with_too_few_takes_are_not_attacked():
    people = made_people(["1", "2", "3"])
    rows = [row for row, label in enumerate(people.labels) if label.subject != "3"][:-5]
    some = People([people.labels[r] for r in rows], {"z": people.representations["z"][rows]})
    assert {label.subject for label in leakage.with_enough_takes(some).labels} == {"1"}
    assert leakage.attack_halves(some, seed=0) is None


def test_it_can_be_written(report):
    dumps(report)


def test_of_many_clips_the_report_says_how_many_were_attacked(monkeypatch):
    monkeypatch.setattr(leakage, "MOST_ATTACKED", 60)
    found = leakage.measure(only_z([str(n) for n in range(1, 9)]), only_z([]), seed=0)
    assert (found.unseen.people, found.unseen.clips) == (3, 24)  # 20 each if they had so many
    assert found.unseen.identity_chance == 1 / 3
    assert "unseen subjects: 24 of 64 clips were drawn (seed 0)" in found.not_measured


def test_all_clips_are_attacked_where_they_are_few():
    subjects = np.repeat(np.arange(20), 100)
    np.testing.assert_array_equal(leakage.drawn_clips(subjects, 0), np.arange(2000))


@pytest.mark.parametrize(
    ("people", "clips_each", "kept_people", "kept_each"),
    [(24, 200, 24, 83), (1000, 30, 100, 20), (500, 5, 100, 5)],
)
def test_of_many_clips_some_of_each_person_are_attacked(people, clips_each, kept_people, kept_each):
    subjects = np.random.default_rng(1).permutation(np.repeat(np.arange(people), clips_each))
    drawn = leakage.drawn_clips(subjects, 3)
    assert np.all(np.diff(drawn) > 0)
    kept, counts = np.unique(subjects[drawn], return_counts=True)
    assert len(kept) == kept_people
    assert set(counts) == {kept_each}
    np.testing.assert_array_equal(drawn, leakage.drawn_clips(subjects, 3))
    assert not np.array_equal(drawn, leakage.drawn_clips(subjects, 4))
