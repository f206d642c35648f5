"""What `avemo list` says of run directories in every state."""

import json
from pathlib import Path

import pytest
from support.made_results import made_results

from jax_avemo import cli, runs
from jax_avemo import config as settings
from jax_avemo.evaluation.results import write_results
from jax_avemo.runtime.files import locked, write_json


def make_run(run: Path, *, steps=(), results=None) -> Path:
    config = settings.make_config("decoupled", "tiny", {"data.corpus": "crema_d"})
    write_json(run / "config.json", settings.to_dict(config))
    for step in steps:
        (run / f"checkpoints/{step}").mkdir(parents=True)
    if results is not None:
        write_results(run / "results.json", results)
    return run


@pytest.fixture(name="folder")
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_run(Path("runs/finished"), steps=(10, 20), results=made_results())
    make_run(Path("runs/old"), steps=(3,)).joinpath("results.json").write_text('{"uar": 0.4}')
    make_run(Path("runs/crossval/one/fold0-seed0"), steps=(9, 10))
    make_run(Path("runs/begun"))
    make_run(Path("runs/used"), steps=(1,))
    make_run(Path("runs/broken")).joinpath("config.json").write_text("{")
    return Path("runs")


def test_every_run_has_its_state(folder):
    with locked(folder / "used", "busy"):
        found = {summary.run: summary for summary in runs.list_runs(folder)}
    states = {run: summary.state for run, summary in found.items()}
    assert states == {
        "runs/begun": "not begun",
        "runs/broken": "damaged",
        "runs/crossval/one/fold0-seed0": "stopped at step 10",
        "runs/finished": "finished",
        "runs/old": "evaluated by another version",
        "runs/used": "running",
    }
    finished = found["runs/finished"]
    assert (finished.name, finished.size, finished.corpus) == ("decoupled", "tiny", "crema_d")
    assert finished.uar == made_results().metrics.test.uar
    assert found["runs/used"].uar is None


def test_the_command_prints_runs_configs_and_sizes(folder, capsys):
    assert cli.main(["list"]) == 0
    printed = capsys.readouterr().out
    (line,) = [line for line in printed.splitlines() if line.startswith("runs/finished")]
    uar = f"{100 * made_results().metrics.test.uar:.1f}"
    assert line.split() == ["runs/finished", "decoupled", "tiny", "crema_d", uar, "finished"]
    assert "configs/ablations.py" in printed
    assert "tiny" in printed.splitlines()[-1]
    assert cli.main(["list", "runs/crossval", "--json"]) == 0
    (only,) = json.loads(capsys.readouterr().out)
    assert only["state"] == "stopped at step 10"
    assert cli.main(["list", "nowhere"]) == 0
    assert "no runs below nowhere/" in capsys.readouterr().out
