"""Progress of long work: a bar on a terminal, a line every few seconds elsewhere."""

import sys
import time
from typing import Any

_LINE_INTERVAL_SECONDS = 15.0


def say(message: str) -> None:
    """Tell the user something, on stderr (stdout is for data)."""
    print(message, file=sys.stderr, flush=True)


class Progress:
    """A bar on stderr with an estimate of the time left.

    >>> with Progress(len(files), "preparing", unit="clips") as progress:
    ...     for file in files:
    ...         progress.advance(found=0.98)

    On a terminal it is one live line; in a log it is a plain line every 15 seconds and a last one.
    `shown` False: nothing is printed (another process of the run does it).
    """

    def __init__(
        self, total: int, label: str, *, unit: str, start: int = 0, shown: bool = True
    ) -> None:
        self.total, self.label, self.unit, self.shown = total, label, unit, shown
        self.done, self._start = start, start
        self._fields: dict[str, Any] = {}
        self._began = self._printed = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> "Progress":
        if self.shown and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as RichProgress

            self._bar = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.completed:.0f}/{task.total:.0f} " + self.unit),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task(
                self.label, total=self.total, completed=self.done, note=""
            )
        return self

    def advance(self, count: int = 1, **fields: Any) -> None:
        """Count `count` more units done; `fields` (loss=0.4, ...) are shown behind the bar."""
        self.done += count
        self._fields.update(fields)
        if self._bar is not None:
            self._bar.update(self._task, advance=count, note=self._note())
        elif time.monotonic() - self._printed > _LINE_INTERVAL_SECONDS:
            self._print_line()

    def forget(self, field: str) -> None:
        """Stop showing a field."""
        self._fields.pop(field, None)

    def __exit__(self, *problem: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        else:
            self._print_line()

    def _note(self) -> str:
        elapsed = max(time.monotonic() - self._began, 1e-6)
        worked = self.done - self._start
        shown = [f"{worked / elapsed:.1f} {self.unit}/s"] if worked else []
        for name, value in self._fields.items():
            shown.append(f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}")
        return "  ".join(shown)

    def _print_line(self) -> None:
        self._printed = time.monotonic()
        if not self.shown:
            return
        elapsed = self._printed - self._began
        worked = self.done - self._start
        left = f"{elapsed / worked * (self.total - self.done):.0f} s left" if worked else "starting"
        parts = [f"{self.done}/{self.total} {self.unit}", f"{elapsed:.0f} s", left, self._note()]
        print(f"{self.label}: {', '.join(filter(None, parts))}", file=sys.stderr, flush=True)
