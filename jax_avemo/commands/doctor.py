"""The command `avemo doctor`."""

import argparse
import json

from jax_avemo.runtime.errors import UserError

HELP = "examine whether this machine can do the work, and say what to do"
EXAMPLES = "avemo doctor"


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Those of this command."""
    p.add_argument("--json", action="store_true", help="print the findings as one JSON object")


def run(args: argparse.Namespace) -> None:
    """Print the findings; fail where something needed does not work."""
    from jax_avemo import findings
    from jax_avemo.doctor import examine

    found = examine()
    print(json.dumps(findings.as_json(found)) if args.json else findings.as_text(found))
    if not findings.sound(found):
        raise UserError("something here will not work; the lines marked 'bad' say what to do")
