"""Processes under limits of time and memory for work on untrusted media.

`run_isolated` does many tasks in several processes; an `IsolatedWorker` is one process that answers
task after task. What comes back are plain bytes, never a pickle: a decoder that a file has taken
over cannot reach this process that way.
"""

import contextlib
import math
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any

from jax_avemo.media.child_process import ChildProcess
from jax_avemo.runtime.errors import UserError

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""The workers are the parallelism; libraries read this when they are imported."""
_READY, _VALUE, _PIECE, _END, _ERROR = b"R", b"V", b"P", b".", b"E"
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


class IsolatedError(UserError):
    """Work in another process failed; the message is the reason, without the file's name."""


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
    it may have come from outside. `function` must be importable. Leaving the iterator early ends
    the workers.
    """
    limits = limits or Limits()
    waiting = list(range(len(tasks)))[::-1]
    tried_again: set[int] = set()
    lost_starts = 0
    children = [_Child(function, limits) for _ in range(min(workers, len(tasks)))]
    try:
        while waiting or any(child.task is not None for child in children):
            for child in children:
                if child.ready and child.task is None and waiting:
                    child.task = waiting.pop()
                    child.give(tasks[child.task])
            for child in _with_news(children):
                outcome = child.outcome()
                if child.dead:
                    children.remove(child)
                    lost_starts += not child.ready
                    if lost_starts > _MOST_LOST_STARTS:
                        raise UserError(f"worker processes end before they start ({child.cause})")
                    if outcome and child.may_be_innocent and outcome.index not in tried_again:
                        tried_again.add(outcome.index)
                        waiting.insert(0, outcome.index)
                        outcome = None
                    if waiting:
                        children.append(_Child(function, limits))
                if outcome is not None:
                    yield outcome
    finally:
        for child in children:
            child.end()


class IsolatedWorker:
    """One process under `limits` that does task after task, begun anew when it has died.

    Not to be shared by threads. As a context manager it ends the process.
    """

    def __init__(
        self, function: Callable[[Any], bytes | Iterator[bytes]], limits: Limits | None = None
    ) -> None:
        """`function` must be importable; it returns an answer or yields its pieces."""
        self._function, self._limits = function, limits or Limits()
        self._child: _Child | None = None

    def stream(self, task: Any) -> Iterator[bytes]:
        """What `function` of the task yields, each piece in its turn.

        `seconds` and `cpu_seconds` count for one piece, not for all, so that a task may be of any
        length. The process waits while nobody asks.

        Raises:
          IsolatedError: with the reason in one line, when the function raised, the limits were
            reached, or the process died; after the pieces that came before. The next task has a
            new process if need be.
        """
        if self._child is None or self._child.dead:
            self._child = _Child(self._function, self._limits)
            self._child.receive()
        self._child.give(task)
        while (message := self._child.receive())[:1] != _END:
            yield message[1:]
            if message[:1] == _VALUE:
                return
            self._child.allow_a_piece()

    def answer(self, task: Any) -> bytes:
        """What `function` of the task returns; raises as `stream` does."""
        (value,) = self.stream(task)
        return value

    def close(self) -> None:
        """End the process; a further task would begin another."""
        if self._child is not None:
            self._child.end()

    def __enter__(self) -> "IsolatedWorker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Child:
    """One process under limits, and what is known of it."""

    def __init__(self, function: Callable[[Any], bytes | Iterator[bytes]], limits: Limits) -> None:
        self._limits = limits
        self._process = ChildProcess(_serve, limits, environment=_ONE_THREAD)
        self.pipe = self._process.pipe
        self.ready = self.dead = self.may_be_innocent = False
        self.cause = ""
        self.task: int | None = None
        """Of `run_isolated`: the task it has, if any."""
        self.deadline = time.monotonic() + _START_SECONDS
        # After the limits stand, because importing it brings the decoder in.
        self._send(function)

    def give(self, task: Any) -> None:
        """Send a task to a process that has none."""
        self.allow_a_piece()
        self._send(task)

    def allow_a_piece(self) -> None:
        """Begin to count the seconds of the next piece."""
        self.deadline = time.monotonic() + self._limits.seconds

    def receive(self) -> bytes:
        """The next message, its kind first; IsolatedError for a failure, a death or lateness."""
        try:
            if not self.pipe.poll(max(self.deadline - time.monotonic(), 0.0)):
                seconds = self._limits.seconds if self.ready else _START_SECONDS
                raise self._died(f"took more than {seconds:g} s", innocent=True)
            message = self.pipe.recv_bytes()
        except (EOFError, OSError) as error:
            code = self._process.exit_code(5.0)
            cause = _cause(code, self._limits)
            raise self._died(cause, innocent=code != -signal.SIGXCPU) from error
        self.ready = True
        self.deadline = math.inf
        if message[:1] == _ERROR:
            raise IsolatedError(" ".join(message[1:].decode(errors="replace").split()))
        return message

    def outcome(self) -> Outcome | None:
        """What the next message makes of its task; None = it had none."""
        try:
            value, error = self.receive()[1:], None
        except IsolatedError as failed:
            value, error = None, str(failed)
        index, self.task = self.task, None
        return None if index is None else Outcome(index, value, error)

    def end(self) -> None:
        """End the process."""
        self.dead = True
        self._process.close()

    def _died(self, cause: str, *, innocent: bool) -> IsolatedError:
        self.end()
        self.cause, self.may_be_innocent = cause, innocent
        return IsolatedError(cause)

    def _send(self, value: Any) -> None:
        with contextlib.suppress(BrokenPipeError):  # heard of as the end of the pipe
            self.pipe.send(value)


def _with_news(children: Sequence[_Child]) -> list[_Child]:
    """Those that sent something, died, or are late; waits until there are some."""
    soonest = min(child.deadline for child in children)
    pause = max(min(soonest - time.monotonic(), 5.0), 0.0)
    heard = connection.wait([child.pipe for child in children], pause)
    now = time.monotonic()
    return [child for child in children if child.pipe in heard or now > child.deadline]


def _cause(exit_code: int | None, limits: Limits) -> str:
    if exit_code == -signal.SIGXCPU:
        return f"took more than {limits.cpu_seconds} s of CPU"
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        if exit_code == -signal.SIGKILL:  # Linux ends by it whom it has no memory left for
            return f"lost its process ({name}): the memory may be full; use fewer workers"
        return f"crashed the decoder ({name})"
    return f"ended the decoder (exit code {exit_code})"


def _serve(pipe: Any, limits: Limits) -> None:
    """The life of a process: a function, then task after task."""
    _confine(limits)
    try:
        function = pipe.recv()
        import cv2

        cv2.setNumThreads(1)
        pipe.send_bytes(_READY)
        while True:
            for message in _messages(function, pipe.recv(), limits):
                pipe.send_bytes(message)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is gone


def _messages(
    function: Callable[[Any], bytes | Iterator[bytes]], task: Any, limits: Limits
) -> Iterator[bytes]:
    """What the parent is told of one task."""
    try:
        _limit_cpu(limits)
        answer = function(task)
        if isinstance(answer, bytes):
            yield _VALUE + answer
            return
        for piece in answer:
            yield _PIECE + piece
            _limit_cpu(limits)
        yield _END
    except MemoryError:
        yield _ERROR + f"needs more than {limits.memory_bytes / 2**30:.1f} GB of memory".encode()
    except UserError as error:
        yield _ERROR + str(getattr(error, "reason", error)).encode()
    except Exception as error:  # one bad file must not end the batch
        yield _ERROR + f"failed ({type(error).__name__}: {error})".encode()


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
