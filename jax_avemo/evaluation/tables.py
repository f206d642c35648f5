"""Results as text: estimates with their intervals, and the tables of the terminal."""

from collections.abc import Mapping
from pathlib import Path

from jax_avemo.evaluation.leakage_summary import above_floor, lowest_eer, strongest
from jax_avemo.evaluation.results import (
    Attackers,
    Condition,
    CrossCorpusResults,
    Estimate,
    Facts,
    Leakage,
    PairedDifference,
    Results,
    Scores,
)
from jax_avemo.runtime.text_tables import aligned


def percent(share: float | None, digits: int = 1, *, signed: bool = False) -> str:
    """A share in percent, without the sign; "-" where there is none."""
    if share is None:
        return "-"
    return f"{100 * share:{'+' if signed else ''}.{digits}f}"


def with_interval(estimate: Estimate | PairedDifference, digits: int = 1) -> str:
    """An estimate in percent as "50.0 (40.0 to 60.0)", a difference with its sign."""
    signed = isinstance(estimate, PairedDifference)
    value = estimate.difference if isinstance(estimate, PairedDifference) else estimate.value
    written = percent(value, digits, signed=signed)
    between = interval(estimate, digits)
    return f"{written} ({between})"


def interval(estimate: Estimate | PairedDifference, digits: int = 1) -> str:
    """Only the interval, as "40.0 to 60.0"."""
    if estimate.low is None or estimate.high is None:
        return "one subject: no interval"
    signed = isinstance(estimate, PairedDifference)
    low, high = (percent(end, digits, signed=signed) for end in (estimate.low, estimate.high))
    return f"{low} to {high}"


def p_value(value: float) -> str:
    """A p value with three digits."""
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def marks(record: Facts) -> list[str]:
    """What a reader must know before any number."""
    said = [f"size {record.size}", f"corpus {record.corpus}"]
    said += ["SYNTHETIC actors"] * record.synthetic
    said += ["NOT subject-independent"] * (not record.subject_independent)
    return said


def results_table(results: Results) -> str:
    """The test results, with chance beside each, and what attackers read."""
    found = results.test
    scores = [("", "value, %", "95 % interval", "chance")]
    for title, estimate in found.estimates.items():
        chance = "" if title == "macro-F1" else percent(found.chance)
        scores.append((title, percent(estimate.value), interval(estimate), chance))
    return "\n".join(
        [
            f"{results.name}: {found.clips} clips of {len(results.split.test_subjects)} unseen "
            f"subjects ({', '.join(marks(results))})",
            "",
            *aligned(scores),
            *(_leakage_lines(results.leakage) if results.leakage else ()),
        ]
    )


LEAKAGE_HEADER = (
    "read from",
    "identity, unseen",
    "shuffled",
    "identity, known",
    "EER, unseen",
    "same sex",
    "emotion, unseen",
)
"""Of `leakage_rows`."""


def leakage_rows(leakage: Leakage) -> list[tuple[str, ...]]:
    """A row a representation: the strongest attacker on each kind of clips, in percent.

    EER: the lowest of cosine, LDA and PLDA.
    """
    unseen, known = leakage.unseen, leakage.known
    identity, of_known, emotion = (
        unseen.identity if unseen else {},
        known.identity if known else {},
        unseen.emotion if unseen else {},
    )
    rows: list[tuple[str, ...]] = []
    for name in dict.fromkeys([*leakage.verification, *identity, *of_known]):
        of_unseen, verified = identity.get(name), leakage.verification.get(name, {})
        rows.append(
            (
                name,
                of_strongest(of_unseen),
                percent(strongest(of_unseen)[1].shuffled) if of_unseen else "-",
                of_strongest(of_known.get(name)),
                _of_lowest(lowest_eer(verified)),
                _of_lowest(lowest_eer(verified, same_sex=True)),
                of_strongest(emotion.get(name)),
            )
        )
    return rows


def of_strongest(attackers: Attackers | None) -> str:
    """Balanced accuracy of the strongest attacker and its name; "-" where nothing was attacked."""
    if not attackers:
        return "-"
    name, found = strongest(attackers)
    return f"{percent(found.balanced_accuracy)} ({name})"


def _of_lowest(found: tuple[str, float] | None) -> str:
    return f"{percent(found[1])} ({found[0]})" if found else "-"


def leakage_notes(leakage: Leakage) -> list[str]:
    """Sentences to `leakage_rows`: chance, what z_e gives away above the floor, what lacks."""
    said = []
    for who, attacked in (("unseen", leakage.unseen), ("training", leakage.known)):
        if attacked is None:
            continue
        chance = percent(attacked.identity_chance)
        said.append(f"{attacked.people} {who} subjects, {attacked.clips} clips: chance {chance}.")
        if beyond := above_floor(attacked):
            said.append(
                f"z_e above the emotion probabilities: {with_interval(beyond)} points, "
                f"p {p_value(beyond.p_value)}."
            )
    return said + [f"Not measured: {reason}." for reason in leakage.not_measured]


def _leakage_lines(leakage: Leakage) -> list[str]:
    return [
        "",
        "strongest attacker, %, on clips of which the system fitted nothing (EER: 50 = private):",
        *aligned([LEAKAGE_HEADER, *leakage_rows(leakage)]),
        *leakage_notes(leakage),
    ]


def scores_table(scores: Scores) -> str:
    """UAR, WAR and macro-F1, a line each."""
    rows = [(f"{title}, %", with_interval(found)) for title, found in scores.estimates.items()]
    return "\n".join(aligned(rows))


def robustness_table(found: Mapping[str, Condition]) -> str:
    """UAR under every condition, and less the clean one's."""
    rows = [("", "UAR, %", "minus clean")]
    for name, row in found.items():
        gap = with_interval(row.minus_clean) if row.minus_clean else ""
        rows.append((name, with_interval(row.estimate), gap))
    return "\n".join(aligned(rows))


def cross_corpus_table(results: CrossCorpusResults, run: Path) -> str:
    """The scores among the shared emotions, and what was left out."""
    found, home = results.metrics.cross_corpus, results.trained_on
    mark = {True: " (SYNTHETIC)", False: ""}
    lines = [
        f"{run}, trained on {home.corpus}{mark[home.synthetic]}, on {results.corpus}"
        f"{mark[results.synthetic]}: {found.clips} clips of {len(found.uar_by_subject)} subjects",
        f"shared emotions: {', '.join(results.emotions)}; chance {percent(found.chance)} %",
        scores_table(found),
    ]
    if results.left_out:
        counts = ", ".join(f"{count} {name}" for name, count in results.left_out.items())
        lines.append(f"left out, not learnt by the network: {counts}")
    return "\n".join(lines)
