"""Runs of several processes: shared values, a common stop and a common end."""

import contextlib
import itertools
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np

# The key-value store of JAX's coordination service has no public name yet; Orbax uses it likewise.
# The public broadcast is a collective, which can't wait for hours while process 0 makes the clips.
from jax._src.distributed import global_state
from jax.experimental import multihost_utils

from jax_avemo.runtime.cluster import Cluster
from jax_avemo.runtime.errors import UserError

T = TypeVar("T")
JOIN_SECONDS = 300
HEARTBEAT_SECONDS = 60
"""A process that JAX's coordination service was not told of for so long is taken for dead."""
STEPS_BETWEEN_AGREEMENTS = 5
_END_SECONDS = 600
_FAREWELL_SECONDS = 5.0
_POLL_MILLISECONDS = 1000
_FAILED = "avemo/failed"
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

    However long the work takes, the others wait: if a process fails they are told, if one dies
    JAX ends them (see `joined`).

    Raises:
      UserError: another process failed meanwhile.
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
    """Refuse to be one process of another experiment than process 0's (settings: JSON values).

    All wait for all, so that process 0 does not begin hours of work for a run that was refused.

    Raises:
      UserError: the settings differ, here or in another process.
    """
    for name, value in from_first(lambda: settings).items():
        if settings[name] != value:
            raise UserError(
                f"process {index()} was started with {name}={settings[name]!r}, process 0 "
                f"with {value!r}; give all the same command"
            )
    if count() == 1:
        return
    key = f"avemo/same/{next(_numbers)}"
    _client().key_value_set(f"{key}/{index()}", "")
    for process in range(count()):
        _wait_for(f"{key}/{process}")


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
    """Be one process of a run while the block runs; if one fails or dies, all end.

    A process that fails leaves its reason for the others and ends at once, for at its exit JAX
    would wait five minutes for the others (measured), who wait for it. Those who wait or share a
    computation by Gloo say the reason and end within seconds. All else is JAX's own detection: a
    process that was killed is missed after `HEARTBEAT_SECONDS`, process 0 at once, and JAX aborts
    the others with its own message (exit code 134).

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
    # JAX's preemption service, which Orbax wants to be there, caught it: the signal would be
    # swallowed outside the training loop.
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except StoppedTogether:
        _end()
        raise
    except BaseException as error:
        explained = _explained(error)
        code = report(explained)
        if code is None:
            traceback.print_exception(explained)
        _leave(code or 1, _said(explained))
    finally:
        signal.signal(signal.SIGTERM, before)
    _end()


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
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
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
            return _client().blocking_key_value_get(key, _POLL_MILLISECONDS)
        except jax.errors.JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise
        if reason := _failure():
            raise UserError(reason)


def _failure() -> str | None:
    """Which process failed, and why; None = none."""
    with contextlib.suppress(jax.errors.JaxRuntimeError):  # no such key
        return _client().key_value_try_get(_FAILED)
    return None


def _leave(code: int, said: str) -> None:
    """Tell the others and end, without JAX's farewell, which waits for them."""
    client = _client()
    with contextlib.suppress(jax.errors.JaxRuntimeError):  # another failed before: its reason stays
        client.key_value_set(_FAILED, f"process {index()} stopped: {said}")
    with contextlib.suppress(jax.errors.JaxRuntimeError):  # process 0 is gone
        client.key_value_set(f"avemo/heard/{index()}", "", allow_overwrite=True)
        if is_first():
            _let_the_others_hear(client)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _let_the_others_hear(client: Any) -> None:
    """Keep the store, which lives in this process, until they have read it, but for the dead."""
    waited = 0.0
    while waited < _FAREWELL_SECONDS:
        if len(client.key_value_dir_get("avemo/heard/")) == count():
            break
        time.sleep(0.2)
        waited += 0.2
    time.sleep(1.0)  # they end: JAX aborts whoever still runs when the store goes


def _end() -> None:
    _client().wait_at_barrier("avemo/end", _END_SECONDS * 1000)


def _terminate(number: int, frame: Any) -> None:
    raise _Terminated


def _explained(error: BaseException) -> BaseException:
    """The reason behind an error that another process's end caused."""
    if isinstance(error, UserError | KeyboardInterrupt):
        return error
    if reason := _failure():
        return UserError(reason)
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
