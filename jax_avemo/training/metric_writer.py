"""The metrics file, metrics.jsonl: one JSON object a logged step.

It holds no times, so that a run that was killed and resumed leaves the same bytes as an unbroken
one.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.files import names_full_disk, write_atomic


class MetricsLog:
    """Appends lines; on opening it drops lines after `keep_through` and any half-written one.

    Of the processes of a run one has a path; to the others None, and nothing is written.
    """

    def __init__(self, path: Path | None, keep_through: int) -> None:
        self._file = None
        if path is None:
            return
        kept = [line for step, line in _whole_lines(path) if step <= keep_through]
        write_atomic(path, b"".join(kept))
        self._folder = path.parent
        self._file = path.open("ab", buffering=0)

    def write(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        """Append one object: step, kind ("train" or "validation"), values (NaN becomes null)."""
        numbers = {name: float(value) for name, value in values.items()}
        clean = {k: v if math.isfinite(v) else None for k, v in sorted(numbers.items())}
        line = json.dumps({"step": step, "kind": kind, **clean}, allow_nan=False)
        if self._file is None:
            return
        left = memoryview(line.encode() + b"\n")
        with names_full_disk(self._folder):
            while left:  # a disk that fills takes a part, and fails only when asked again
                left = left[self._file.write(left) :]

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()


def _whole_lines(path: Path) -> list[tuple[int, bytes]]:
    """Each line's step and bytes, but for a last one that has no end."""
    if not path.exists():
        return []
    found = []
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        if line.endswith(b"\n"):
            try:
                found.append((int(json.loads(line)["step"]), line))
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(
                    f"line {number} of {path} is damaged; mend or delete that line and go on"
                ) from error
    return found
