"""The exam's own parts: split, score, features, arguments."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/experiments/exam_demo.py"


@pytest.fixture(scope="module")
def exam():
    spec = importlib.util.spec_from_file_location("exam_demo", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_actor_is_tested_once_and_never_trained_on_then(exam):
    actor = np.repeat(np.arange(1, 25), 16)
    tested = []
    for rotation in range(3):
        train, validation, test = exam.split_actors(actor, rotation)
        assert (train.astype(int) + validation + test == 1).all()
        sizes = [len(np.unique(actor[mask])) for mask in (train, validation, test)]
        assert sizes == [12, 4, 8]
        assert all((np.unique(actor[m]) % 2).mean() == 0.5 for m in (train, validation, test))
        tested += list(np.unique(actor[test]))
    assert sorted(tested) == list(range(1, 25))


def test_recall_is_unweighted(exam):
    truth, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0])
    assert exam.unweighted_average_recall(truth, predicted) == 0.5


def test_examine_solves_a_separable_problem_and_not_noise(exam):
    rng = np.random.default_rng(0)
    emotion, actor = np.tile(np.repeat(np.arange(8), 2), 24), np.repeat(np.arange(1, 25), 16)
    noise = rng.normal(0, 1, (len(emotion), 8))
    clear = noise + 8 * np.eye(8)[emotion]
    assert exam.examine(clear, emotion, actor, forest=False)[0] > 0.98
    assert exam.examine(noise, emotion, actor, forest=False)[0] < 0.25


def test_audio_features_tell_pitch_and_length_apart(exam):
    def tone(hertz, seconds):
        return np.sin(2 * np.pi * hertz * np.arange(int(16_000 * seconds)) / 16_000)

    low, high, longer = (exam.audio_features(tone(*t)) for t in ((200, 1), (2000, 1), (200, 2)))
    assert low.shape == (3 * exam.MEL_BANDS + 1,)
    assert low[: exam.MEL_BANDS].argmax() < high[: exam.MEL_BANDS].argmax()
    assert longer[-1] > 1.9 * low[-1]


def test_arguments(exam, capsys):
    assert exam.parse_arguments(["folder", "--measure"]).measure
    assert exam.parse_arguments(["--sheet", "a.jpg"]).sheet == Path("a.jpg")
    with pytest.raises(SystemExit):
        exam.parse_arguments([])
    assert "corpus folder" in capsys.readouterr().err


def test_unfinished_corpus_is_an_error_in_one_line(exam, tmp_path, capsys):
    assert exam.main([str(tmp_path)]) == 1
    assert "no finished demo corpus" in capsys.readouterr().err


def test_prosody_is_averaged_by_emotion_and_sex(exam):
    emotion, actor = np.repeat(np.arange(8), 2), np.tile([1, 2], 8)
    rows = np.stack([np.where(actor == 1, 110.0, 210.0), emotion, -emotion, actor], axis=1)
    drawn = exam.prosody_table(rows, emotion, actor).splitlines()
    assert len(drawn) == 10
    assert drawn[2 + 3] == "| sad | 110 | 210 | 3.0 | -3.0 | 1.50 |"
