"""What is asked of finished runs beyond the test split: hard conditions, and balanced new takes."""

import json

import jax
import numpy as np
import pytest
from support.main_job import experiment

from jax_avemo import cli
from jax_avemo import config as settings
from jax_avemo.data.clip_store import read_clips
from jax_avemo.erasure.fit import erasing_projection
from jax_avemo.evaluation import robustness
from jax_avemo.evaluation.balanced import evaluate_balanced
from jax_avemo.evaluation.evaluator import make_predict
from jax_avemo.evaluation.results import BALANCED_FILE, BalancedResults, read_results_of
from jax_avemo.evaluation.trained_network import load_run
from jax_avemo.experiment import ensure_clips
from jax_avemo.runtime.devices import data_mesh
from jax_avemo.runtime.errors import UserError
from jax_avemo.training.train_loop import rows_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with the demo corpus, its clips, and one finished run."""
    home = tmp_path_factory.mktemp("home")
    done = experiment(home, "runs/whole")
    assert done.returncode == 0, done.stderr
    return home


def test_every_condition_of_the_grid_is_measured(home, monkeypatch, capsys):
    monkeypatch.chdir(home)
    assert cli.main(["evaluate", "runs/whole", "--robustness", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["robustness"]
    results = json.loads((home / "runs/whole/results.json").read_text())
    assert found["clean"]["uar"] == pytest.approx(results["metrics"]["test"]["uar"])
    assert set(found) == {"clean", *robustness.GRID}
    for condition in robustness.GRID:
        gap = found[condition]["minus_clean"]
        assert gap["difference"] == pytest.approx(found[condition]["uar"] - found["clean"]["uar"])
        assert (gap["low"], gap["high"]) == (None, None)  # one subject


def test_balanced_takes_tell_unseen_actors_and_the_same_people_apart(home, monkeypatch):
    monkeypatch.chdir(home)
    run = home / "runs/whole"
    new_takes = settings.make_config("x", "tiny", {"data.demo_confound": 1e-6})
    ensure_clips(new_takes)
    found = evaluate_balanced(run, settings.data_dir(new_takes))
    assert (found.metrics.unseen.clips, found.metrics.same_people.clips) == (16, 32)
    assert {"z", "z_e", "z_i", "probabilities"} == set(found.leakage.same_people.identity)
    assert found.leakage.unseen is None  # one person
    assert read_results_of(BalancedResults, run / BALANCED_FILE) == found
    for part, actors in (("unseen", 1), ("same_people", 2)):
        lines = (run / f"predictions-{part}.jsonl").read_text().splitlines()
        assert len({json.loads(line)["subject"] for line in lines}) == actors
    with pytest.raises(UserError, match="give new takes"):
        evaluate_balanced(run, settings.data_dir(settings.make_config("x", "tiny")))


def test_the_saved_erasures_are_those_of_the_training_clips(home):
    changes = {"model.erasure": True, "model.person_centred": False, "train.clips_per_subject": 0}
    overrides = [f"--config.{name}={value}" for name, value in changes.items()]
    done = experiment(home, "runs/erased", *overrides)
    assert done.returncode == 0, done.stderr
    trained = load_run(home / "runs/erased")
    clips = read_clips(home / settings.data_dir(trained.config))
    rows = rows_of(clips, trained.split.train)
    predict = make_predict(trained.model, data_mesh(), trained.config, clips, trained.index)
    subjects = np.array([clips.labels[row].subject for row in rows])
    emotions = np.array([clips.labels[row].emotion for row in rows])

    def told(z, label, given) -> float:
        x, s = (
            of - np.stack([of[given == one].mean(axis=0) for one in given])
            for of in (z.astype(np.float64), (label[:, None] == np.unique(label)).astype(float))
        )
        return float(np.square(x.T @ s).sum() / (np.square(x).sum() * np.square(s).sum()))

    unfitted = jax.tree.map(np.zeros_like, trained.variables["erasure"])
    before, after = (
        predict(trained.variables | {"erasure": erasure}, rows)
        for erasure in (unfitted, trained.variables["erasure"])
    )
    for name, layer, label, given in (
        ("z_e", "identity_erasure", subjects, emotions),
        ("z_i", "emotion_erasure", emotions, subjects),
    ):
        mean, projection = erasing_projection(before[name], label, given)
        saved = trained.variables["erasure"][layer]
        np.testing.assert_allclose(saved["mean"], mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(saved["projection"], projection, rtol=1e-3, atol=1e-4)
        expected = before[name] - (before[name] - mean) @ projection.T
        np.testing.assert_allclose(after[name], expected, rtol=1e-3, atol=1e-3)
    assert told(before["z_e"], subjects, emotions) > 1e-3
    assert told(after["z_e"], subjects, emotions) < 0.5 * told(before["z_e"], subjects, emotions)
