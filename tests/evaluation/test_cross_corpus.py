"""Labels of two corpora meet: which are shared, and what becomes of the probabilities."""

import dataclasses

import cv2
import numpy as np
import pytest
from support.random_run import write_run

from jax_avemo import config as settings
from jax_avemo.data.clip_store import read_clips, write_clips
from jax_avemo.data.corpora import crema_d, enterface05
from jax_avemo.data.pipeline import LabelIndex
from jax_avemo.data.splits import split_clips
from jax_avemo.evaluation.cross_corpus import (
    check_another,
    evaluate_on,
    restrict,
    shared_emotions,
)
from jax_avemo.evaluation.trained_network import load_run
from jax_avemo.experiment import clips_of_another
from jax_avemo.runtime.errors import UserError
from jax_avemo.schema import RAVDESS_EMOTIONS, Clip, Labels, shared_emotion
from jax_avemo.training.train_loop import checkpoint_facts

SIX = ("happy", "sad", "angry", "fearful", "disgust", "surprised")


def test_ravdess_and_enterface05_share_six_emotions():
    assert shared_emotions(RAVDESS_EMOTIONS, enterface05._EMOTIONS) == SIX
    assert {shared_emotion(name) for name in enterface05._EMOTIONS} == set(SIX)


def test_ravdess_and_crema_d_share_five_of_them_and_neutral():
    names = tuple(crema_d._EMOTIONS.values())
    assert shared_emotions(RAVDESS_EMOTIONS, names) == ("neutral", *SIX[:5])
    assert shared_emotions(names, enterface05._EMOTIONS) == SIX[2:3] + (
        "disgust",
        "fearful",
        "happy",
        "sad",
    )


@pytest.mark.parametrize("name", ["Anger", "angry", "ANG"])
def test_spellings_meet(name):
    assert shared_emotion(name) == "angry"
    assert shared_emotion("boredom") == "boredom"


def test_probabilities_among_the_shared_are_divided_by_their_sum():
    known = ("neutral", "joy", "anger", "happy")
    probabilities = np.array([[0.4, 0.1, 0.2, 0.3], [0.6, 0.1, 0.2, 0.1], [0.1, 0.1, 0.7, 0.1]])
    among, outside = restrict(probabilities, known, ("happy", "angry"))
    np.testing.assert_allclose(among, [[2 / 3, 1 / 3], [0.5, 0.5], [2 / 9, 7 / 9]], rtol=1e-12)
    assert outside == pytest.approx(2 / 3)


def test_nothing_left_among_the_shared_is_no_preference():
    among, outside = restrict(
        np.array([[1.0, 0.0, 0.0]]), ("calm", "sad", "happy"), ("sad", "happy")
    )
    np.testing.assert_array_equal(among, [[0.5, 0.5]])
    assert outside == 1.0


def test_all_emotions_shared_changes_nothing():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(8), 5)
    among, outside = restrict(probabilities, RAVDESS_EMOTIONS, RAVDESS_EMOTIONS)
    np.testing.assert_allclose(among, probabilities, rtol=1e-12)
    assert outside == 0.0


@pytest.mark.parametrize(
    ("home", "corpus", "stored", "key", "refused"),
    [
        ("ravdess", "crema_d", "crema_d", "a", None),
        ("ravdess", "crema_d", "", "a", None),
        ("ravdess", "crema_d", "enterface05", "a", "are clips of enterface05, not of crema_d"),
        ("ravdess", "ravdess", "ravdess", "elsewhere", "was trained on ravdess"),
        ("folder", "folder", "folder", "a", "was trained on folder"),
        ("folder", "folder", "folder", "other", None),
        ("folder", "manifest", "manifest", "a", None),
    ],
)
def test_the_runs_own_clips_are_refused(home, corpus, stored, key, refused):
    arguments = (home, corpus, stored, {"a", "b"}, {key})
    if refused is None:
        check_another(*arguments)
    else:
        with pytest.raises(UserError, match=refused):
            check_another(*arguments)


def test_prepared_clips_of_another_corpus_need_no_media(tmp_path):
    labels = Labels("a", "anger", "1001")
    clip = Clip(labels, (), np.zeros(0, np.float32), np.zeros(0, bool), 32, np.ones(9, np.int16), 1)
    options = {"frame_size": 32, "frames_per_second": 5.0}
    write_clips(
        tmp_path,
        [clip],
        [labels],
        emotions=["anger"],
        options=options,
        sources=["x"],
        corpus="crema_d",
    )
    (tmp_path / "summary.json").write_text("{}")
    clips = clips_of_another(settings.make_config("x", "tiny"), "crema_d", None, tmp_path)
    assert (len(clips), clips.corpus, clips.synthetic) == (1, "crema_d", False)


def test_an_emotion_of_which_the_network_had_no_clip_is_left_out(tmp_path):
    """A reader lists every emotion of its corpus, and the network has an output for each."""
    labels = [
        Labels(f"{subject}-{emotion}", emotion, subject)
        for subject in ("1001", "1002")
        for emotion in ("anger", "happy", "sad")
    ]
    jpeg = cv2.imencode(".jpg", np.full((40, 40, 3), 90, np.uint8))[1].tobytes()
    times, sound = np.zeros(1, np.float32), np.ones(16_000, np.int16)
    made = [Clip(label, (jpeg,), times, np.ones(1, bool), 40, sound, 1) for label in labels]
    options = {"frame_size": 40, "frames_per_second": 4.0}
    write_clips(
        tmp_path,
        made,
        labels,
        emotions=["anger", "happy", "sad"],
        options=options,
        sources=["x"] * len(labels),
        corpus="crema_d",
    )
    trained = load_run(write_run(tmp_path / "run"))
    assert evaluate_on(trained, read_clips(tmp_path), "crema_d").left_out == {}
    learnt = [name for name in trained.index.emotions if name != "sad"]
    trained = dataclasses.replace(trained, about=trained.about | {"learnt_emotions": learnt})
    found = evaluate_on(trained, read_clips(tmp_path), "crema_d")
    assert found.left_out == {"sad": 2}
    assert found.emotions == ("happy", "angry")


def test_a_checkpoint_says_of_which_emotions_it_had_clips(tmp_path):
    people = [Labels(f"{n}", RAVDESS_EMOTIONS[n % 2], f"{n % 8}") for n in range(32)]
    none, sound = np.zeros(0, np.float32), np.ones(9, np.int16)
    write_clips(
        tmp_path,
        [Clip(label, (), none, np.zeros(0, bool), 32, sound, 1) for label in people],
        people,
        emotions=RAVDESS_EMOTIONS,
        options={"frame_size": 32, "frames_per_second": 5.0},
        sources=["x"] * len(people),
    )
    split = split_clips(
        people, protocol="subject_independent", folds=4, fold=0, validation_subjects=2, seed=0
    )
    index = LabelIndex(RAVDESS_EMOTIONS, split.train_subjects)
    config = settings.make_config("x", "tiny")
    facts = checkpoint_facts(config, read_clips(tmp_path), split, index, 1)
    assert facts["learnt_emotions"] == list(RAVDESS_EMOTIONS[:2])
