"""Two processes are one run: they share, wait for, tell and end each other."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.processes import Ended, ended, environment, start

PROCESS = """
import argparse, json, os, sys, time
import jax, numpy as np
from jax_avemo.runtime import cluster
from jax_avemo.runtime.errors import UserError
from jax_avemo.command_line import guarded, together
from jax_avemo.runtime import devices, multihost

def shares():
    calls = []
    def work():
        calls.append(1)
        return {"rows": [1, 2, 3]}
    told = [multihost.from_first(work), multihost.from_first(lambda: None)]
    mesh = devices.data_mesh()
    # 10 rows in batches of 8: the second process has padding alone in the second batch.
    rows = np.concatenate([np.arange(10, dtype=np.float32), np.zeros(6, np.float32)])
    valid = np.arange(16) < 10
    total = jax.jit(lambda b: (b["x"] * b["valid"]).sum(), out_shardings=devices.replicated(mesh))
    gathered = jax.jit(lambda b: b["x"] + 0, out_shardings=devices.replicated(mesh))
    sums, seen = [], []
    for begin in (0, 8):
        mine = slice(begin + 4 * multihost.index(), begin + 4 * multihost.index() + 4)
        batch = devices.place_batch({"x": rows[mine], "valid": valid[mine]}, mesh)
        sums.append(float(total(batch)))
        seen += np.asarray(gathered(batch)).tolist()
    came = [15] if multihost.index() == 1 else []
    signals = [multihost.agreed_signal(came, step) for step in (3, 4, 5)]
    print(json.dumps({"told": told, "calls": len(calls), "sums": sums, "seen": seen,
                      "signals": signals, "devices": mesh.size}))

def waits_for_a_mistake():
    if multihost.index() == 1:
        raise UserError("the disk of this host is missing")
    multihost.from_first(lambda: time.sleep(600))

def mistake_of_the_first():
    multihost.from_first(lambda: (_ for _ in ()).throw(UserError("no such corpus")))

def killed_in_a_computation():
    multihost.agreed_signal([], 5)
    if multihost.index() == 1:
        os.kill(os.getpid(), 9)
    multihost.agreed_signal([], 5)

def killed_in_a_wait():
    if multihost.index() == 0:
        time.sleep(3)
        os.kill(os.getpid(), 9)
    multihost.from_first(lambda: None)

def interrupted():
    raise multihost.StoppedTogether("stopped at step 5")

parser = argparse.ArgumentParser()
parser.add_argument("what")
cluster.add_arguments(parser)
args = parser.parse_args()

multihost.HEARTBEAT_SECONDS = 10

def work():
    with together(args):
        globals()[args.what]()

sys.exit(guarded(work))
"""


def both(what: str, home: Path, devices: int = 1) -> list[Ended]:
    return ended(start(["-c", PROCESS, what], home, processes=2, devices=devices))


def errors(process: Ended) -> list[str]:
    return [line for line in process.stderr.splitlines() if line.startswith("error: ")]


def last_object(process: Ended) -> dict:
    """The JSON it printed: the collectives' library writes before it, also within its line."""
    return json.JSONDecoder().raw_decode(process.stdout[process.stdout.index("{") :])[0]


def test_two_processes_share_values_batches_and_the_decision_to_stop(tmp_path):
    first, second = both("shares", tmp_path, devices=2)
    assert (first.code, second.code) == (0, 0), first.stderr + second.stderr
    said = [last_object(p) for p in (first, second)]
    assert [s.pop("calls") for s in said] == [1, 0]
    assert said[0] == said[1]
    assert said[0]["told"] == [{"rows": [1, 2, 3]}, None]
    assert said[0]["sums"] == [sum(range(8)), 8 + 9]
    assert said[0]["seen"] == [*range(10), *[0] * 6]
    assert said[0]["signals"] == [0, 0, signal.SIGTERM]
    assert said[0]["devices"] == 4


@pytest.mark.slow
def test_a_mistake_of_one_process_ends_the_first_in_the_middle_of_its_work(tmp_path):
    began = time.monotonic()
    first, second = both("waits_for_a_mistake", tmp_path)
    assert second.code == 1
    assert errors(second) == ["error: the disk of this host is missing"]
    assert "Traceback" not in second.stderr
    assert first.code == -signal.SIGABRT
    assert "The tasks have crashed" in first.stderr
    assert time.monotonic() - began < 300  # it would have worked for 600 s


@pytest.mark.slow
def test_a_mistake_of_the_first_process_reaches_those_who_wait_for_it(tmp_path):
    first, second = both("mistake_of_the_first", tmp_path)
    assert (first.code, second.code) == (1, 1)
    assert errors(first) == ["error: no such corpus"]
    assert errors(second) == ["error: process 0 stopped: no such corpus"]


@pytest.mark.slow
def test_a_process_that_is_killed_in_a_computation_ends_the_other(tmp_path):
    first, second = both("killed_in_a_computation", tmp_path)
    assert second.code == -signal.SIGKILL
    assert first.code == 1
    assert "one of them has died" in errors(first)[0]
    assert "Traceback" not in first.stderr


@pytest.mark.slow
def test_a_process_that_is_killed_while_others_wait_ends_them(tmp_path):
    first, second = both("killed_in_a_wait", tmp_path)
    assert first.code == -signal.SIGKILL
    assert second.code not in (0, None)
    assert "process 0" in second.stderr or "another task died" in second.stderr


@pytest.mark.slow
def test_processes_that_stop_together_say_so_and_wait_for_no_one(tmp_path):
    found = both("interrupted", tmp_path)
    assert all("StoppedTogether: stopped at step 5" in process.stderr for process in found)
    assert [process.code for process in found] == [1, 1]  # it has no exit code of its own


def command(workdir: str, home: Path) -> list[str]:
    configs = Path(__file__).parents[2] / "configs"
    return [
        "-m", "jax_avemo.main", f"--config={configs}/tiny.py", f"--workdir={workdir}",
        "--config.train.epochs=4", "--config.evaluate.batch_size=12",
        f"--config.train.compilation_cache_dir={home}/compiled",
    ]  # fmt: skip


def alone(arguments: list[str], home: Path, devices: int) -> Ended:
    flags = ["--process-count=1"]
    import subprocess

    done = subprocess.run(
        [sys.executable, *arguments, *flags],
        cwd=home, env=environment(devices), capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A run of one process and one of two, both whole: runs/one, runs/two."""
    home = tmp_path_factory.mktemp("home")
    one = alone(command("runs/one", home), home, devices=2)
    assert one.code == 0, one.stderr
    two = ended(start(command("runs/two", home), home, processes=2))
    assert [process.code for process in two] == [0, 0], two[0].stderr + two[1].stderr
    (home / "second").write_text(two[1].stdout + two[1].stderr)
    (home / "first").write_text(two[0].stdout)
    return home


def log(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def results(run: Path) -> dict:
    return json.loads((run / "results.json").read_text())


def assert_same_predictions(one: Path, other: Path, tolerance: float) -> None:
    a, b = (
        [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
        for run in (one, other)
    )
    assert [line["key"] for line in a] == [line["key"] for line in b]
    assert len(a) == 16
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x["probabilities"], y["probabilities"], atol=tolerance)


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(home):
    one, two = log(home / "runs/one"), log(home / "runs/two")
    assert [(x["step"], x["kind"]) for x in one] == [(x["step"], x["kind"]) for x in two]
    trained = [pair for pair in zip(one, two, strict=True) if pair[0]["kind"] == "train"]
    assert len(trained) >= 12
    for a, b in trained[:5]:
        for name in a:
            if name.startswith("loss/"):
                np.testing.assert_allclose(b[name], a[name], rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_two_processes_evaluate_as_one_does(home):
    """16 test clips in batches of 12: the second process's part of the last one is padding."""
    one, two = (results(home / f"runs/{name}")["metrics"] for name in ("one", "two"))
    assert one["test"]["confusion"] == two["test"]["confusion"]
    assert one["test"]["uar_interval"] == two["test"]["uar_interval"]
    assert_same_predictions(home / "runs/one", home / "runs/two", 2e-4)


@pytest.mark.slow
def test_one_process_writes_and_speaks(home):
    written = sorted(p.name for p in (home / "runs/two").iterdir())
    assert written == sorted(p.name for p in (home / "runs/one").iterdir())
    steps = [(x["step"], x["kind"]) for x in log(home / "runs/two")]
    assert len(steps) == len(set(steps))
    assert "UAR" in (home / "first").read_text()
    spoken = [line for line in (home / "second").read_text().splitlines() if "Gloo" not in line]
    assert spoken == []


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 4])
def test_what_two_processes_saved_other_counts_of_devices_read(home, devices):
    before = results(home / "runs/two")
    copy = home / f"runs/two-kept-{devices}"
    copy.mkdir()
    (home / "runs/two/predictions.jsonl").rename(copy / "predictions.jsonl")
    done = alone(["-m", "jax_avemo.cli", "evaluate", "runs/two", "--json"], home, devices)
    assert done.code == 0, done.stderr
    after = json.loads(done.stdout)
    assert after["hardware"].startswith(f"{devices} cpu")
    assert after["metrics"]["test"]["confusion"] == before["metrics"]["test"]["confusion"]
    assert_same_predictions(home / "runs/two", copy, 1e-5)


@pytest.mark.slow
def test_sigterm_to_one_saves_on_both_and_four_devices_go_on(home):
    running = start(command("runs/stopped", home), home, processes=2)
    path = home / "runs/stopped/metrics.jsonl"
    deadline = time.monotonic() + 900
    while not (path.exists() and b'"step": 6' in path.read_bytes()):
        assert all(process.poll() is None for process in running), running[0].communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    running[1].send_signal(signal.SIGTERM)
    found = ended(running)
    assert [process.code for process in found] == [128 + signal.SIGTERM] * 2, found
    assert all("the same command goes on from there" in process.stderr for process in found)
    saved = [int(p.name) for p in (home / "runs/stopped/checkpoints").iterdir()]
    last = log(home / "runs/stopped")[-1]["step"]
    assert last in saved
    assert last < log(home / "runs/two")[-1]["step"]
    again = alone(command("runs/stopped", home), home, devices=4)
    assert again.code == 0, again.stderr
    whole, resumed = log(home / "runs/two"), log(home / "runs/stopped")
    assert [(x["step"], x["kind"]) for x in resumed] == [(x["step"], x["kind"]) for x in whole]
    for a, b in zip(whole, resumed, strict=True):
        if a["kind"] == "train" and a["step"] <= last + 3:
            np.testing.assert_allclose(b["loss/total"], a["loss/total"], rtol=1e-3)


@pytest.mark.slow
def test_processes_of_two_experiments_are_refused(home):
    port = f"--coordinator=127.0.0.1:{os.getpid() % 20000 + 30000}"
    import subprocess

    running = [
        subprocess.Popen(
            [sys.executable, *command("runs/mixed", home), port, "--process-count=2",
             f"--process-index={index}", f"--config.seed={index}"],
            cwd=home, env=environment(1), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for index in range(2)
    ]  # fmt: skip
    first, second = ended(running)
    assert (first.code, second.code) == (1, 1)
    assert "process 1 was started with seed=1, process 0 with 0" in errors(second)[0]
    assert "process 1 stopped" in errors(first)[0]
