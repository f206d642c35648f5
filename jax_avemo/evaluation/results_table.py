"""The results of one run as a table for the terminal."""

from typing import Any


def table(results: dict[str, Any]) -> str:
    """The results as a reader wants them, with chance beside each."""
    found = results["metrics"]["test"]
    marks = [f"size {results['size']}", f"corpus {results['corpus']}"]
    if results["synthetic"]:
        marks.append("SYNTHETIC actors")
    if not results["honest"]:
        marks.append("NOT an honest protocol")
    split = results["split"]
    lines = [
        f"{results['name']}: {found['clips']} clips of {len(split['test_subjects'])} unseen "
        f"subjects ({', '.join(marks)})",
        "",
        f"{'':12}{'value':>8}  {'95 % interval':>15}{'chance':>10}",
    ]
    chance = found["chance"]
    for name, title in (("uar", "UAR"), ("war", "WAR"), ("macro_f1", "macro-F1")):
        low, high = found[f"{name}_interval"]
        interval = f"{100 * low:.1f} to {100 * high:.1f}"
        beside = f"{100 * chance:>10.1f}" if name != "macro_f1" else ""
        lines.append(f"{title:12}{100 * found[name]:>7.1f}%  {interval:>15}{beside}")
    lines += [
        "",
        "what a linear probe reads from an embedding (balanced accuracy on held-out clips of the",
        "training subjects):",
        f"{'':12}{'identity':>9}{'interval':>16}{'chance':>8}{'emotion':>10}{'interval':>16}"
        f"{'chance':>8}",
    ]
    for name, targets in results["leakage"]["training_subjects"].items():
        row = f"{name:12}"
        for target in ("identity", "emotion"):
            probe = targets[target]["linear"]
            interval = f"{100 * probe['low']:.0f} to {100 * probe['high']:.0f}"
            row += f"{100 * probe['balanced_accuracy']:>8.1f}%{interval:>16}"
            row += f"{100 * probe['chance']:>8.1f}"
            row += " " if target == "identity" else ""
        lines.append(row)
    return "\n".join(lines)
