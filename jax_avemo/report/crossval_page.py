"""Report page of a cross-validation."""

from collections.abc import Mapping, Sequence

from jax_avemo.crossval.crossval_record import Comparison, CrossvalRecord, Experiment
from jax_avemo.crossval.leakage_record import IDENTITY_IN_Z_E
from jax_avemo.evaluation.statistics import holm
from jax_avemo.evaluation.tables import p_value, percent, with_interval
from jax_avemo.report import figures, html
from jax_avemo.report.run_page import marks


def crossval_page(record: CrossvalRecord) -> str:
    """One HTML file of what `crossval.json` holds."""
    experiments, first = record.experiments, record.first
    lead = marks(record)
    if record.exploratory:
        lead += html.text("Exploratory: not all folds were run.", css="warn")
    if not record.complete:
        lead += html.text("Incomplete: some cells are not finished.", css="warn")
    lead += html.text(
        f"{len(record.folds_run)} of {record.folds} folds, {len(record.seeds)} seeds: each of "
        f"{first.subjects} subjects is evaluated by networks that never saw it ({first.clips} "
        f"clips, size {record.size}, corpus {record.corpus}). Intervals are 95 %, over subjects; "
        "seeds are averaged inside."
    )
    sections = [("Results", _results(experiments, first.chance))]
    if record.comparisons:
        sections.append(("In pairs", _pairs(record.comparisons)))
    sections += [
        ("Leakage", _leakage(experiments, first.chance)),
        ("Who it works for", _people(experiments)),
        ("Confusions", _confusions(experiments, record.emotions)),
        ("What differs", _configs(experiments)),
        ("Make it again", _again(record)),
    ]
    return html.page("Cross-validation", lead, sections)


def _results(experiments: Mapping[str, Experiment], chance: float) -> str:
    estimates = {name: found.metrics.estimates["UAR"] for name, found in experiments.items()}
    rows = []
    for name, found in experiments.items():
        seconds = found.training_seconds
        rows.append(
            (
                name,
                with_interval(estimates[name]),
                percent(found.metrics.war),
                percent(found.metrics.macro_f1),
                percent(found.calibration.ece_before),
                percent(found.calibration.ece_after),
                f"{found.parameters:,}",
                "-" if seconds is None else f"{seconds:.0f}",
            )
        )
    header = ("", "UAR, %", "WAR", "macro-F1", "ECE", "ECE scaled", "parameters", "training, s")
    return html.figure(
        figures.estimates(estimates, "UAR, %", chance), "UAR with 95 % intervals; dotted: chance."
    ) + html.table(header, rows)


def _pairs(comparisons: Sequence[Comparison]) -> str:
    first = comparisons[0].a
    with_first = [pair for pair in comparisons if pair.a == first]
    others = [pair for pair in comparisons if pair.a != first]
    caption = (
        "The first minus the second. UAR: paired by subject. Leakage: identity of unseen "
        "people, paired by person. p: sign flips, by Holm over the rows."
    )
    shown = _pairs_table(with_first, caption)
    if others:
        shown += html.folded(f"the other pairs ({len(others)})", _pairs_table(others, caption))
    return shown


def _pairs_table(pairs: Sequence[Comparison], caption: str) -> str:
    leaks = [pair.attacked(IDENTITY_IN_Z_E) for pair in pairs]
    of_uar = iter(holm([pair.metrics.uar.p_value for pair in pairs]))
    of_leaks = iter(holm([leak.p_value for leak in leaks if leak]))
    rows = [
        (
            f"{pair.a} - {pair.b}",
            with_interval(pair.metrics.uar),
            p_value(next(of_uar)),
            with_interval(leak) if leak else "-",
            p_value(next(of_leaks)) if leak else "-",
        )
        for pair, leak in zip(pairs, leaks, strict=True)
    ]
    return html.table(("", "UAR, points", "p", "identity in z_e, points", "p"), rows, caption)


def _leakage(experiments: Mapping[str, Experiment], chance: float) -> str:
    points = {
        name: (attacked.value, found.metrics.uar)
        for name, found in experiments.items()
        if (attacked := found.leakage.of(IDENTITY_IN_Z_E))
    }
    attacks = dict.fromkeys(
        one.attack for found in experiments.values() for one in found.leakage.attacks
    )
    rows = []
    for attack in attacks:
        of_all = [found.leakage.of(attack) for found in experiments.values()]
        cells = [f"{percent(one.value)} ({one.strongest})" if one else "-" for one in of_all]
        rows.append((attack.title, *cells))
    beyond = [found.leakage.above_floor for found in experiments.values()]
    rows.append(
        ("z_e above the floor", *(with_interval(found) if found else "-" for found in beyond))
    )
    for same_sex in (False, True):
        lowest = [
            found.leakage.lowest_eer("z_e", same_sex=same_sex) for found in experiments.values()
        ]
        title = "unseen: EER from z_e" + ", same sex" * same_sex
        cells = [f"{percent(one.value)} ({one.attacker})" if one else "-" for one in lowest]
        rows.append((title, *cells))
    drawn = ""
    if points:
        drawn = html.figure(
            figures.trade_off(points, chance),
            "Up and to the left is better: a collapsed z_e "
            "leaks nothing, so compare where UAR is equal.",
        )
    caption = (
        "Strongest attacker on clips of which the system fitted nothing, mean over people, %. "
        "The floor: the emotion probabilities. EER: 50 = private."
    )
    return drawn + html.table(("", *experiments), rows, caption)


def _people(experiments: Mapping[str, Experiment]) -> str:
    rows, drawn = [], ""
    for name, found in experiments.items():
        fairness = found.metrics.fairness
        by_sex = ", ".join(f"{sex} {percent(uar)}" for sex, uar in fairness.uar_by_sex.items())
        rows.append(
            (
                name,
                percent(fairness.worst_quartile),
                percent(fairness.standard_deviation),
                by_sex or "-",
            )
        )
        bars = figures.subjects(fairness.uar_by_subject, found.metrics.chance)
        drawn += html.text(name, "h3") + html.figure(bars, "Every subject, seeds averaged.")
    header = ("", "worst quarter, UAR %", "deviation over subjects", "by sex")
    return html.table(header, rows) + html.folded("every subject", drawn)


def _confusions(experiments: Mapping[str, Experiment], emotions: Sequence[str]) -> str:
    panels = [
        figures.confusion(
            *figures.reordered(found.metrics.confusion, emotions), f"{name}, recall in %"
        )
        for name, found in experiments.items()
    ]
    return html.figure(panels, "Mean over seeds.")


def _configs(experiments: Mapping[str, Experiment]) -> str:
    """Only the fields in which the experiments differ."""
    configs = [found.config for found in experiments.values()]
    fields = [
        field
        for field in configs[0]
        if field != "name" and len({str(config.get(field)) for config in configs}) > 1
    ]
    rows = [(field, *(str(config.get(field)) for config in configs)) for field in fields]
    shared = [(field, configs[0][field]) for field in configs[0] if field not in (*fields, "name")]
    differ = html.table(("field", *experiments), rows) if rows else html.text("One experiment.")
    return differ + html.folded("what they share", html.table(("field", "value"), shared))


def _again(record: CrossvalRecord) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    return html.commands([record.command]) + html.text(
        f"Commits {', '.join(record.commits)}; {versions}; {record.hardware}. Cells that are "
        "finished are not run again; start the command several times to share the work."
    )
