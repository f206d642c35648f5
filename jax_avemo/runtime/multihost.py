"""How several processes are one run: they find each other, tell each other, and stop together."""

import contextlib
import itertools
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np

# The key-value store of JAX's coordination service has no public name yet; Orbax uses it likewise.
from jax._src.distributed import global_state
from jax.experimental import multihost_utils

from jax_avemo.runtime.cluster import Cluster
from jax_avemo.runtime.errors import UserError

T = TypeVar("T")
JOIN_SECONDS = 300
SILENCE_SECONDS = 60.0
"""A process that was not heard of for so long is taken for dead. Every process has a thread that
tells of itself once a second, whatever the others wait for."""
STEPS_BETWEEN_AGREEMENTS = 5
_BEAT_SECONDS = 1.0
_END_SECONDS = 600
_FAREWELL_SECONDS = 20.0
_FAILED = "avemo/watch/failed"
_numbers = itertools.count()


class StoppedTogether(Exception):
    """Raised by all processes at the same point of the same work: nobody is left waiting."""


class _Terminated(KeyboardInterrupt):
    """SIGTERM came while nothing was there to save."""

    exit_code = 128 + signal.SIGTERM


def index() -> int:
    """Which process this is, from 0."""
    return global_state.process_id


def count() -> int:
    """How many processes the run has."""
    return global_state.num_processes


def is_first() -> bool:
    """Whether this process writes the run's files and speaks to the user."""
    return index() == 0


def from_first(work: Callable[[], T]) -> T:
    """What process 0's `work` returns (JSON values), on every process; the others wait for it.

    However long the work takes, the others wait: if process 0 fails they are told, if it dies
    they notice (see `joined`).
    """
    if count() == 1:
        return work()
    key = f"avemo/from_first/{next(_numbers)}"
    if is_first():
        value = work()
        _client().key_value_set(key, json.dumps(value))
        return value
    return json.loads(_wait_for(key))


def check_same(settings: dict[str, Any]) -> None:
    """Refuse to be one process of another experiment than process 0's (settings: JSON values)."""
    for name, value in from_first(lambda: settings).items():
        if settings[name] != value:
            raise UserError(
                f"process {index()} was started with {name}={settings[name]!r}, process 0 "
                f"with {value!r}; give all the same command"
            )


def agreed_signal(came: list[int], step: int) -> int:
    """The signal all processes stop for after this step, 0 = none.

    One process may have it alone, and all must stop at the same step: every few steps the
    processes exchange a number, which waits for the step to be done (4 to 11 ms on two CPU
    processes). A process by itself needs no one's consent.
    """
    mine = came[0] if came else 0
    if count() == 1:
        return mine
    if step % STEPS_BETWEEN_AGREEMENTS:
        return 0
    return int(multihost_utils.process_allgather(np.int32(mine)).max())


@contextlib.contextmanager
def joined(cluster: Cluster, report: Callable[[BaseException], int | None]) -> Iterator[None]:
    """Be one process of a run while the block runs; if one fails, all end within a minute.

    A process that fails tells the others why and ends at once, for at its exit JAX would wait
    five minutes for the others (measured), who wait for it. They say so and end. One that is
    killed is missed after `SILENCE_SECONDS`, or at once by whoever shares a computation with it.

    Args:
      cluster: how the others are found.
      report: says an exception to the user, returns the exit code; None = it is no user's matter.

    Raises:
      UserError: the others did not come.
      StoppedTogether: as the block raised it.
    """
    if not _initialize(cluster):
        yield
        return
    over = threading.Event()
    threading.Thread(target=_watch, args=(_client(), over), daemon=True).start()
    # JAX's preemption service, which Orbax wants to be there, caught it: the signal would be
    # swallowed outside the training loop.
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except StoppedTogether:
        _end(over)
        raise
    except BaseException as error:
        over.set()  # it need not hear of itself
        explained = _explained(error)
        code = report(explained)
        if code is None:
            traceback.print_exception(explained)
        _leave(code or 1, _said(explained))
    finally:
        signal.signal(signal.SIGTERM, before)
    _end(over)


def _initialize(cluster: Cluster) -> bool:
    """Whether there is more than this process."""
    # An empty list is neither None (JAX would choose) nor a restriction.
    devices: list[int] | None = [] if cluster.all_devices else None
    try:
        jax.distributed.initialize(
            cluster.coordinator,
            cluster.process_count,
            cluster.process_index,
            local_device_ids=None if "JAX_LOCAL_DEVICE_IDS" in os.environ else devices,
            initialization_timeout=JOIN_SECONDS,
            shutdown_timeout_seconds=60,
        )
    except ValueError:
        if cluster.found_by == "Cloud TPU":
            return False  # one host by itself
        raise
    except RuntimeError as error:
        raise UserError(
            f"the processes of this run (found by {cluster.found_by}) did not all come within "
            f"{JOIN_SECONDS} s: {_line(error)}; --process-count=1 runs this one alone"
        ) from error
    return count() > 1


def _client() -> Any:
    return global_state.client


def _wait_for(key: str) -> str:
    while True:
        try:
            return _client().blocking_key_value_get(key, 5000)
        except jax.errors.JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise


def _watch(client: Any, over: threading.Event) -> None:
    """Tell of this process, hear of the others; end this process when one of them failed."""
    heard: dict[str, tuple[str, float]] = {}
    for beat in itertools.count():
        if over.wait(_BEAT_SECONDS):
            return
        try:
            client.key_value_set(f"avemo/watch/beat/{index()}", str(beat), allow_overwrite=True)
            told = dict(client.key_value_dir_get("avemo/watch/"))
        except jax.errors.JaxRuntimeError as error:
            _give_up(f"process 0 can't be reached any more: {_line(error)}", over)
            return
        now = time.monotonic()
        for key, value in told.items():
            if key not in heard or heard[key][0] != value:
                heard[key] = value, now
        if _FAILED in told:
            _give_up(told[_FAILED], over)
        for key, (_, since) in heard.items():
            if now - since > SILENCE_SECONDS:
                number = key.rpartition("/")[2]
                _give_up(f"process {number} was not heard of for {SILENCE_SECONDS:.0f} s", over)


def _give_up(why: str, over: threading.Event) -> None:
    # The main thread may be about to say it better, if it stands in a computation that broke.
    if not over.wait(_BEAT_SECONDS):
        print(f"error: {why}", file=sys.stderr, flush=True)
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # process 0 may go now
            _client().key_value_set(f"avemo/heard/{index()}", "", allow_overwrite=True)
        os._exit(1)


def _leave(code: int, said: str) -> None:
    """Tell the others and end, without JAX's farewell, which waits for them."""
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        client = _client()
        client.key_value_set(_FAILED, f"process {index()} stopped: {said}", allow_overwrite=True)
        client.key_value_set(f"avemo/heard/{index()}", "", allow_overwrite=True)
        waited = 0.0
        # The store lives in process 0: let the others read it, but for those who are dead.
        while is_first() and waited < _FAREWELL_SECONDS:
            if len(client.key_value_dir_get("avemo/heard/")) == count():
                break
            time.sleep(0.2)
            waited += 0.2
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _end(over: threading.Event) -> None:
    _client().wait_at_barrier("avemo/end", _END_SECONDS * 1000)
    over.set()


def _terminate(number: int, frame: Any) -> None:
    raise _Terminated


def _explained(error: BaseException) -> BaseException:
    """The reason behind an error that another process's end caused."""
    if isinstance(error, UserError | KeyboardInterrupt):
        return error
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        return UserError(_client().key_value_try_get(_FAILED))
    if "Gloo" in str(error) or "NCCL" in str(error):
        return UserError(
            "a computation shared with the other processes broke, so one of them has died; the "
            f"same command on each goes on from the last checkpoint ({_line(error)})"
        )
    return error


def _said(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "it was interrupted"
    return (
        _line(error) if isinstance(error, UserError) else f"{type(error).__name__}: {_line(error)}"
    )


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:300]
