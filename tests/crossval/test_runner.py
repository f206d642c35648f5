"""Which cells run and by whom; the real thing, killed and shared, is marked slow."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.crossval_runs import write_done

from jax_avemo import cli
from jax_avemo import config as settings
from jax_avemo.crossval import runner
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.files import is_locked, try_lock

CONFIGS = Path(__file__).parents[2] / "configs"


def configs():
    return [settings.make_config(name, "tiny") for name in ("one", "two")]


def cells(workdir, **more):
    return runner.make_cells(configs(), **({"folds": 2, "seeds": 2, "workdir": workdir} | more))


def test_cells_are_every_fold_and_seed_of_every_experiment(tmp_path):
    made = cells(tmp_path)
    assert [cell.title for cell in made[:4]] == [
        "one fold 0 seed 0",
        "two fold 0 seed 0",
        "one fold 1 seed 0",
        "two fold 1 seed 0",
    ]
    assert len(made) == 8
    assert {cell.config.split.fold for cell in made} == {0, 1}
    assert all(cell.config.split.folds == 2 for cell in made)
    assert {cell.config.seed for cell in made} == {0, 1}
    assert made[0].run == tmp_path / "one" / "fold0-seed0"
    assert len({cell.lock for cell in made}) == 8
    assert [cell.fold for cell in cells(tmp_path, only_folds=[1], seeds=1)] == [1, 1]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"folds": 1}, "at least 2"),
        ({"seeds": 0}, "at least 2 and 1"),
        ({"only_folds": [2]}, "fold 2 does not exist"),
    ],
)
def test_impossible_cells_are_refused(changed, says, tmp_path):
    with pytest.raises(UserError, match=says):
        cells(tmp_path, **changed)


def test_two_experiments_need_two_names(tmp_path):
    with pytest.raises(UserError, match="called the same"):
        runner.make_cells([configs()[0]] * 2, folds=2, seeds=1, workdir=tmp_path)


def test_a_claim_is_exclusive_and_ends_with_its_block(tmp_path):
    lock = tmp_path / "locks" / "cell"
    with try_lock(lock) as ours:
        assert ours
        assert is_locked(lock)
        with try_lock(lock) as again:
            assert not again
    assert not is_locked(lock)


def test_the_claim_of_a_killed_process_is_free(tmp_path):
    lock = tmp_path / "cell"
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom jax_avemo.runtime.files import try_lock\n"
        f"with try_lock(Path({str(lock)!r})):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as held:
        assert held.stdout.readline() == "held\n"
        assert is_locked(lock)
        held.kill()
        held.wait()
        assert not is_locked(lock)


@pytest.fixture
def fake(monkeypatch):
    """Cells that take no time; the list of those that were run."""
    ran = []

    def run(cell):
        ran.append(cell.title)
        time.sleep(0.02)
        write_done(cell)

    monkeypatch.setattr(runner, "_run_cell", run)
    monkeypatch.setattr(runner, "ensure_clips", lambda config: None)
    monkeypatch.setattr(runner, "_POLL_SECONDS", 0.01)
    return ran


def test_every_cell_is_run_once_whoever_helps(fake, tmp_path):
    made = cells(tmp_path, seeds=3)
    with ThreadPoolExecutor(3) as pool:
        helpers = [pool.submit(runner.run_cells, made, tmp_path) for _ in range(3)]
    for helper in helpers:
        helper.result()
    assert sorted(fake) == sorted(cell.title for cell in made)
    runner.run_cells(made, tmp_path)
    assert len(fake) == len(made)


def test_the_time_left_is_said(fake, tmp_path, capsys):
    runner.run_cells(cells(tmp_path), tmp_path)
    said = capsys.readouterr().err
    # 4 of 8 cells of 70 s are left, one process works.
    assert "two fold 1 seed 0: 3 of 8 cells done, about 6 minutes left with 1 running" in said


def test_one_cell_that_fails_does_not_keep_the_others(fake, tmp_path, monkeypatch, capsys):
    run = runner._run_cell

    def sometimes(cell):
        if cell.title == "one fold 1 seed 0":
            raise UserError("loss is not finite")
        run(cell)

    monkeypatch.setattr(runner, "_run_cell", sometimes)
    with pytest.raises(UserError, match=r"1 of 8 cells failed; one fold 1 seed 0: loss is not"):
        runner.run_cells(cells(tmp_path), tmp_path)
    assert len(fake) == 7
    assert "error: one fold 1 seed 0: loss" in capsys.readouterr().err


def test_a_folder_of_other_cells_is_refused(fake, tmp_path):
    made = cells(tmp_path)
    (made[0].run / "checkpoints/3").mkdir(parents=True)
    other = settings.to_dict(made[0].config) | {"train.epochs": 77}
    (made[0].run / "config.json").write_text(json.dumps(other))
    with pytest.raises(UserError, match="train.epochs is 77"):
        runner.run_cells(made, tmp_path)
    assert fake == []


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--folds", "2", "--seeds", "1", "--epochs=3"], "no such argument '--epochs=3'"),
        (["--folds", "2", "--seeds", "1", "--config.train.epoch=3"], "did you mean 'train.epochs'"),
        (["--folds", "1", "--seeds", "1"], "at least 2"),
    ],
)
def test_a_mistake_is_one_line(more, says, tmp_path, capsys):
    arguments = ["crossval", f"--config={CONFIGS}/tiny.py", "--workdir", str(tmp_path), *more]
    assert cli.main(arguments) == 1
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1
    assert says in error[0]


@pytest.mark.slow
def test_two_processes_one_of_them_killed_do_it_all(tmp_path):
    flags = os.environ["XLA_FLAGS"].replace("device_count=2", "device_count=1")
    command = {
        "args": [
            *(sys.executable, "-m", "jax_avemo.cli", "crossval", "--json"),
            *(f"--config={CONFIGS}/{file}" for file in ("tiny.py", "baselines.py:cfn_sr,tiny")),
            *("--folds", "4", "--seeds", "1", "--only-fold", "0", "--only-fold", "2"),
            *("--workdir", "cv", f"--config.train.compilation_cache_dir={tmp_path}/compiled"),
        ],
        "cwd": tmp_path,
        "env": os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }
    first = subprocess.Popen(**command)
    deadline = time.monotonic() + 900
    while not list(tmp_path.glob("cv/*/*/metrics.jsonl")):
        assert first.poll() is None, first.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    second = subprocess.Popen(**command)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    third = subprocess.Popen(**command)
    printed = []
    for process in (second, third):
        out, error = process.communicate(timeout=1500)
        assert process.returncode == 0, error
        printed.append(json.loads(out))
    assert printed[0] == printed[1] == json.loads((tmp_path / "cv/crossval.json").read_text())
    record = printed[0]
    assert record["complete"]
    assert record["exploratory"]
    assert record["folds_run"] == [0, 2]
    assert record["experiments"].keys() == {"tiny", "cfn_sr"}
    for found in record["experiments"].values():
        assert found["metrics"]["subjects"] == 2
        assert found["metrics"]["clips"] == 32
        assert found["leakage"]["not_measured"]  # one test subject, four takes of the others
    (pair,) = record["comparisons"]
    assert pair["metrics"]["uar"]["low"] <= pair["metrics"]["uar"]["high"]
