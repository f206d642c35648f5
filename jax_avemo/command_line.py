"""Shared by the commands: parser, config arguments, one-line errors, several processes."""

import argparse
import errno
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from ml_collections import ConfigDict

from jax_avemo import config as settings
from jax_avemo.runtime import cluster
from jax_avemo.runtime.accelerators import tpu_present
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.progress import say


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


def guarded(work: Callable[[], None]) -> int:
    """Run `work`; a user's mistake becomes one line on stderr. Returns the exit code."""
    logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax tells of its every default
    try:
        work()
    except (Exception, KeyboardInterrupt) as error:
        if (code := report(error)) is None:
            raise
        return code
    return 0


def report(error: BaseException) -> int | None:
    """Say a user's mistake or an interruption in one line. Its exit code; None = it is neither."""
    code = getattr(error, "exit_code", None)  # training's Interrupted has one
    if isinstance(error, KeyboardInterrupt):
        say("interrupted; the same command goes on from what is finished")
        return code or 130
    if isinstance(error, UserError):
        say(f"error: {one_line(str(error))}")
        return 1
    if isinstance(error, OSError):
        say(f"error: {one_line(_told(error))}")
        return 1
    if code is not None:
        say(str(error))
    return code


@contextmanager
def together(args: argparse.Namespace) -> Iterator[bool]:
    """Be one of several processes, where flags or the cluster say so; whether it is the first."""
    given = (args.coordinator, args.process_count, args.process_index)
    found = cluster.find_cluster(*given, os.environ, tpu=tpu_present())
    if found is None:
        yield True
        return
    from jax_avemo.runtime import multihost

    with multihost.joined(found, report):
        if multihost.is_first():
            say(f"this is process 0 of {multihost.count()} (found by {found.found_by})")
        yield multihost.is_first()


def _told(error: OSError) -> str:
    where = f": {error.filename}" if error.filename else ""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "; free some, and the same command goes on from what is finished" if full else ""
    return f"{error.strerror or error}{where}{remedy}"


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that name an experiment."""
    parser.add_argument(
        "--config",
        required=True,
        metavar="FILE[:ARG]",
        help="experiment; ARG is a size (tiny, cpu, full) or an ablation's NAME[,SIZE]",
    )
    parser.add_argument(
        "--workdir", type=Path, metavar="DIR", help="directory of the run (default: runs/NAME)"
    )
    cluster.add_arguments(parser)


def read_config(args: argparse.Namespace, rest: Sequence[str]) -> ConfigDict:
    """The resolved config; `rest` are arguments argparse did not know."""
    overrides = []
    for argument in rest:
        if not argument.startswith("--config."):
            raise UserError(f"no such argument '{argument}'; --help lists what there is")
        overrides.append(argument.removeprefix("--config."))
    return settings.load_config(args.config, overrides)
