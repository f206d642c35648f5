"""The command `avemo list`."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from jax_avemo import config as settings

HELP = "list the runs below a folder, the configs and the sizes"
EXAMPLES = "avemo list runs/crossval"


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Those of this command."""
    p.add_argument("folder", type=Path, nargs="?", default=Path("runs"), help="of the runs")
    p.add_argument("--json", action="store_true", help="print the runs as a JSON array")


def run(args: argparse.Namespace) -> None:
    """Print the runs, then what a run can be made of."""
    from jax_avemo import runs

    found = runs.list_runs(args.folder)
    if args.json:
        print(json.dumps([asdict(summary) for summary in found]))
        return
    print(runs.to_text(found) if found else f"no runs below {args.folder}/")
    print("\nconfigs")
    for file, title in settings.config_files().items():
        print(f"  {file:24}{title}")
    print(f"\nsizes  {', '.join(settings.SIZES)}")
