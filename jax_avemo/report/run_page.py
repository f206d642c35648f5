"""Report page of a run."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped

from jax_avemo.evaluation.results import Condition, Facts, Metrics, Results
from jax_avemo.evaluation.tables import percent, with_interval
from jax_avemo.report import figures, html
from jax_avemo.report.attention_maps import Looked
from jax_avemo.schema import AUDIO_SAMPLE_RATE


def marks(record: Facts) -> str:
    """What a reader must know before any number."""
    said = []
    if record.synthetic:
        said.append("Synthetic actors: drawn faces and computed voices. It says nothing of people.")
    if not record.subject_independent:
        said.append("Not subject-independent: test subjects took part in training or selection.")
    return "".join(html.text(words, css="warn") for words in said)


def run_page(
    results: Results,
    log: Sequence[Mapping[str, Any]],
    embeddings: Mapping[str, Shaped[np.ndarray, "N ..."]] | None,
    looked: Sequence[Looked],
    robustness: Mapping[str, Condition] | None,
    run: str,
) -> str:
    """One HTML file.

    Args:
      results: of results.json.
      log: lines of metrics.jsonl.
      embeddings: of embeddings.npz; None = there is none.
      looked: of `attention.look`; empty = not asked for.
      robustness: of results-robustness.json; None = not measured.
      run: its directory, for the commands.
    """
    test = results.test
    uar, chance = with_interval(test.estimates["UAR"]), percent(test.chance)
    lead = marks(results) + html.text(
        f"UAR {uar} %, chance {chance} %: {test.clips} clips of "
        f"{len(results.split.test_subjects)} subjects that took no part in training or selection, "
        f"size {results.size}, corpus {results.corpus}."
        if results.subject_independent
        else f"UAR {uar} %, chance {chance} %: {test.clips} clips."
    )
    sections = [
        ("Results", _results(results)),
        ("Who it works for", _people(test)),
        ("Training", html.figure(figures.training(log), "Losses, task weights, selection.")),
        ("Calibration", _calibration(results)),
        ("Identity leakage", _leakage(results)),
    ]
    if embeddings is not None:
        sections.append(("Embeddings", _projections(embeddings)))
    if looked:
        sections.append(("Where it looks", _attention(looked)))
    if robustness is not None:
        sections.append(("Worse input", _robustness(robustness)))
    sections += [("Data", _data(results)), ("Make it again", _again(results, run))]
    return html.page(f"Run {results.name}", lead, sections)


def _results(results: Results) -> str:
    test = results.test
    rows = [(title, with_interval(estimate)) for title, estimate in test.estimates.items()]
    matrix = figures.confusion(test.confusion, results.emotions, "recall, %")
    return html.table(
        ("", "% (95 % interval over subjects)"), rows, "Unseen subjects"
    ) + html.figure(matrix, "Rows: the emotion that was acted. Columns: what the network said.")


def _people(test: Metrics) -> str:
    rows = [("worst quarter of the subjects", percent(test.uar_worst_quartile))]
    rows += [(sex, percent(uar)) for sex, uar in test.uar_by_sex.items()]
    drawn = figures.subjects(test.uar_by_subject, test.chance)
    return html.table(("", "UAR, %"), rows) + html.figure(drawn, "Every test subject.")


def _calibration(results: Results) -> str:
    assert results.calibration is not None
    assert results.calibration.test is not None
    rows = [
        (name, f"{fit.temperature:.2f}", fit.clips, percent(fit.ece_before))
        for name, fit in results.calibration.modalities.items()
    ]
    fitted = html.table(
        ("predicted from", "temperature", "clips", "ECE before, %"),
        rows,
        "Temperatures, fitted on the validation subjects",
    )
    drawn = figures.calibration(results.calibration.test)
    return html.figure(drawn, "Test clips; the temperature never saw them.") + fitted


def _leakage(results: Results) -> str:
    assert results.leakage is not None
    rows, probed = [], []
    for name, told in results.leakage.unseen_subjects.items():
        for title, found in (("cosine", told.cosine), ("trained attacker (PLDA)", told.plda)):
            if found:
                rows.append(
                    (
                        name,
                        title,
                        percent(found.equal_error_rate),
                        percent(found.equal_error_rate_same_sex),
                        f"{found.genuine_pairs} / {found.impostor_pairs}",
                    )
                )
        probed += [
            (name, with_interval(probe.estimate), percent(probe.chance))
            for probe in told.probe.values()
        ]
    verified = html.table(
        ("embedding", "by", "EER, %", "same sex, %", "pairs same / different"),
        rows,
        "Unseen subjects: are two clips of one person? 50 % = cannot be told, 0 = always. Pairs "
        "differ in emotion and, where known, in words.",
    )
    unseen = html.table(
        ("embedding", "identity, %", "chance"),
        probed,
        "Unseen subjects: a linear probe trained on half of each one's clips",
    )
    return (
        html.figure(
            figures.leakage(results.leakage),
            "Probes on held-out clips of the training subjects, with 95 % intervals over clips.",
        )
        + verified
        + (unseen if probed else "")
        + html.text(
            "A collapsed embedding leaks nothing: compare leakage only where UAR is equal.",
            css="soft",
        )
    )


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
    titles = [clip.title for clip in looked]
    if any(clip.maps for clip in looked):
        short = [title.split(",")[0] for title in titles]
        drawn += html.figure(
            figures.face_attention(
                [clip.face for clip in looked], [clip.maps for clip in looked], short
            ),
            "Coordinate attention over the middle frame in the last block of every stage of the "
            "face network, mean over channels; bright = let through. Two surest right and two "
            "surest wrong clips.",
        )
    timed = [clip for clip in looked if clip.weights is not None]
    if timed:
        drawn += html.figure(
            figures.time_attention(
                [clip.sound for clip in timed],
                AUDIO_SAMPLE_RATE,
                [clip.times for clip in timed],
                [np.asarray(clip.weights) for clip in timed],
                [clip.title for clip in timed],
            ),
            "The sound of the same clips, and what each step of the LSTM counts in z.",
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
    drawn = figures.forest({name: row.estimate for name, row in found.items()}, "UAR, %")
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
