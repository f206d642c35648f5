import os
import signal
import time

import pytest

from jax_avemo.errors import UserError
from jax_avemo.media.decode import MediaError
from jax_avemo.media.sandbox import IsolatedWorker, Limits, run_isolated

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
        ("die", "crashed the decoder (SIGKILL)"),
        ("exit", "ended the decoder (exit code 3)"),
        ("memory", "needs more than 2.0 GB of memory"),
        ("cpu", "took more than 1 s of CPU"),
    ],
)
def test_a_failure_says_why_and_the_others_go_on(outcomes, task, error):
    assert outcomes[task].value is None
    assert outcomes[task].error == error


def test_a_task_that_hangs_is_ended():
    hanging, next_one = run_isolated(act, ["sleep", "echo"], workers=1, limits=Limits(seconds=3))
    assert (hanging.index, hanging.error) == (0, "took more than 3 s")
    assert (next_one.index, next_one.error) == (1, None)


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
        with pytest.raises(UserError, match=r"crashed the decoder \(SIGKILL\)"):
            worker.answer("die")
        assert worker.answer("echo") == act("echo")
    finally:
        worker.close()
