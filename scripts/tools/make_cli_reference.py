"""docs/reference/cli.md, made from the parsers and the config fields.

    python scripts/tools/make_cli_reference.py

A test holds the file equal to this text: run it again after a change to either.
"""

import argparse
from pathlib import Path

from jax_avemo.configs.default import DEFAULT
from jax_avemo.configs.sizes import SIZES

from jax_avemo import cli
from jax_avemo.config import get_field
from jax_avemo.config_fields import FIELDS
from jax_avemo.training.build import CHOICES

PATH = Path(__file__).parents[2] / "docs/reference/cli.md"

_HEAD = """\
# Command line

Made from the code by `python scripts/tools/make_cli_reference.py`; do not edit.

Data goes to stdout, messages to stderr. The exit code is 0 only when the work was done; a mistake
is one line that begins with `error:`. Every command can be killed and given again.
"""

_MAIN = """\
## python -m jax_avemo.main

Makes the clips if need be, trains, evaluates; finished stages are skipped.

    python -m jax_avemo.main --config=FILE[:ARG] [--workdir=DIR] [--config.FIELD=VALUE ...]

`FILE` is a config such as `configs/decoupled.py`, also outside a checkout. `ARG` is a size (`tiny`,
`cpu`, `full`; by default `full` with an accelerator, else `cpu`), for `configs/ablations.py` it is
`NAME[,SIZE]`. `DIR` is where the run goes (default `runs/NAME`). `avemo train` takes the same
arguments.

### Fields

What `--config.FIELD=VALUE` changes. A misspelt field or an impossible value is an error. An empty
cell under `cpu` means: as in `full`.
"""


def reference() -> str:
    """The whole page."""
    parts = [_HEAD]
    for name, parser in commands(cli.build_parser()).items():
        parts.append(_command(name, parser))
    return "\n".join([*parts, _MAIN, _fields()])


def commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The subcommands by name, in the order they were added."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise ValueError("the parser has no subcommands")


def _command(name: str, parser: argparse.ArgumentParser) -> str:
    rows = []
    for action in parser._actions:
        if not isinstance(action, argparse._HelpAction):
            rows.append((_name(action), _default(action), _cell(_help(action))))
    usage = " ".join(["avemo", name, *[_usage(a) for a in parser._actions if _usage(a)]])
    description = (parser.description or "").strip()
    lines = [f"## avemo {name}", "", f"{description[:1].upper()}{description[1:]}.", ""]
    lines += [f"    {usage}", "", "For example:", ""]
    lines += [*(f"    {line}" for line in cli.COMMANDS[name].EXAMPLES.splitlines()), ""]
    lines += _table(("argument", "default", "meaning"), rows)
    return "\n".join(lines)


def _help(action: argparse.Action) -> str:
    # Written for argparse, which doubles percent signs and fills in values.
    text = (action.help or "") % {**vars(action), "prog": "avemo"}
    if action.choices is not None:
        text += ("; " if text else "") + "one of " + ", ".join(map(str, action.choices))
    return text


def _name(action: argparse.Action) -> str:
    name = ", ".join(action.option_strings) or _metavar(action)
    takes_value = action.option_strings and action.nargs != 0
    return f"`{name} {_metavar(action)}`" if takes_value else f"`{name}`"


def _metavar(action: argparse.Action) -> str:
    if isinstance(action.metavar, str):
        return action.metavar
    return action.dest.upper().replace("_", "-")


def _usage(action: argparse.Action) -> str:
    if isinstance(action, argparse._HelpAction):
        return ""
    if not action.option_strings:
        name = _metavar(action)
        return {"+": f"{name}...", "*": f"[{name}...]", "?": f"[{name}]"}.get(action.nargs, name)
    return f"{action.option_strings[-1]} {_metavar(action)}" if action.required else ""


def _default(action: argparse.Action) -> str:
    if action.required and action.option_strings:
        return "required"
    if action.default in (None, "", argparse.SUPPRESS) or action.nargs == 0:
        return ""
    return f"`{action.default}`"


def _fields() -> str:
    rows = []
    for key, field in FIELDS.items():
        cpu = SIZES["cpu"].get(key)
        meaning = field.meaning + (f" ({field.says})" if field.says else "")
        if key in CHOICES:  # instead of where they are implemented
            listed = ", ".join(map(repr, CHOICES[key]))
            meaning = f"{field.meaning.split(' (`')[0]} (one of {listed})"
        rows.append(
            (
                f"`{key}`",
                _value(get_field(DEFAULT, key)),
                "" if cpu is None else _value(cpu),
                meaning,
            )
        )
    return "\n".join(_table(("field", "full", "cpu", "meaning (valid values)"), rows))


def _value(value: object) -> str:
    return f"`{str(value).replace(' ', '')}`" if value != "" else "`''`"


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    if not rows:
        return ["No arguments.", ""]
    lines = [header, tuple("---" for _ in header)]
    lines += [tuple(_cell(cell) for cell in row) for row in rows]
    return [*["| " + " | ".join(line) + " |" for line in lines], ""]


def _cell(text: str) -> str:
    return text.replace("\n", " ").replace("|", "\\|") if "\\|" not in text else text


if __name__ == "__main__":
    PATH.write_text(reference())
