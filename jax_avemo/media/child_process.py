"""A child process of this interpreter that does not import the caller's script.

`multiprocessing` runs the main module again in every child it spawns, so a script without an
`if __name__ == "__main__":` guard would start itself again.
"""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection, Pipe
from typing import Any

# The parent decides when it is over, so an interruption from the terminal is for it alone.
_CODE = """
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.path[:] = {path!r}
from jax_avemo.media.child_process import run_child
run_child({pipe}, {life})
"""


class ChildProcess:
    """One child and the pipe to it. The child ends when this process does, however that ends."""

    def __init__(
        self, function: Callable[..., None], *arguments: Any, environment: Mapping[str, str]
    ) -> None:
        """Start `function(pipe, *arguments)` in the child; it must be importable."""
        self.pipe, theirs = Pipe()
        life, self._life = os.pipe()
        path = [entry for entry in sys.path if isinstance(entry, str)]
        code = _CODE.format(path=path, pipe=theirs.fileno(), life=life)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.DEVNULL,
                env={**os.environ, **environment},
                pass_fds=(theirs.fileno(), life),
            )
        finally:
            theirs.close()
            os.close(life)
        with contextlib.suppress(BrokenPipeError):  # heard of as the end of the pipe
            self.pipe.send((function, arguments))

    @property
    def pid(self) -> int:
        """Its number in the system."""
        return self._process.pid

    def exit_code(self, wait_seconds: float) -> int | None:
        """Its exit code, the negative of a signal's number; None = it still runs."""
        try:
            return self._process.wait(wait_seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def close(self) -> None:
        """End it, wait for its end, and close the pipe."""
        self.pipe.close()
        self._process.kill()
        self._process.wait()
        if self._life >= 0:
            os.close(self._life)
            self._life = -1


def run_child(pipe: int, life: int) -> None:
    """The child's life: receive a function and its arguments over `pipe`, and run it."""
    threading.Thread(target=_follow_parent, args=(life,), daemon=True).start()
    connection = Connection(pipe)
    try:
        function, arguments = connection.recv()
        function(connection, *arguments)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is gone


def _follow_parent(life: int) -> None:
    """End when the parent does, in the middle of a task too: a killed run leaves nobody behind."""
    os.read(life, 1)  # nothing is ever written: this returns when the parent's end is closed
    os._exit(1)
