"""The tables of docs/results.md and README, as Markdown, from the records in configs/results.

`python scripts/experiments/evidence.py docs` writes them to their places in both pages.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
OURS = "decoupled"


def crossval_table(record: Mapping[str, Any]) -> str:
    """Markdown of the headline's or the ablations' record."""
    pairs = _pairs_with_ours(record)
    lines = [
        "| | UAR, % (95 %) | ours ahead by (paired) | p | worst quarter | identity in z_e | ours "
        "less (paired) | by an MLP | of unseen people | EER z_e, attacker | ECE | parameters "
        "| training, s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, found in record["experiments"].items():
        measured = found["metrics"]
        ahead, p, less = "-", "-", "-"
        if name in pairs:
            uar = pairs[name]["metrics"]["uar"]
            ahead, p = _signed(uar), _p(uar["p_value"])
            if leak := pairs[name]["leakage"].get("z_e identity linear"):
                less = _signed(leak)
        seconds = found["training_seconds"]
        lines.append(
            f"| {name} | {_interval(measured['uar'], measured['uar_interval'])} | {ahead} | {p} "
            f"| {100 * measured['fairness']['worst_quartile']:.1f} "
            f"| {_mean(found['leakage'], 'z_e identity linear')} | {less} "
            f"| {_mean(found['leakage'], 'z_e identity mlp')} "
            f"| {_mean(found['leakage'], 'unseen z_e identity linear')} "
            f"| {_mean(found['leakage'], 'z_e eer plda')} "
            f"| {100 * found['calibration']['ece_after']:.1f} | {found['parameters']:,} "
            f"| {'-' if seconds is None else round(seconds)} |"
        )
    first = next(iter(record["experiments"].values()))["metrics"]
    return "\n".join([*lines, "", _caption(record, first)])


def confound_table(record: Mapping[str, Any]) -> str:
    """Markdown of the confound's record."""
    lines = [
        "| confound (realised) | method | unseen actors, UAR % (95 %) | ours ahead by "
        "| same people, new takes, UAR % | ours ahead by | identity in z_e, same people (linear, "
        "MLP) |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in record["rows"]:
        cells = [f"{row['confound']:g} ({row['realised']:.2f})", row["method"]]
        for part in ("unseen", "same_people"):
            found = row[part]
            cells.append(_interval(found["uar"], found["uar_interval"]))
            gap = found.get("ours_minus_this")
            cells.append(_signed(gap) if gap else "-")
        leak = row["identity_same_people"]
        cells.append(", ".join(f"{100 * leak[kind]['mean']:.0f}" for kind in leak) or "-")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", _caption(record, record["rows"][0]["unseen"])])


def protocols_table(record: Mapping[str, Any]) -> str:
    """Markdown of the protocols' record."""
    lines = ["| protocol | UAR, % (95 %) |", "|---|---|"]
    for row in record["rows"]:
        lines.append(f"| {row['protocol']} | {_interval(row['uar'], row['uar_interval'])} |")
    return "\n".join([*lines, "", _caption(record, record["rows"][0])])


def headline_in_brief(record: Mapping[str, Any]) -> str:
    """Markdown of the headline for README: who is ahead, and what z_e tells of identity."""
    pairs = _pairs_with_ours(record)
    lines = [
        "| unseen synthetic actors, % | UAR (95 %) | decoupled is ahead by (paired) | identity "
        "read from z_e: linear, MLP | strangers told apart by z_e (EER, 50 is a coin) |",
        "|---|---|---|---|---|",
    ]
    for name, found in record["experiments"].items():
        leak, measured = found["leakage"], found["metrics"]
        lines.append(
            f"| {name} | {_interval(measured['uar'], measured['uar_interval'])} "
            f"| {_signed(pairs[name]['metrics']['uar']) if name in pairs else '-'} "
            f"| {_mean(leak, 'z_e identity linear')}, {_mean(leak, 'z_e identity mlp')} "
            f"| {_mean(leak, 'z_e eer plda')} |"
        )
    first = next(iter(record["experiments"].values()))["metrics"]
    return "\n".join([*lines, "", _caption(record, first)])


def confound_in_brief(record: Mapping[str, Any]) -> str:
    """Markdown of the strongest confound for README."""
    strongest = max(row["confound"] for row in record["rows"])
    rows = [row for row in record["rows"] if row["confound"] == strongest]
    return confound_table({**record, "rows": rows})


def _pairs_with_ours(record: Mapping[str, Any]) -> dict[str, Any]:
    return {pair["b"]: pair for pair in record["comparisons"] if pair["a"] == OURS}


def _caption(record: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    marks = "Synthetic corpus" if record["synthetic"] else f"Corpus {record['corpus']}"
    if record.get("exploratory"):
        marks += ", exploratory (not all folds)"
    chance = 100 / len(record["emotions"])
    return (
        f"{marks}, size `{record['size']}`, corpus seed {record['corpus_seed']}, "
        f"{_seeds(record)}, {first['subjects']} subjects, {first['clips']} clips, "
        f"chance {chance:.1f}. UAR: intervals over subjects, seeds averaged inside; leakage: "
        "balanced accuracy of a linear probe, paired over networks. Commit "
        f"{', '.join(record['commits'])}; `{record['command']}`."
    )


def _seeds(record: Mapping[str, Any]) -> str:
    many = len(record["seeds"])
    return f"{many} seeds" if many > 1 else "one seed"


def _interval(value: float, bounds: Sequence[float]) -> str:
    return f"{100 * value:.1f} ({100 * bounds[0]:.1f} to {100 * bounds[1]:.1f})"


def _signed(gap: Mapping[str, float]) -> str:
    return f"{100 * gap['difference']:+.1f} ({100 * gap['low']:+.1f} to {100 * gap['high']:+.1f})"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _mean(leakage: Mapping[str, Any], quantity: str) -> str:
    return f"{100 * leakage[quantity]['mean']:.1f}" if quantity in leakage else "-"


NOT_RUN = "Not run yet."
TABLES = {
    "headline": crossval_table,
    "decoupling": crossval_table,
    "network": crossval_table,
    "baselines": crossval_table,
    "confound": confound_table,
    "protocols": protocols_table,
}
PAGES = {
    ROOT / "docs/results.md": {name: (name, table) for name, table in TABLES.items()},
    ROOT / "README.md": {
        "headline in brief": ("headline", headline_in_brief),
        "confound in brief": ("confound", confound_in_brief),
    },
}


def filled(page: Path, records: Path) -> str:
    """The text of `page` with every table between its marks made from its record."""
    text = page.read_text()
    for mark, (name, table) in PAGES[page].items():
        path = records / f"{name}.json"
        made = table(json.loads(path.read_text())) if path.exists() else NOT_RUN
        block = f"<!-- {mark} -->\n{made}\n<!-- end {mark} -->"
        text, count = re.subn(
            rf"<!-- {mark} -->.*?<!-- end {mark} -->", lambda _, b=block: b, text, flags=re.S
        )
        assert count == 1, f"{page.name}: {mark} is not marked once"
    return text
