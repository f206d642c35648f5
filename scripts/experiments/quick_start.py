"""The figures of README's first command on synthetic corpora that no choice was made on.

    python scripts/experiments/quick_start.py [--corpus-seeds 311 312 313] [--workdir DIR]

Each corpus seed is one run of `configs/decoupled.py` at size `cpu`, 8 to 16 minutes on 2 cores. A
run that is finished is read, not repeated. The record goes to configs/results/quick_start.json, the
table to README.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "configs/results/quick_start.json"
README = ROOT / "README.md"
MARK = "quick start"


def run(corpus_seed: int, workdir: Path) -> float:
    """README's command on another corpus; minutes that it took."""
    began = time.monotonic()
    command = [
        *(sys.executable, "-m", "jax_avemo.main"),
        f"--config={ROOT}/configs/decoupled.py:cpu",
        f"--config.data.demo_seed={corpus_seed}",
        f"--workdir={workdir / str(corpus_seed)}",
    ]
    subprocess.run(command, check=True)
    return (time.monotonic() - began) / 60


def row(results: dict[str, Any], minutes: float | None) -> dict[str, Any]:
    """What the table needs of one run's results.json."""
    test = results["metrics"]["test"]
    return {
        "corpus_seed": results["corpus_seed"],
        "uar": test["uar"],
        "uar_interval": test["uar_interval"],
        "clips": test["clips"],
        "subjects": len(results["split"]["test_subjects"]),
        "commit": results["commit"],
        "minutes": minutes,
    }


def table(record: dict[str, Any]) -> str:
    """Markdown of the record."""
    rows = record["rows"]
    lines = [
        "| corpus seed | UAR, % (95 % over subjects) | test subjects, clips |",
        "|---|---|---|",
    ]
    for found in rows:
        low, high = found["uar_interval"]
        lines.append(
            f"| {found['corpus_seed']} | {100 * found['uar']:.1f} ({100 * low:.1f} to "
            f"{100 * high:.1f}) | {found['subjects']}, {found['clips']} |"
        )
    uars = [100 * found["uar"] for found in rows]
    commits = ", ".join(sorted({str(found["commit"])[:12] for found in rows}))
    return "\n".join(
        [
            *lines,
            "",
            f"Synthetic corpus, size `cpu`, one network a corpus, chance 12.5: mean UAR "
            f"{sum(uars) / len(uars):.1f} ({min(uars):.1f} to {max(uars):.1f} over the corpora). "
            f"Commit {commits}; `python scripts/experiments/quick_start.py`.",
        ]
    )


def filled(page: str, record: dict[str, Any]) -> str:
    """README with the table between its marks."""
    block = f"<!-- {MARK} -->\n{table(record)}\n<!-- end {MARK} -->"
    text, count = re.subn(
        rf"<!-- {MARK} -->.*?<!-- end {MARK} -->", lambda _: block, page, flags=re.S
    )
    if count != 1:
        raise SystemExit(f"error: README.md has {count} places marked '{MARK}', not one")
    return text


def main() -> None:
    """Run what is missing, write the record, fill README."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--corpus-seeds", type=int, nargs="+", default=[311, 312, 313])
    parser.add_argument("--workdir", type=Path, default=Path("runs/quick_start"))
    args = parser.parse_args()
    known = json.loads(RECORD.read_text())["rows"] if RECORD.exists() else []
    minutes = {found["corpus_seed"]: found["minutes"] for found in known}
    rows = []
    for corpus_seed in args.corpus_seeds:
        path = args.workdir / str(corpus_seed) / "results.json"
        if not path.exists():
            minutes[corpus_seed] = round(run(corpus_seed, args.workdir), 1)
        rows.append(row(json.loads(path.read_text()), minutes.get(corpus_seed)))
    RECORD.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    README.write_text(filled(README.read_text(), {"rows": rows}))


if __name__ == "__main__":
    main()
