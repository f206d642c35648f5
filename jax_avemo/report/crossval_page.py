"""What the page of a cross-validation says."""

from collections.abc import Mapping, Sequence
from typing import Any

from jax_avemo.report import figures, html
from jax_avemo.report.run_page import marks

_LEAK = "z_e identity linear"


def crossval_page(record: Mapping[str, Any]) -> str:
    """One HTML file of what `crossval.json` holds."""
    experiments = record["experiments"]
    first = next(iter(experiments.values()))["metrics"]
    lead = marks(record)
    if record["exploratory"]:
        lead += html.text("Exploratory: not all folds were run.", css="warn")
    if not record["complete"]:
        lead += html.text("Incomplete: some cells are not finished.", css="warn")
    lead += html.text(
        f"{len(record['folds_run'])} of {record['folds']} folds, {len(record['seeds'])} seeds: "
        f"each of {first['subjects']} subjects is judged by networks that never saw it "
        f"({first['clips']} clips, size {record['size']}, corpus {record['corpus']}). Intervals "
        "are 95 %, over subjects; seeds are averaged inside."
    )
    sections = [("Results", _results(experiments, first["chance"]))]
    if record["comparisons"]:
        sections.append(("In pairs", _pairs(record["comparisons"])))
    sections += [
        ("Leakage", _leakage(experiments, first["chance"])),
        ("Who it works for", _people(experiments)),
        ("Confusions", _confusions(experiments, record["emotions"])),
        ("What differs", _configs(experiments)),
        ("Make it again", _again(record)),
    ]
    return html.page("Cross-validation", lead, sections)


def _results(experiments: Mapping[str, Any], chance: float) -> str:
    rows, lines = [], {}
    for name, found in experiments.items():
        measured = found["metrics"]
        lines[name] = (measured["uar"], *measured["uar_interval"])
        seconds = found["training_seconds"]
        rows.append(
            (
                name,
                html.with_interval(*lines[name]),
                html.percent(measured["war"]),
                html.percent(measured["macro_f1"]),
                html.percent(found["calibration"]["ece_before"]),
                html.percent(found["calibration"]["ece_after"]),
                f"{found['parameters']:,}",
                "-" if seconds is None else f"{seconds:.0f}",
            )
        )
    header = ("", "UAR, %", "WAR", "macro-F1", "ECE", "ECE scaled", "parameters", "training, s")
    return html.figure(
        figures.forest(lines, "UAR, %", chance), "UAR with 95 % intervals; dotted: chance."
    ) + html.table(header, rows)


def _pairs(comparisons: Any) -> str:
    first = comparisons[0]["a"]
    with_first = [pair for pair in comparisons if pair["a"] == first]
    others = [pair for pair in comparisons if pair["a"] != first]
    caption = "The first minus the second. UAR: paired by subject. Leakage: paired by network."
    shown = _pairs_table(with_first, caption)
    if others:
        shown += html.folded(f"the other pairs ({len(others)})", _pairs_table(others, caption))
    return shown


def _pairs_table(pairs: Sequence[Any], caption: str) -> str:
    rows = []
    for pair in pairs:
        uar = pair["metrics"]["uar"]
        leak = (pair["leakage"] or {}).get(_LEAK)
        rows.append(
            (
                f"{pair['a']} - {pair['b']}",
                html.with_interval(uar["difference"], uar["low"], uar["high"]),
                f"{uar['p_value']:.3f}",
                html.with_interval(leak["difference"], leak["low"], leak["high"]) if leak else "-",
                f"{leak['p_value']:.3f}" if leak else "-",
            )
        )
    return html.table(("", "UAR, points", "p", "identity in z_e, points", "p"), rows, caption)


def _leakage(experiments: Mapping[str, Any], chance: float) -> str:
    points = {
        name: (found["leakage"][_LEAK]["mean"], found["metrics"]["uar"])
        for name, found in experiments.items()
        if _LEAK in found["leakage"]
    }
    quantities = list(
        dict.fromkeys(name for found in experiments.values() for name in found["leakage"])
    )
    rows = [
        (
            quantity,
            *(
                html.percent(found["leakage"].get(quantity, {}).get("mean"))
                for found in experiments.values()
            ),
        )
        for quantity in quantities
    ]
    drawn = ""
    if points:
        drawn = html.figure(
            figures.trade_off(points, chance),
            "Up and to the left is better: a collapsed z_e "
            "leaks nothing, so compare where UAR is equal.",
        )
    caption = "Mean over networks, %. Probes: balanced accuracy; eer: 50 = cannot be told."
    return drawn + html.table(("", *experiments), rows, caption)


def _people(experiments: Mapping[str, Any]) -> str:
    rows = []
    for name, found in experiments.items():
        fairness = found["metrics"]["fairness"]
        by_sex = ", ".join(
            f"{sex} {html.percent(uar)}" for sex, uar in fairness["uar_by_sex"].items()
        )
        rows.append(
            (
                name,
                html.percent(fairness["worst_quartile"]),
                html.percent(fairness["standard_deviation"]),
                by_sex or "-",
            )
        )
    drawn = "".join(
        html.text(name, "h3")
        + html.figure(
            figures.subjects(
                found["metrics"]["fairness"]["uar_by_subject"], found["metrics"]["chance"]
            ),
            "Every subject, seeds averaged.",
        )
        for name, found in experiments.items()
    )
    header = ("", "worst quarter, UAR %", "deviation over subjects", "by sex")
    return html.table(header, rows) + html.folded("every subject", drawn)


def _confusions(experiments: Mapping[str, Any], emotions: Any) -> str:
    return "".join(
        html.figure(
            figures.confusion(found["metrics"]["confusion"], emotions, name),
            f"{name}: recall in %, mean over seeds.",
        )
        for name, found in experiments.items()
    )


def _configs(experiments: Mapping[str, Any]) -> str:
    """Only the fields in which the experiments differ."""
    configs = [found["config"] for found in experiments.values()]
    fields = [
        field
        for field in configs[0]
        if field != "name" and len({str(config.get(field)) for config in configs}) > 1
    ]
    rows = [(field, *(str(config.get(field)) for config in configs)) for field in fields]
    shared = [(field, configs[0][field]) for field in configs[0] if field not in (*fields, "name")]
    differ = html.table(("field", *experiments), rows) if rows else html.text("One experiment.")
    return differ + html.folded("what they share", html.table(("field", "value"), shared))


def _again(record: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    return html.commands([record["command"]]) + html.text(
        f"Commits {', '.join(record['commits'])}; {versions}; {record['hardware']}. Cells that are "
        "finished are not run again; start the command several times to share the work."
    )
