"""Parser, config arguments, one-line errors and several processes, shared by all commands."""

import argparse
import errno
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from ml_collections import ConfigDict

from jax_avemo.runtime import cluster, remote
from jax_avemo.runtime.accelerators import device_failure, tpu_present
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.progress import say


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Help with the default of every argument that has one, and examples as they were written."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, "", False) or "(default" in (action.help or ""):
            return action.help
        return super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """argparse, but for its usage of many lines before the error."""

    def __init__(self, **more: Any) -> None:
        super().__init__(formatter_class=HelpFormatter, allow_abbrev=False, **more)

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


def location(text: str) -> Path | str:
    """The type of an argument that names a folder or file: a path, or a URL as it is."""
    return text if remote.is_remote(text) else Path(text)


def guarded(work: Callable[[], None]) -> int:
    """Run `work`; a user's mistake becomes one line on stderr. Returns the exit code."""
    logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax tells of its every default
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # and it of a home without its folder
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
    if (failure := device_failure(error)) is not None:
        say(f"error: {one_line(failure)}")
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
    """The arguments that name an experiment and its run directory."""
    parser.add_argument(
        "--config",
        required=True,
        metavar="FILE[:ARG]",
        help="experiment; ARG is a size (tiny, cpu, full) or an ablation's NAME[,SIZE]",
    )
    parser.add_argument(
        "--workdir", type=location, metavar="DIR", help="directory of the run (default: runs/NAME)"
    )
    cluster.add_arguments(parser)
    accept_overrides(parser)


def accept_overrides(parser: argparse.ArgumentParser) -> None:
    """Let the command take `--config.FIELD=VALUE`; such arguments are in `args.overrides`."""
    parser.set_defaults(accepts_overrides=True)


def parse(parser: Parser, argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments; those of a config that argparse can't know are in `overrides`.

    Raises:
      UserError: an argument that the command does not take.
    """
    args, rest = parser.parse_known_args(argv)
    prefix = "--config." if getattr(args, "accepts_overrides", False) else "\0"
    if unknown := [argument for argument in rest if not argument.startswith(prefix)]:
        raise UserError(f"no such argument '{unknown[0]}'; --help lists all")
    args.overrides = [argument.removeprefix(prefix) for argument in rest]
    return args


@contextmanager
def run_directory(args: argparse.Namespace, config: ConfigDict) -> Iterator[Path]:
    """Where the run goes: `--workdir`, or runs/NAME. It and the clips are kept in step with URLs.

    Raises:
      UserError: a URL, and several processes.
    """
    run = args.workdir or Path("runs") / config.name
    places = [run, config.data.data_dir] if config.data.data_dir else [run]
    with in_step(*places) as here:
        yield here[0]


@contextmanager
def in_step(*places: Path | str) -> Iterator[list[Path]]:
    """As `remote.in_step`, and a UserError for a URL where the run has several processes."""
    _check_shared(*places)
    with remote.in_step(*places) as here:
        yield here


def fetched(place: Path | str | None) -> Path | None:
    """As `remote.fetch`, and a UserError as in `in_step`; None stays None."""
    if place is None:
        return None
    _check_shared(place)
    return remote.fetch(place)


def _check_shared(*places: Path | str) -> None:
    urls = [place for place in places if remote.is_remote(place)]
    if not urls:
        return
    from jax_avemo.runtime import multihost

    if multihost.count() > 1:
        raise UserError(f"{urls[0]}: the processes of one run need a folder that they share")
