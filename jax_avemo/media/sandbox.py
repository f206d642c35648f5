"""How work on untrusted media is kept from hanging, crashing or eating the machine."""

import contextlib
import math
import resource
import signal
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any

from jax_avemo.media.child_process import ChildProcess
from jax_avemo.runtime.errors import UserError

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""The workers are the parallelism; libraries read this when they are imported."""
_READY, _VALUE, _ERROR, _END = b"R", b"V", b"E", b"."
_START_SECONDS = 120.0
_MOST_LOST_STARTS = 3


@dataclass(frozen=True)
class Limits:
    """What one task may use."""

    seconds: float = 120.0
    """By the clock; generous, for a machine may be busy."""
    cpu_seconds: int = 60
    memory_bytes: int = 4 << 30
    """Address space of a worker: a 4K film needs 1 GB of it, the libraries 0.8 GB."""
    file_bytes: int = 1 << 30


@dataclass(frozen=True)
class Outcome:
    """What became of a task: its value, or in one line why there is none."""

    index: int
    value: bytes | None
    error: str | None


def run_isolated(
    function: Callable[[Any], bytes],
    tasks: Sequence[Any],
    *,
    workers: int,
    limits: Limits | None = None,
) -> Iterator[Outcome]:
    """`function` of every task, in `workers` processes under `limits`, in order of completion.

    A task that fails, takes too long, or kills its worker gives an `error`; the others go on. A
    task whose worker died or stood still is given once more to another, last of all: what killed
    it may have come from outside. `function` must be importable. What a worker sends back are
    plain bytes, never a pickle: a decoder taken over by a file cannot reach this process that
    way. Leaving the iterator early ends the workers.
    """
    limits = limits or Limits()
    waiting = list(range(len(tasks)))[::-1]
    running: list[_Worker] = []
    tried_again: set[int] = set()
    lost_starts = 0
    try:
        for _ in range(min(workers, len(tasks))):
            running.append(_Worker(function, limits))
        while waiting or any(worker.task is not None for worker in running):
            for worker in running:
                if worker.ready and worker.task is None and waiting:
                    worker.give(waiting.pop(), tasks)
            soonest = min(worker.deadline for worker in running)
            pause = max(min(soonest - time.monotonic(), 5.0), 0.0)
            heard = connection.wait([worker.pipe for worker in running], pause)
            for worker in list(running):
                outcome = None
                if worker.pipe in heard:
                    outcome = worker.hear()
                elif time.monotonic() > worker.deadline:
                    outcome = worker.overdue()
                if worker.dead:
                    running.remove(worker)
                    lost_starts += not worker.ready
                    if lost_starts > _MOST_LOST_STARTS:
                        raise UserError(f"worker processes end before they start ({worker.cause})")
                    if outcome and worker.may_be_innocent and outcome.index not in tried_again:
                        tried_again.add(outcome.index)
                        waiting.insert(0, outcome.index)
                        outcome = None
                    if waiting:
                        running.append(_Worker(function, limits))
                if outcome is not None:
                    yield outcome
    finally:
        for worker in running:
            worker.end()


def stream_isolated(
    function: Callable[[Any], Iterator[bytes]], task: Any, *, limits: Limits | None = None
) -> Generator[bytes, None, None]:
    """What `function` of the task yields, from one process under `limits`, each piece in its turn.

    `seconds` and `cpu_seconds` count for one piece, not for all, so that a task may be of any
    length. The process waits while nobody asks. Leaving the iterator early ends it.

    Raises:
      IsolatedError: with the reason in one line, when the function raised, the limits were
        reached, or the process died; after the pieces that came before.
    """
    limits = limits or Limits()
    process = _start(_serve_stream, limits)
    pipe = process.pipe
    try:
        try:
            pipe.send((function, task))
            waited = _START_SECONDS
            while True:
                if not pipe.poll(waited + limits.seconds):
                    raise IsolatedError(f"took more than {limits.seconds:g} s")
                message = pipe.recv_bytes()
                waited = 0.0
                if message[:1] == _END:
                    return
                if message[:1] == _ERROR:
                    raise IsolatedError(" ".join(message[1:].decode(errors="replace").split()))
                yield message[1:]
        except (EOFError, OSError) as error:
            raise IsolatedError(_cause(process.exit_code(5.0), limits)) from error
    finally:
        process.close()


class IsolatedWorker:
    """One process under `limits` that answers task after task, begun anew when it has died.

    For work that must not wait for a process to start each time. Not to be shared by threads.
    """

    def __init__(self, function: Callable[[Any], bytes], limits: Limits | None = None) -> None:
        self._function, self._limits = function, limits or Limits()
        self._worker: _Worker | None = None

    def answer(self, task: Any) -> bytes:
        """`function` of the task.

        Raises:
          IsolatedError: as `stream_isolated`; the next task has a new process if need be.
        """
        if self._worker is None or self._worker.dead:
            self._worker = _Worker(self._function, self._limits)
            while not self._worker.ready:
                self._next()
        self._worker.give(0, [task])
        while (outcome := self._next()) is None:
            pass
        if outcome.value is None:
            raise IsolatedError(outcome.error or "failed")
        return outcome.value

    def close(self) -> None:
        """End the process; a further task would begin another."""
        if self._worker is not None:
            self._worker.end()

    def _next(self) -> Outcome | None:
        assert self._worker is not None
        left = max(self._worker.deadline - time.monotonic(), 0.0)
        return self._worker.hear() if self._worker.pipe.poll(left) else self._worker.overdue()


class IsolatedError(UserError):
    """Work in another process failed; the message is the reason, without the file's name."""


def _start(serve: Callable[[Any, Limits], None], limits: Limits) -> ChildProcess:
    return ChildProcess(serve, limits, environment=_ONE_THREAD)


class _Worker:
    """One process and the task it has, if any."""

    def __init__(self, function: Callable[[Any], bytes], limits: Limits) -> None:
        self._limits = limits
        self._process = _start(_serve, limits)
        self.pipe = self._process.pipe
        self.ready = self.dead = self.may_be_innocent = False
        self.cause = ""
        self.task: int | None = None
        self.deadline = time.monotonic() + _START_SECONDS
        # After the limits stand, because importing it brings the decoder in.
        self.pipe.send(function)

    def give(self, task: int, tasks: Sequence[Any]) -> None:
        self.task = task
        self.deadline = time.monotonic() + self._limits.seconds
        with contextlib.suppress(BrokenPipeError):  # heard of as the end of the pipe
            self.pipe.send(tasks[task])

    def hear(self) -> Outcome | None:
        try:
            message = self.pipe.recv_bytes()
        except (EOFError, OSError):
            code = self._process.exit_code(5.0)
            self.may_be_innocent = code != -signal.SIGXCPU
            return self._died(_cause(code, self._limits), killed=code is not None and code < 0)
        if not self.ready:
            self.ready, self.deadline = True, math.inf
            return None
        assert self.task is not None
        index, self.task, self.deadline = self.task, None, math.inf
        if message[:1] == _VALUE:
            return Outcome(index, message[1:], None)
        return Outcome(index, None, " ".join(message[1:].decode(errors="replace").split()))

    def overdue(self) -> Outcome | None:
        self.may_be_innocent = True
        seconds = self._limits.seconds if self.ready else _START_SECONDS
        return self._died(f"took more than {seconds:g} s", killed=True)

    def _died(self, cause: str, *, killed: bool) -> Outcome | None:
        self.end()
        self.cause = cause
        if not self.ready and not killed:
            raise UserError(f"a worker process did not start ({cause})")
        return None if self.task is None else Outcome(self.task, None, cause)

    def end(self) -> None:
        self.dead = True
        self._process.close()


def _cause(exit_code: int | None, limits: Limits) -> str:
    if exit_code == -signal.SIGXCPU:
        return f"took more than {limits.cpu_seconds} s of CPU"
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        return f"crashed the decoder ({name})"
    return f"ended the decoder (exit code {exit_code})"


def _serve(pipe: Any, limits: Limits) -> None:
    """A worker's life."""
    _confine(limits)
    try:
        function = pipe.recv()
        import cv2

        cv2.setNumThreads(1)
        pipe.send_bytes(_READY)
        while True:
            task = pipe.recv()
            _limit_cpu(limits)
            pipe.send_bytes(_attempt(function, task, limits))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is gone


def _serve_stream(pipe: Any, limits: Limits) -> None:
    """The life of a process of `stream_isolated`."""
    _confine(limits)
    try:
        # After the limits stand, because receiving it imports the decoder.
        function, task = pipe.recv()
        import cv2

        cv2.setNumThreads(1)
        _limit_cpu(limits)
        pieces = iter(function(task))
        while True:
            message = _attempt(lambda _: next(pieces, None), None, limits)
            pipe.send_bytes(message)
            if message[:1] != _VALUE:
                return
            _limit_cpu(limits)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is gone


def _attempt(function: Callable[[Any], bytes | None], task: Any, limits: Limits) -> bytes:
    try:
        value = function(task)
        return _END if value is None else _VALUE + value
    except MemoryError:
        return _ERROR + f"needs more than {limits.memory_bytes / 2**30:.1f} GB of memory".encode()
    except UserError as error:
        return _ERROR + str(getattr(error, "reason", error)).encode()
    except Exception as error:  # one bad file must not end the batch
        return _ERROR + f"failed ({type(error).__name__}: {error})".encode()


def _confine(limits: Limits) -> None:
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, limits.file_bytes)
    _limit(resource.RLIMIT_AS, limits.memory_bytes)


def _limit_cpu(limits: Limits) -> None:
    """`cpu_seconds` from now on."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + 1 + limits.cpu_seconds)


def _limit(kind: int, value: int) -> None:
    """Lower the soft limit. Some systems refuse some kinds; the others still hold there."""
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(kind, (value, hard))
