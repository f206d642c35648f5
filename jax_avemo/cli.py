"""The command line `avemo COMMAND`."""

import sys
from collections.abc import Sequence

from jax_avemo import __version__
from jax_avemo.command_line import Parser, guarded, parse
from jax_avemo.commands import (
    crossval,
    demo,
    doctor,
    evaluate,
    export,
    list_runs,
    predict,
    prepare,
    report,
    serve,
    train,
)

COMMANDS = {
    "prepare": prepare,
    "demo": demo,
    "train": train,
    "evaluate": evaluate,
    "crossval": crossval,
    "list": list_runs,
    "predict": predict,
    "serve": serve,
    "report": report,
    "export": export,
    "doctor": doctor,
}


def build_parser() -> Parser:
    """Every command and its arguments; docs/reference/cli.md is made from it."""
    parser = Parser(
        prog="avemo",
        description="Audio-visual emotion recognition whose embedding keeps apart emotion and "
        "identity.",
        epilog="avemo COMMAND --help says more. The whole experiment in one command:\n"
        "  python -m jax_avemo.main --config=configs/decoupled.py",
    )
    parser.add_argument("--version", action="version", version=f"jax_avemo {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, command in COMMANDS.items():
        examples = command.EXAMPLES.replace("\n", "\n  ")
        added = commands.add_parser(
            name, help=command.HELP, description=command.HELP, epilog=f"example:\n  {examples}"
        )
        command.add_arguments(added)
        added.set_defaults(run_command=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = build_parser()

    def work() -> None:
        args = parse(parser, argv)
        if args.command is None:
            parser.print_help(sys.stderr)
            parser.error("a COMMAND is needed")
        args.run_command(args)

    return guarded(work)


if __name__ == "__main__":
    sys.exit(main())
