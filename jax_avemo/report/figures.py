"""Figures of reports: each fits a phone, has text of 10 pt, and asks for nothing from outside.

Colours of text and axes are the page's own (`currentColor`), so that a figure reads in light and
in dark.
"""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from jax_avemo.evaluation.leakage_summary import strongest
from jax_avemo.evaluation.results import Attackers, Estimate, PeopleAttacked, TestCalibration
from jax_avemo.evaluation.tables import percent
from jax_avemo.palette import colours_of, in_order
from jax_avemo.runtime.files import atomic_path

INK = "#0a0b0c"
"""Stands for the page's text colour until the figure is text."""
SERIES = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bb7744", "#888888")
"""Of what is no emotion: Paul Tol's bright scheme and a brown."""
PROJECTIONS = ("PCA", "t-SNE")
MOST_POINTS = 2000
"""Of a projection; of more clips so many are drawn."""
WIDTH = 4.4
"""Inches; on a phone of 390 px a point is then more than a pixel."""
TEXT = 10
"""Points."""


class Panel(NamedTuple):
    """One figure and its title."""

    figure: Any
    title: str


def new_figure(width: float, height: float) -> Any:
    """An empty figure, in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def new_panel(title: str, height: float, *, width: float = WIDTH) -> tuple[Panel, Any]:
    """An empty panel and its axes, in inches."""
    figure = new_figure(width, height)
    axis = figure.subplots()
    axis.set_title(title)
    ink(axis)
    return Panel(figure, title), axis


def ink(axis: Any) -> None:
    """Give text and frame the page's colour."""
    axis.set_facecolor("none")
    axis.tick_params(colors=INK, labelsize=TEXT)
    for side in axis.spines.values():
        side.set_color(INK)
        side.set_linewidth(0.6)
    for text in (axis.title, axis.xaxis.label, axis.yaxis.label):
        text.set_color(INK)
        text.set_fontsize(TEXT + 1 if text is axis.title else TEXT)


def legend(panel: Panel, columns: int = 2) -> None:
    """Below the axes, where it takes no width."""
    panel.figure.legend(
        loc="outside lower center", fontsize=TEXT, frameon=False, labelcolor=INK, ncols=columns
    )


def as_svg(panel: Panel) -> str:
    """SVG text as wide as the page lets it be."""
    import matplotlib as mpl

    written = io.StringIO()
    # The salt keeps the ids of clip paths apart when figures stand on one page.
    with mpl.rc_context({"svg.hashsalt": panel.title, "svg.fonttype": "path"}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        panel.figure.savefig(written, format="svg", transparent=True, metadata=nothing)
    text = written.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    pixels = round(96 * panel.figure.get_figwidth())
    head, rest = text.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    return f'{head} style="width:100%;max-width:{pixels}px" role="img">{rest}'


def write_png(panel: Panel, path: Path) -> None:
    """The same on white, 200 pixels an inch."""
    with atomic_path(path) as temporary:
        panel.figure.savefig(temporary, format="png", dpi=200, facecolor="white")


def confusion(
    matrix: Sequence[Sequence[float]],
    emotions: Sequence[str],
    title: str = "Confusion, recall in %",
) -> Panel:
    """Shares of each true emotion (rows) predicted as each emotion (columns)."""
    counts = np.asarray(matrix, float)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-12)
    panel, axis = new_panel(title, WIDTH - 0.1)
    axis.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    places = range(len(emotions))
    axis.set_xticks(places, emotions, rotation=45, ha="right", rotation_mode="anchor")
    axis.set_yticks(places, emotions)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    for row in places:
        for column in places:
            if share[row, column] >= 0.005:
                letters = "white" if share[row, column] > 0.55 else "black"
                said = percent(share[row, column], 0)
                axis.text(column, row, said, ha="center", va="center", fontsize=TEXT, color=letters)
    return panel


def reordered(
    matrix: Sequence[Sequence[float]], emotions: Sequence[str]
) -> tuple[list[list[float]], tuple[str, ...]]:
    """A confusion matrix with its emotions in the order of `palette.in_order`."""
    order = in_order(emotions)
    places = [list(emotions).index(name) for name in order]
    return np.asarray(matrix)[np.ix_(places, places)].tolist(), order


def estimates(rows: Mapping[str, Estimate], title: str, chance: float | None = None) -> Panel:
    """Estimates (shares) with their intervals, one line each; dotted: chance."""
    panel, axis = new_panel(title, 0.75 + 0.32 * len(rows))
    for place, found in enumerate(rows.values()):
        if found.low is not None and found.high is not None:
            axis.plot([100 * found.low, 100 * found.high], [place] * 2, color=SERIES[0], lw=2)
        axis.plot(100 * found.value, place, "o", color=SERIES[1], ms=6)
    if chance is not None:
        axis.axvline(100 * chance, color=INK, lw=0.8, ls=":")
    axis.set_yticks(range(len(rows)), list(rows))
    axis.set_ylim(len(rows) - 0.5, -0.5)
    return panel


def subjects(by_subject: Mapping[str, float], chance: float) -> Panel:
    """UAR of every subject, the highest first; a subject at 0 has its dot too."""
    ordered = sorted(by_subject.items(), key=lambda item: -item[1])
    panel, axis = new_panel("UAR by subject, %", 0.8 + 0.24 * len(ordered))
    for place, (_, value) in enumerate(ordered):
        axis.plot([0, 100 * value], [place] * 2, color=SERIES[0], lw=3)
        axis.plot(100 * value, place, "o", color=SERIES[0], ms=6)
    axis.axvline(100 * chance, color=INK, lw=0.8, ls=":")
    axis.set_yticks(range(len(ordered)), [name for name, _ in ordered])
    axis.set_ylim(len(ordered) - 0.5, -0.5)
    axis.set_xlim(-3, 103)
    axis.set_xlabel("dotted: chance")
    return panel


def smoothed(values: Sequence[float], share: float = 0.05) -> Float[np.ndarray, " N"]:
    """Mean of the values in a window of `share` of them on both sides, narrower at the ends."""
    half = max(1, round(share * len(values)))
    sums = np.cumsum([0.0, *values])
    place = np.arange(len(values))
    reach = np.minimum(half, np.minimum(place, place[::-1]))
    return (sums[place + reach + 1] - sums[place - reach]) / (2 * reach + 1)


def training(lines: Sequence[Mapping[str, Any]], chosen_step: int) -> list[Panel]:
    """Losses and task weights (smoothed) and the validation UAR over the steps of metrics.jsonl."""
    trained = [line for line in lines if line.get("kind") == "train"]
    panels = [
        _series(trained, prefix, title, chosen_step)
        for prefix, title in (("loss/", "Training losses"), ("weight/", "Task weights"))
    ]
    panel, axis = new_panel("UAR of the validation subjects, %", 3.0)
    validated = [line for line in lines if line.get("kind") == "validation"]
    if validated:
        steps, values = zip(*((line["step"], 100 * line["uar"]) for line in validated), strict=True)
        axis.plot(steps, values, "o-", color=SERIES[0], ms=4, lw=1.2)
    _mark_chosen(axis, chosen_step)
    legend(panel)
    return [*panels, panel]


def _series(
    trained: Sequence[Mapping[str, Any]], prefix: str, title: str, chosen_step: int
) -> Panel:
    names = sorted({name for line in trained for name in line if name.startswith(prefix)})
    names = [name for name in names if name not in ("loss/total", "loss/emotion_unsmoothed")]
    panel, axis = new_panel(title, 3.0 + 0.12 * len(names))
    for number, name in enumerate(names):
        steps, values = zip(
            *((line["step"], line[name]) for line in trained if name in line), strict=True
        )
        colour = SERIES[number % len(SERIES)]
        style = "-" if number < len(SERIES) else "--"
        axis.plot(steps, values, style, color=colour, lw=0.6, alpha=0.3)
        shown = name.removeprefix(prefix).replace("_", " ")
        axis.plot(steps, smoothed(values), style, color=colour, lw=1.6, label=shown)
    _mark_chosen(axis, chosen_step)
    legend(panel)
    return panel


def _mark_chosen(axis: Any, step: int) -> None:
    axis.axvline(step, color=INK, lw=1.2, ls="--", label=f"chosen step {step}")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_xlabel("step")


def calibration(test: TestCalibration) -> list[Panel]:
    """Reliability before and after temperature scaling; accuracy of the most confident clips."""
    diagram, axis = new_panel("Reliability on test clips", 3.4)
    axis.plot([0, 1], [0, 1], color=INK, lw=0.6)
    for number, (when, bins, error) in enumerate(
        (
            ("before", test.reliability_before, test.ece_before),
            ("after", test.reliability_after, test.ece_after),
        )
    ):
        axis.plot(
            [row.confidence for row in bins],
            [row.accuracy for row in bins],
            "o-",
            color=SERIES[number],
            ms=4,
            lw=1.2,
            label=f"{when} scaling, ECE {percent(error)} %",
        )
    axis.set_xlabel("confidence")
    axis.set_ylabel("accuracy")
    legend(diagram, columns=1)
    selective, axis = new_panel("Accuracy of the most confident clips, %", 3.4)
    coverage = [100 * row.coverage for row in test.selective_accuracy]
    accuracy = [100 * row.accuracy for row in test.selective_accuracy]
    axis.plot(coverage, accuracy, "o-", color=SERIES[2], ms=4, lw=1.2)
    axis.set_xlabel("share of the clips, the most confident first, %")
    return [diagram, selective]


def leakage(attacked: PeopleAttacked) -> list[Panel]:
    """Every attacker on every representation: identity, and emotion where it was asked for."""
    panels = [_attacks("Identity", attacked.identity, attacked.identity_chance)]
    if attacked.emotion:
        panels.append(_attacks("Emotion", attacked.emotion, attacked.emotion_chance))
    return panels


def _attacks(target: str, found: Mapping[str, Attackers], chance: float) -> Panel:
    panel, axis = new_panel(f"{target} read by attackers, %", 1.8 + 0.42 * len(found))
    for place, attackers in enumerate(found.values()):
        _, best = strongest(attackers)
        if best.interval:
            axis.plot([100 * end for end in best.interval], [place] * 2, color=INK, lw=1.2)
        for number, (name, result) in enumerate(attackers.items()):
            axis.plot(
                100 * result.balanced_accuracy,
                place,
                "os^Dv"[number % 5],
                color=SERIES[number % len(SERIES)],
                ms=7 if result is best else 4.5,
                label=name if place == 0 else None,
            )
        axis.plot(
            100 * best.shuffled,
            place,
            "x",
            color=INK,
            ms=6,
            mew=1.4,
            label="shuffled labels" if place == 0 else None,
        )
    axis.axvline(100 * chance, color=INK, lw=0.8, ls=":", label="chance")
    legend(panel)
    axis.set_yticks(range(len(found)), list(found))
    axis.set_ylim(len(found) - 0.5, -0.5)
    axis.set_xlim(-3, 103)
    return panel


def projections(
    embeddings: Mapping[str, Float[np.ndarray, "N D"]],
    emotions: Shaped[np.ndarray, " N"],
    subjects: Shaped[np.ndarray, " N"],
    method: str,
    *,
    seed: int = 0,
) -> list[Panel]:
    """Each embedding flattened to the plane: by emotion, and by subject.

    `method` is one of PROJECTIONS: "PCA" keeps distances as far as two axes can, "t-SNE" (van der
    Maaten and Hinton 2008) keeps neighbours. Both standardised first.
    """
    count = len(emotions)
    some = ""
    if count > MOST_POINTS:
        chosen = np.sort(np.random.default_rng(seed).choice(count, MOST_POINTS, replace=False))
        embeddings = {name: x[chosen] for name, x in embeddings.items()}
        emotions, subjects = emotions[chosen], subjects[chosen]
        some = f", {MOST_POINTS} of {count} clips"
    of_emotions = in_order(set(emotions.tolist()))
    people = sorted(set(subjects.tolist()))
    panels = []
    for name, x in embeddings.items():
        flat = project(x, method, seed)
        for labels, names, colours, title in (
            (emotions, of_emotions, colours_of(of_emotions), "emotion"),
            (subjects, people, SERIES, "subject"),
        ):
            rows = -(-len(names) // 3)
            panel, axis = new_panel(f"{name} by {title}, {method}{some}", 3.0 + 0.2 * rows)
            for number, label in enumerate(names):
                colour = colours[number % len(colours)]
                marker = "ovs^D*"[number // len(colours) % 6]
                chosen = flat[labels == label]
                axis.plot(*chosen.T, marker, color=colour, ms=5, mew=0, label=label)
            axis.set_xticks([])
            axis.set_yticks([])
            legend(panel, columns=3)
            panels.append(panel)
    return panels


def project(x: Float[np.ndarray, "N D"], method: str, seed: int) -> Float[np.ndarray, "N 2"]:
    """Two coordinates a clip; a collapsed embedding is one point."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    deviation = x.std(axis=0)
    if not (deviation > 1e-9).any():
        return np.zeros((len(x), 2))  # scikit-learn's t-SNE would divide by zero and crash
    scaled = (x - x.mean(axis=0)) / np.where(deviation > 1e-9, deviation, 1.0)
    if method == "PCA":
        return PCA(2, random_state=seed).fit_transform(scaled)
    perplexity = float(np.clip(len(x) / 5, 2, 30))
    # Threads that wait for each other on a busy machine took 196 s for what one does in seconds.
    with threadpool_limits(1):
        return TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(scaled)


def over_clips(uar: Mapping[int, Estimate], chance: float) -> Panel:
    """UAR over the number of enrolled clips, evenly spaced; dotted: chance."""
    panel, axis = new_panel("UAR over enrolled clips, %", 2.6)
    places = range(len(uar))
    axis.plot(places, [100 * found.value for found in uar.values()], color=SERIES[1], lw=1.2)
    for place, found in zip(places, uar.values(), strict=True):
        if found.low is not None and found.high is not None:
            axis.plot([place] * 2, [100 * found.low, 100 * found.high], color=SERIES[0], lw=2)
        axis.plot(place, 100 * found.value, "o", color=SERIES[1], ms=6)
    axis.axhline(100 * chance, color=INK, lw=0.8, ls=":")
    axis.set_xticks(places, [str(clips) for clips in uar])
    axis.set_xlabel("unlabelled clips of the person; dotted: chance")
    return panel


def trade_off(points: Mapping[str, tuple[float, float]], chance: float) -> Panel:
    """UAR against identity read from z_e: up and to the left is better."""
    panel, axis = new_panel("UAR against leakage", 3.2 + 0.12 * len(points))
    for number, (name, (identity, uar)) in enumerate(points.items()):
        colour, marker = SERIES[number % len(SERIES)], "os^DvP*X"[number // len(SERIES) % 8]
        axis.plot(100 * identity, 100 * uar, marker, color=colour, ms=8, label=name)
    axis.axhline(100 * chance, color=INK, lw=0.8, ls=":")
    axis.set_xlabel("identity of unseen people, strongest attacker on z_e, %")
    axis.set_ylabel("UAR, %")
    legend(panel)
    return panel
