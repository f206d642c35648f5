"""Model card (Mitchell et al., FAT* 2019): use, data, results, leakage and limits, as Markdown."""

import re
from collections.abc import Sequence
from pathlib import Path

from jax_avemo.evaluation.metrics import recall_and_precision
from jax_avemo.evaluation.results import Metrics, Results
from jax_avemo.evaluation.tables import (
    LEAKAGE_HEADER,
    interval,
    leakage_notes,
    leakage_rows,
    percent,
)
from jax_avemo.runtime.files import write_atomic

CARD_NAME = "card.md"
SYNTHETIC_WARNING = (
    "Trained on synthetic actors: drawn faces and computed voices. It says nothing about real "
    "people and must not be used on them."
)

_INTENDED = """\
- Research on methods: comparing networks, losses and protocols under the split named here.
- Teaching, and demonstrations in which everyone shown has agreed to it."""

_NOT_INTENDED = """\
- Any decision about a person: hiring, work, school, insurance, policing, borders, health, credit.
- Telling what somebody really feels, or whether somebody lies.
- Watching people who do not know of it, or who cannot refuse.
- People, languages, cultures, ages, illnesses, cameras and rooms unlike those it was trained on:
  nothing was measured there."""

_LIMITS = """\
**Apparent emotion is not inner state.** The labels say what actors were asked to show. People show
what they do not feel and feel what they do not show; how, depends on person, culture and occasion.
The probabilities are about labels of this corpus and about nothing else; a clip of something else
gets probabilities all the same.

**Acted clips are not life.** They are short, frontal, well lit and stronger than what people do
unasked. Expect much worse figures elsewhere, and measure there first.

**A mean hides people.** The figures by subject and by sex stand above; groups the corpus does not
name (age, skin, accent, disability) could not be measured.

**It may know who someone is.** What its embeddings give away of identity stands above. Treat stored
embeddings as personal data."""

_LAW = """\
Have the consent of everyone who can be seen or heard, for this use, and let them withdraw it. Faces
and voices are personal data nearly everywhere.

Some jurisdictions forbid emotion recognition at work and at school: in the European Union,
Regulation (EU) 2024/1689, Article 5(1)(f) (medical and safety reasons apart). For other uses the
same regulation counts such systems as high-risk (Annex III), and the people exposed to one must be
told (Article 50(3)). Other places have other law. This is no legal advice: ask before use."""


def write_card(run: Path, results: Results) -> Path:
    """Write the card of `results` (what `results.json` holds) beside them; returns its path."""
    path = run / CARD_NAME
    write_atomic(path, model_card(results).encode())
    return path


def model_card(results: Results) -> str:
    """The card as Markdown, after Mitchell et al., Model Cards for Model Reporting, FAT* 2019.

    Names from the user's corpus are escaped: they cannot become markup.
    """
    sections = {
        "What it is": _what(results),
        "Intended use": _INTENDED,
        "Not intended": _NOT_INTENDED,
        "Data": _data(results),
        "Protocol": _protocol(results),
        "Results": _results(results),
        "What it gives away of identity": _leakage(results),
        "Limits": _LIMITS,
        "Consent and law": _LAW,
        "To make it again": _again(results),
    }
    title = f"# Model card: {escaped(results.name)}\n"
    warnings = []
    if results.synthetic:
        warnings.append(SYNTHETIC_WARNING)
    if not results.subject_independent:
        warnings.append(
            "Not subject-independent: test subjects took part in training or selection. The "
            "figures are too good and exist to be compared with published ones made the same way."
        )
    head = "".join(f"\n> **{warning}**\n" for warning in warnings)
    body = "".join(f"\n## {name}\n\n{text}\n" for name, text in sections.items())
    return title + head + body


def escaped(text: object) -> str:
    """A name as Markdown shows it letter by letter, on one line."""
    line = " ".join(str(text).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#+!|~])", r"\\\1", line)


def _what(results: Results) -> str:
    config = results.config
    modalities = " and ".join(config["model.modalities"])
    emotions = ", ".join(escaped(emotion) for emotion in results.emotions)
    halves = "emotion and identity taken apart" if config["model.decouple"] else "emotion alone"
    return _table(
        ("", ""),
        [
            ("reads", f"{modalities}: aligned face crops and 16 kHz sound of one person"),
            ("gives", f"probabilities of {len(results.emotions)} emotions: {emotions}"),
            ("network", f"size {results.size}, {results.parameters:,} parameters; {halves}"),
            ("step", f"{results.step} of {results.total_steps}"),
            ("made with", f"jax\\_avemo {results.versions['jax_avemo']}"),
        ],
    )


def _data(results: Results) -> str:
    split, clips = results.split, results.split.clips
    corpus = escaped(results.corpus)
    if results.synthetic:
        seed = results.corpus_seed  # None where the demo's media were read as another corpus
        corpus += " (synthetic actors" + (f", corpus seed {seed})" if seed is not None else ")")
    parts = (
        ("training", split.train_subjects, f"{clips.train} + {clips.probe} kept for probes"),
        ("validation", split.validation_subjects, str(clips.validation)),
        ("test", split.test_subjects, str(clips.test)),
    )
    rows = [(part, str(len(people)), count, _names(people)) for part, people, count in parts]
    return f"Corpus: {corpus}, fingerprint `{results.clips}`.\n\n" + _table(
        ("part", "subjects", "clips", "who"), rows
    )


def _protocol(results: Results) -> str:
    split = results.split
    if results.subject_independent:
        kept = "No test subject took part in training or selection."
    else:
        kept = "Test subjects took part in training or selection."
    return (
        f"Split `{split.protocol}`, fold {split.fold} of {split.folds}, seed "
        f"{split.seed}; the step was selected on {results.selected_on} subjects. {kept} "
        "Intervals are 95 % t intervals over subjects: they say how much another draw of "
        "such subjects could change the figure, not what another corpus, camera or seed would do."
    )


def _results(results: Results) -> str:
    found = results.test
    rows = []
    for title, estimate in found.estimates.items():
        chance = "" if title == "macro-F1" else percent(found.chance)
        rows.append((title, percent(estimate.value), interval(estimate), chance))
    mark = "Synthetic subjects, " if results.synthetic else "Subjects "
    text = f"{mark}never seen; {found.clips} clips, %.\n\n"
    text += _table(("", "value", "95 % interval", "chance"), rows)
    of_classes = [
        (
            escaped(name),
            "no clip" if recall is None else percent(recall),
            "never predicted" if precision is None else percent(precision),
        )
        for name, (recall, precision) in zip(
            results.emotions, recall_and_precision(found.confusion), strict=True
        )
    ]
    text += "\n\nRecall and precision of every emotion, %.\n\n"
    text += _table(("emotion", "recall", "precision"), of_classes)
    return f"{text}\n\n{_people(found)} {_calibration(results)}"


def _people(found: Metrics) -> str:
    by_subject = found.uar_by_subject
    worst = min(by_subject, key=lambda name: by_subject[name])
    best = max(by_subject, key=lambda name: by_subject[name])
    text = (
        f"UAR by subject: from {percent(by_subject[worst])} ({escaped(worst)}) to "
        f"{percent(by_subject[best])} ({escaped(best)}). Mean of the worst quarter: "
        f"{percent(found.uar_worst_quartile)}."
    )
    if found.uar_by_sex:
        sexes = ", ".join(f"{sex} {percent(uar)}" for sex, uar in found.uar_by_sex.items())
        text += f" By sex: {sexes}."
    return text


def _calibration(results: Results) -> str:
    text = f"Expected calibration error: {percent(results.test.ece)}"
    if results.calibration and results.calibration.test:
        after = percent(results.calibration.test.ece_after)
        text += f", with the temperature fitted on validation clips {after}"
    return text + "."


def _leakage(results: Results) -> str:
    assert results.leakage is not None
    rows = [(f"`{row[0]}`", *row[1:]) for row in leakage_rows(results.leakage)]
    notes = " ".join(escaped(note) for note in leakage_notes(results.leakage))
    return (
        "Attackers learnt on clips of which the system fitted nothing: on half of each test "
        "subject's clips (unseen), and on held-out clips of the training subjects (known); other "
        "clips of the same subjects were attacked. Balanced accuracy of the strongest of five, "
        "chosen on the attacked clips, %. EER: the error rate of telling two clips of one unseen "
        "subject from two of different ones (50 % = private, 0 = told always). The embedding meant "
        "to carry emotion is `z_e`; what the emotion probabilities give away no such embedding can "
        f"hide.\n\n{_table(LEAKAGE_HEADER, rows)}\n\n{notes}"
    )


def _again(results: Results) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    commit = results.commit or "of an installed package"
    return (
        f"Commit {commit}, seed {results.seed}; {versions}; {escaped(results.hardware)}. "
        "Every setting stands in `config.json` and `results.json` beside this card:\n\n"
        "    python -m jax_avemo.main --config=configs/NAME.py --workdir=RUN"
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _names(subjects: Sequence[str], most: int = 24) -> str:
    shown = ", ".join(escaped(subject) for subject in subjects[:most])
    return shown + (f" and {len(subjects) - most} more" if len(subjects) > most else "")
