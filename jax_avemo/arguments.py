"""What a wrong command line looks like: one line, as every other mistake."""

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """argparse, but for its usage of many lines before the error."""

    def error(self, message: str) -> NoReturn:
        """Say it in one line and exit with 2."""
        self.exit(2, f"error: {one_line(message)}; {self.prog} --help says more\n")

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse does, but `--option=--` has no value (there: an empty list)."""
        found, rest = super().parse_known_args(args, namespace)
        for name, value in vars(found).items():
            if value == [] or value == [[]]:
                self.error(f"argument {name} has no value")
        return found, rest


def one_line(text: str) -> str:
    """The text with every character that is not printable, line ends first, written as Python does.

    >>> one_line("a file named 'x\\ny'")
    "a file named 'x\\\\ny'"
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def natural(text: str) -> int:
    """The type of an argument that counts something."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is less than 0")
    return value
