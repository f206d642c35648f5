"""Report page of a run."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from jax_avemo.evaluation.leakage_summary import FLOOR, strongest
from jax_avemo.evaluation.metrics import recall_and_precision
from jax_avemo.evaluation.predictions import ClipPrediction
from jax_avemo.evaluation.results import (
    Condition,
    Estimate,
    Facts,
    Metrics,
    PeopleAttacked,
    Results,
)
from jax_avemo.evaluation.tables import (
    LEAKAGE_HEADER,
    interval,
    leakage_notes,
    leakage_rows,
    p_value,
    percent,
    with_interval,
)
from jax_avemo.report import attention_figures, figures, html
from jax_avemo.report.attention_maps import Looked

SECTIONS = 12
"""That `run_page` makes."""


def marks(record: Facts) -> str:
    """What a reader must know before any number."""
    said = []
    if record.synthetic:
        said.append("Synthetic actors: drawn faces and computed voices. It says nothing of people.")
    if not record.subject_independent:
        said.append("Not subject-independent: test subjects took part in training or selection.")
    return "".join(html.text(words, css="warn") for words in said)


class RunFiles(NamedTuple):
    """What a run directory has beside results.json."""

    log: Sequence[Mapping[str, Any]] = ()
    """Lines of metrics.jsonl."""
    predictions: Sequence[ClipPrediction] = ()
    embeddings: Mapping[str, Shaped[np.ndarray, "N ..."]] | None = None
    robustness: Mapping[str, Condition] | None = None


def run_page(
    results: Results,
    files: RunFiles,
    looked: Sequence[Looked],
    run: str,
    *,
    without_attention: str = "",
    after_each: Callable[[], object] = lambda: None,
) -> str:
    """One HTML file.

    Args:
      results: of results.json.
      files: what else the run has.
      looked: of `attention_maps.look`; empty = not shown.
      run: its directory, for the commands.
      without_attention: why the network could not be run on its clips; "" = it was, or not asked.
      after_each: called after each of `SECTIONS` sections.
    """
    sections: list[tuple[str, str]] = []

    def add(heading: str, content: str) -> None:
        if content:
            sections.append((heading, content))
        after_each()

    add("Every emotion", _emotions(results))
    add("Worst mistakes", _mistakes(files.predictions))
    add("Scores", _scores(results.test))
    add("Training", _training(files.log, results.step))
    add("Calibration", _calibration(results))
    add("Identity leakage", _leakage(results))
    add("Enrolment", _enrolment(results) if results.enrolment else "")
    add("Embeddings", "" if files.embeddings is None else _projections(files.embeddings))
    note = html.text(without_attention, css="soft") if without_attention else ""
    add("Attention", _attention(looked) if looked else note)
    add("Degraded input", "" if files.robustness is None else _robustness(files.robustness))
    add("Data", _data(results))
    add("Reproduction", _again(results, run))
    return html.page(f"Run {results.name}", _first_screen(results), sections)


def _first_screen(results: Results) -> str:
    """UAR against chance, the confusion matrix, and every subject."""
    test = results.test
    uar = test.estimates["UAR"]
    people = len(test.uar_by_subject)
    who = f"{test.clips} clips of {people} subject{'s' * (people > 1)}"
    between = interval(uar) + " (95 %, over subjects)" * (uar.low is not None)
    if results.subject_independent:
        who += " that took no part in training or selection"
    return (
        marks(results)
        + html.headline(
            f"UAR {percent(uar.value)} %",
            f"{between}; chance {percent(test.chance)} %",
        )
        + html.text(f"{who}; size {results.size}, corpus {results.corpus}.")
        + html.figure(
            [
                figures.confusion(*figures.reordered(test.confusion, results.emotions)),
                figures.subjects(test.uar_by_subject, test.chance),
            ],
            f"Worst quarter of the subjects: {percent(test.uar_worst_quartile)} %."
            + "".join(f" {sex}: {percent(value)} %." for sex, value in test.uar_by_sex.items()),
        )
    )


def _emotions(results: Results) -> str:
    matrix, emotions = figures.reordered(results.test.confusion, results.emotions)
    rows = [
        (emotion, percent(recall), percent(precision), round(sum(row)))
        for emotion, row, (recall, precision) in zip(
            emotions, matrix, recall_and_precision(matrix), strict=True
        )
    ]
    return html.table(
        ("emotion", "recall, %", "precision, %", "clips"),
        rows,
        "Recall: of the clips of an emotion, how many were predicted as it. Precision: of the "
        "clips predicted as it, how many are.",
    )


def _mistakes(predictions: Sequence[ClipPrediction], most: int = 12) -> str:
    wrong = sorted(
        (line for line in predictions if not line.right),
        key=lambda line: (-line.confidence, line.key),
    )
    if not predictions:
        return ""
    if not wrong:
        return html.text("No clip was predicted wrongly.")
    rows = [
        (line.key, line.subject, line.emotion, line.predicted, percent(line.confidence, 0))
        for line in wrong[:most]
    ]
    return html.table(
        ("clip", "subject", "true", "predicted", "confidence, %"),
        rows,
        f"The most confident of {len(wrong)} wrong predictions of {len(predictions)} clips.",
    )


def _scores(test: Metrics) -> str:
    rows = [(title, with_interval(estimate)) for title, estimate in test.estimates.items()]
    return html.table(("", "% (95 % interval over subjects)"), rows, "Test subjects")


def _training(log: Sequence[Mapping[str, Any]], step: int) -> str:
    if not log:
        return ""
    return html.figure(
        figures.training(log, step),
        "Smoothed over a twentieth of the steps on both sides; faint: every logged step.",
    )


def _calibration(results: Results) -> str:
    assert results.calibration is not None
    assert results.calibration.test is not None
    rows = [
        (
            name,
            f"{fit.temperature:.2f}",
            fit.clips,
            f"{percent(fit.ece_before)} / {percent(fit.ece_after)}",
        )
        for name, fit in results.calibration.modalities.items()
    ]
    fitted = html.table(
        ("predicted from", "temperature", "clips", "ECE before / after, %"),
        rows,
        "Temperatures, fitted on the validation subjects",
    )
    drawn = figures.calibration(results.calibration.test)
    return html.figure(drawn, "Test clips; the temperature never saw them.") + fitted


def _leakage(results: Results) -> str:
    leakage = results.leakage
    assert leakage is not None
    drawn = ""
    if leakage.unseen:
        drawn = html.figure(
            figures.leakage(leakage.unseen),
            "Unseen subjects, five attackers each, with 95 % intervals of the strongest over "
            "people. Attackers learnt on half of each one's clips; the other half was attacked.",
        )
    return (
        drawn
        + html.table(
            LEAKAGE_HEADER,
            leakage_rows(leakage),
            "The strongest attacker on clips of which the system fitted nothing, %. Known: "
            "held-out clips of the training subjects. EER: are two clips of one person? "
            "50 % = private, 0 = always told; pairs differ in emotion and, where known, in words.",
        )
        + "".join(html.text(note) for note in leakage_notes(leakage))
        + html.text(
            "A collapsed embedding leaks nothing: compare leakage only where UAR is equal.",
            css="soft",
        )
    )


def _enrolment(results: Results) -> str:
    """UAR over the number of enrolled clips, paired with none."""
    uar = {0: results.test.estimates["UAR"]}
    uar |= {row.clips: Estimate.of(row.uar, row.uar_interval) for row in results.enrolment}
    rows = [
        (
            row.clips,
            with_interval(uar[row.clips]),
            with_interval(row.minus_none),
            p_value(row.minus_none.p_value),
            _read_from(row.leakage, "z_e"),
            _read_from(row.leakage, FLOOR),
        )
        for row in results.enrolment
    ]
    caption = (
        "Clips are read against other clips of their person, of which nothing but the person is "
        "known. 95 % intervals over people; p of exact sign flips, not adjusted. Where a person "
        "has fewer other clips, all of them."
    )
    header = ("clips", "UAR, %", "less none, paired", "p", "identity in z_e, %", "floor, %")
    return html.figure([figures.over_clips(uar, results.test.chance)], caption) + html.table(
        header, rows
    )


def _read_from(attacked: PeopleAttacked | None, representation: str) -> str:
    if attacked is None:
        return "-"
    return percent(strongest(attacked.identity[representation])[1].balanced_accuracy)


def _projections(embeddings: Mapping[str, Any]) -> str:
    test = embeddings["part"] == "test"
    vectors = {name: embeddings[name][test] for name in ("z", "z_e", "z_i") if name in embeddings}
    emotions, subjects = embeddings["emotion"][test], embeddings["subject"][test]
    return "".join(
        html.figure(
            figures.projections(vectors, emotions, subjects, method),
            f"{method} of the test clips: the same points by emotion and by subject.",
        )
        for method in figures.PROJECTIONS
    )


def _attention(looked: Sequence[Looked]) -> str:
    drawn = ""
    with_maps = [clip for clip in looked if clip.maps]
    if with_maps:
        drawn += html.figure(
            [attention_figures.face_attention(clip) for clip in with_maps],
            "Coordinate attention over the middle frame in the last block of every stage of the "
            "face network, mean over channels, each map in its own range; bright = let through. "
            "The two most confident right and the two most confident wrong clips.",
        )
    timed = [clip for clip in looked if clip.weights is not None]
    if timed:
        drawn += html.figure(
            [attention_figures.time_attention(clip) for clip in timed],
            "The audio of the same clips, and how much each step of the LSTM counts in z.",
        )
    return drawn or html.text("This network has no attention to show.")


def _robustness(found: Mapping[str, Condition]) -> str:
    rows = [
        (
            name,
            with_interval(row.estimate),
            with_interval(row.minus_clean) if row.minus_clean else "-",
        )
        for name, row in found.items()
    ]
    drawn = figures.estimates({name: row.estimate for name, row in found.items()}, "UAR, %")
    return html.figure(drawn, "Test clips made worse; 95 % intervals over subjects.") + html.table(
        ("", "UAR, %", "less the clean one's, paired"), rows
    )


def _data(results: Results) -> str:
    split = results.split
    rows = [
        (title, len(people), count, ", ".join(people))
        for title, people, count in (
            ("training", split.train_subjects, split.clips.train),
            ("held out for probes", split.train_subjects, split.clips.probe),
            ("validation", split.validation_subjects, split.clips.validation),
            ("test", split.test_subjects, split.clips.test),
        )
    ]
    corpus = results.corpus
    if results.corpus_seed is not None:
        corpus += f", corpus seed {results.corpus_seed}"
    return html.text(
        f"Corpus {corpus}; fingerprint of the clips {results.clips}. Protocol {split.protocol}, "
        f"fold {split.fold} of {split.folds}, split seed {split.seed}; selected on "
        f"{results.selected_on}. Emotions: {', '.join(results.emotions)}."
    ) + html.table(("part", "subjects", "clips", "who"), rows)


def _again(results: Results, run: str) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    return (
        html.commands(
            [
                f"avemo evaluate {run}",
                f"avemo evaluate {run} --robustness",
                f"avemo report {run}",
            ]
        )
        + html.text(
            f"Commit {results.commit}; seed {results.seed}; step {results.step} of "
            f"{results.total_steps}; {results.parameters:,} parameters; {versions}; "
            f"{results.hardware}. To train it anew, give python -m jax_avemo.main the config "
            "file it came from and the fields below."
        )
        + html.folded("every setting", html.table(("field", "value"), list(results.config.items())))
    )
