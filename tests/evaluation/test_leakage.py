import jax.numpy as jnp
import numpy as np
import pytest

from jax_avemo.evaluation import leakage
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
    half = leakage.first_half(labels)
    for part in (half, ~half):
        chosen = [label for label, kept in zip(labels, part, strict=True) if kept]
        assert len(chosen) == len(labels) // 2
        for subject in ("1", "2", "3"):
            of_subject = [label for label in chosen if label.subject == subject]
            assert {label.emotion for label in of_subject} == set(EMOTIONS)
            assert {label.statement for label in of_subject} == {"1", "2"}


def test_intensities_of_one_take_stay_in_one_half():
    labels = [
        Labels(f"{s}{e}{w}{i}", e, s, statement=w, intensity=i, take="1")
        for s in "12"
        for e in EMOTIONS
        for w in "ab"
        for i in ("normal", "strong")
    ]
    half = leakage.first_half(labels)
    sides = {}
    for label, kept in zip(labels, half, strict=True):
        sides.setdefault((label.subject, label.emotion, label.statement), set()).add(bool(kept))
    assert all(len(side) == 1 for side in sides.values())


def test_a_corpus_without_statement_and_take_is_halved_clip_by_clip():
    labels = [Labels(f"k{n}", EMOTIONS[n % 2], "1") for n in range(8)]
    assert leakage.first_half(labels).sum() == 4


def test_unseen_people_are_told_where_the_embedding_names_them():
    labels = clips(["1", "2", "3", "4"])
    rng = np.random.default_rng(0)
    who = np.array([int(label.subject) for label in labels])
    telling = rng.normal(size=(len(labels), 6)) + 5 * np.eye(6)[who]
    silent = rng.normal(size=(len(labels), 6))
    found = leakage.probe_halves(telling, labels, seed=0)["linear"]
    assert found.balanced_accuracy > 0.9
    assert found.chance == 0.25
    assert found.train_clips == found.test_clips == len(labels) // 2
    assert leakage.probe_halves(silent, labels, seed=0)["linear"].balanced_accuracy < 0.6
    assert leakage.probe_halves(silent[:8], labels[:8], seed=0) == {}  # one person alone


@pytest.fixture(scope="module")
def report():
    """Of a network whose z names the person and whose z_e names the emotion."""
    labels = clips([str(n) for n in range(1, 9)])
    who = np.array([int(label.subject) for label in labels])
    what = np.array([EMOTIONS.index(label.emotion) for label in labels])
    rng = np.random.default_rng(1)

    def embed(variables, rows, label):
        noise = rng.normal(size=(len(rows), 9)).astype(np.float32)
        if variables == "untrained":
            return {"z": noise, "z_e": noise}
        return {"z": noise + 6 * np.eye(9)[who[rows]], "z_e": noise + 6 * np.eye(9)[what[rows]]}

    rows = np.arange(len(labels))
    test = [int(row) for row in rows[who > 5]]
    # Of each training subject the last statement of one emotion is held out.
    held = [int(r) for r in rows[who <= 5] if labels[r].statement == "2" and what[r] == who[r] % 4]
    train = [int(row) for row in rows[who <= 5] if row not in held]
    return leakage.measure(
        labels,
        train,
        held,
        test,
        embed("trained", np.array(test), ""),
        embed,
        variables="trained",
        untrained_variables="untrained",
        seed=0,
    )


def test_the_report_holds_every_attack(report):
    found, learnt = report
    assert learnt["z"].shape == (40, 9)
    assert found.training_subjects.keys() == {"z", "z_e"}
    for kind in ("linear", "mlp"):
        assert found.training_subjects["z"]["identity"][kind].balanced_accuracy > 0.9
        assert found.training_subjects["z_e"]["identity"][kind].balanced_accuracy < 0.8
    assert found.training_subjects["z_e"]["emotion"]["linear"].balanced_accuracy > 0.9
    assert found.untrained["z"]["identity"]["linear"].balanced_accuracy < 0.8
    told = found.training_subjects["z"]["identity"]["linear"]
    assert told.chance == 0.2
    assert told.shuffled_floor < told.balanced_accuracy
    unseen = found.unseen_subjects
    for attack in ("cosine", "plda"):
        assert getattr(unseen["z"], attack).equal_error_rate < 0.2
        assert getattr(unseen["z_e"], attack).equal_error_rate > 0.3
        assert getattr(unseen["z"], attack).equal_error_rate_same_sex is not None
    assert unseen["z"].probe["linear"].balanced_accuracy > 0.9


def test_it_can_be_written(report):
    dumps(report[0])
    assert jnp.isfinite(report[1]["z_e"]).all()
