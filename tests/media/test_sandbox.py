import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from jax_avemo.media import sandbox
from jax_avemo.media.decoding.container import MediaError
from jax_avemo.media.sandbox import (
    IsolatedError,
    IsolatedWorker,
    Limits,
    run_isolated,
)
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.files import write_atomic

LIMITS = Limits(cpu_seconds=1, memory_bytes=2 << 30)


def act(task: str) -> bytes:
    match task:
        case "echo":
            return b"\x00\xff" * 50_000
        case "threads":
            import cv2

            return f"{os.environ['OMP_NUM_THREADS']} {cv2.getNumThreads()}".encode()
        case "media":
            raise MediaError("has no\npicture", __file__)  # type: ignore[arg-type]
        case "user":
            raise UserError("not so")
        case "bug":
            raise IndexError("seven")
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(3)
        case "memory":
            return bytes(3 << 30)
        case "cpu":
            while True:
                pass
        case "sleep":
            time.sleep(60)
    name, _, path = task.partition(":")
    if name == "tell":
        write_atomic(Path(path), str(os.getpid()).encode())
        time.sleep(60)
    if Path(path).exists():
        return b"done"
    Path(path).touch()
    os.kill(os.getpid(), signal.SIGKILL if name == "killed once" else signal.SIGSTOP)
    raise AssertionError(task)


@pytest.fixture(scope="module")
def outcomes() -> dict:
    tasks = ["cpu", "echo", "media", "die", "user", "exit", "bug", "memory"]
    found = list(run_isolated(act, tasks, workers=2, limits=LIMITS))
    assert sorted(outcome.index for outcome in found) == list(range(len(tasks)))
    return {tasks[outcome.index]: outcome for outcome in found}


def test_values_come_back_as_bytes(outcomes):
    assert outcomes["echo"].value == b"\x00\xff" * 50_000
    assert outcomes["echo"].error is None


def test_workers_have_one_thread_and_this_process_keeps_its_own(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    (outcome,) = run_isolated(act, ["threads"], workers=2)
    assert outcome.value == b"1 1"
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


@pytest.mark.parametrize(
    ("task", "error"),
    [
        ("media", "has no picture"),
        ("user", "not so"),
        ("bug", "failed (IndexError: seven)"),
        ("die", "lost its process (SIGKILL): the memory may be full; use fewer workers"),
        ("exit", "ended the decoder (exit code 3)"),
        ("memory", "needs more than 2.0 GB of memory"),
        ("cpu", "took more than 1 s of CPU"),
    ],
)
def test_a_failure_says_why_and_the_others_go_on(outcomes, task, error):
    assert outcomes[task].value is None
    assert outcomes[task].error == error


def test_a_task_that_hangs_is_ended():
    next_one, hanging = run_isolated(act, ["sleep", "echo"], workers=1, limits=Limits(seconds=2))
    assert (next_one.index, next_one.error) == (1, None)
    assert (hanging.index, hanging.error) == (0, "took more than 2 s")


@pytest.mark.parametrize("kind", ["killed", "hanging"])
def test_a_task_that_lost_its_worker_is_done_by_another(tmp_path, kind):
    """As when somebody kills or stops a worker: the file is not to blame."""
    tasks = [f"{kind} once:{tmp_path / str(number)}" for number in range(3)]
    done = list(run_isolated(act, tasks, workers=2, limits=Limits(seconds=2)))
    assert sorted(outcome.index for outcome in done) == [0, 1, 2]
    assert [outcome.error for outcome in done] == [None] * 3


def test_a_worker_killed_while_it_starts_is_replaced(monkeypatch):
    original, begun = sandbox._Child.__init__, []

    def start(worker, *arguments):
        original(worker, *arguments)
        begun.append(worker)
        if len(begun) == 1:
            worker._process.kill()

    monkeypatch.setattr(sandbox._Child, "__init__", start)
    (outcome,) = run_isolated(act, ["echo"], workers=1)
    assert outcome.error is None
    assert len(begun) == 2


def test_workers_that_never_start_are_one_line(monkeypatch):
    original = sandbox._Child.__init__

    def start(worker, *arguments):
        original(worker, *arguments)
        worker._process.kill()

    monkeypatch.setattr(sandbox._Child, "__init__", start)
    with pytest.raises(UserError, match=r"end before they start \(lost its process"):
        list(run_isolated(act, ["echo", "echo"], workers=2))


def test_workers_end_in_the_middle_of_a_task_when_their_parent_is_killed(tmp_path):
    code = (
        "from test_sandbox import act\nfrom jax_avemo.media.sandbox import run_isolated\n"
        f"list(run_isolated(act, ['tell:{tmp_path}/pid'], workers=1))\n"
    )
    (tmp_path / "run.py").write_text(code)
    paths = [str(Path(__file__).parent), str(Path(sandbox.__file__).parents[2])]
    parent = subprocess.Popen(
        [sys.executable, "run.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "pid").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    worker = int((tmp_path / "pid").read_text())
    parent.kill()
    parent.wait()
    while Path(f"/proc/{worker}/stat").exists() and time.monotonic() < deadline:
        if Path(f"/proc/{worker}/stat").read_text().split()[2] == "Z":
            break
        time.sleep(0.02)
    assert time.monotonic() < deadline


@pytest.mark.parametrize("given", ["file", "stdin"])
def test_a_script_without_a_guard_runs_once(tmp_path, given):
    """`multiprocessing` would run it again in every worker, and end in its own RuntimeError."""
    code = (
        "from test_sandbox import act\nfrom jax_avemo.media.sandbox import run_isolated\n"
        "print('begins', flush=True)\n"
        "(outcome,) = run_isolated(act, ['echo'], workers=1)\n"
        "print(len(outcome.value))\n"
    )
    (tmp_path / "run.py").write_text(code)
    paths = [str(Path(__file__).parent), str(Path(sandbox.__file__).parents[2])]
    done = subprocess.run(
        [sys.executable, "run.py" if given == "file" else "-"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        input=code if given == "stdin" else None,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.stdout, done.stderr) == ("begins\n100000\n", "")


def test_leaving_early_ends_the_workers():
    running = run_isolated(act, ["echo", "sleep"], workers=2)
    assert next(running).index == 0
    began = time.monotonic()
    running.close()
    assert time.monotonic() - began < 5


def test_no_tasks_start_no_worker():
    assert list(run_isolated(act, [], workers=2)) == []


def test_a_worker_answers_again_after_an_error_and_after_its_death():
    worker = IsolatedWorker(act, LIMITS)
    try:
        assert worker.answer("echo") == act("echo")
        with pytest.raises(UserError, match="not so"):
            worker.answer("user")
        assert worker.answer("echo") == act("echo")
        with pytest.raises(UserError, match=r"lost its process \(SIGKILL\)"):
            worker.answer("die")
        assert worker.answer("echo") == act("echo")
    finally:
        worker.close()


def stream(task: str):
    if task == "pieces":
        for size in range(3):
            yield b"\x00" * size * 100_000
        return
    yield b"first"
    yield act(task).ljust(1)


def taken(task: str, **limits) -> tuple[list[bytes], str]:
    found: list[bytes] = []
    try:
        with IsolatedWorker(stream, replace(LIMITS, **limits)) as worker:
            for piece in worker.stream(task):
                found.append(piece)
    except IsolatedError as error:
        return found, str(error)
    return found, ""


def test_a_stream_gives_its_pieces_in_order():
    assert taken("pieces") == ([b"", b"\x00" * 100_000, b"\x00" * 200_000], "")


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ("media", "has no picture"),
        ("die", "lost its process (SIGKILL): the memory may be full; use fewer workers"),
        ("memory", "needs more than 2.0 GB of memory"),
        ("sleep", "took more than 1 s"),
    ],
)
def test_a_stream_that_breaks_gives_what_came_before_and_the_reason(task, says):
    limits = {"seconds": 1.0} if task == "sleep" else {}
    assert taken(task, **limits) == ([b"first"], says)
