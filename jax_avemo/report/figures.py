"""Figures of reports as SVG text.

Colours of text and axes are the page's own (`currentColor`), so that a figure reads in light and
in dark; nothing in it asks for anything outside.
"""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from jax_avemo.evaluation.results import Estimate, Leakage, TestCalibration
from jax_avemo.evaluation.tables import percent

_INK = "#0a0b0c"
"""Stands for the page's text colour until the figure is text."""
PALETTE = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bb7744", "#888888")
"""Paul Tol's bright scheme, told apart with every common colour blindness, and a brown."""
PROJECTIONS = ("PCA", "t-SNE")
Image = UInt8[np.ndarray, "H W 3"]


def _figure(columns: int, rows: int, width: float, height: float) -> tuple[Any, np.ndarray]:
    """An empty figure of `rows` x `columns` axes, each of width x height inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
    axes = np.array(figure.subplots(rows, columns, squeeze=False))
    for axis in axes.flat:
        _ink(axis)
    return figure, axes


def _ink(axis: Any) -> None:
    axis.set_facecolor("none")
    axis.tick_params(colors=_INK, labelsize=8)
    for side in axis.spines.values():
        side.set_color(_INK)
        side.set_linewidth(0.6)
    for text in (axis.title, axis.xaxis.label, axis.yaxis.label):
        text.set_color(_INK)
        text.set_fontsize(9)


def _legend(axis: Any, **more: Any) -> None:
    axis.legend(fontsize=7, frameon=False, labelcolor=_INK, **more)


def _svg(figure: Any, title: str) -> str:
    import matplotlib as mpl

    written = io.StringIO()
    # The salt keeps the ids of clip paths apart when figures stand on one page.
    with mpl.rc_context({"svg.hashsalt": title, "svg.fonttype": "path"}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(written, format="svg", transparent=True, metadata=nothing)
    text = written.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    points = round(72 * figure.get_figwidth())
    # As wide as the page lets it be, but never so narrow that its letters can't be read.
    size = f'style="width:100%;max-width:{round(4 / 3 * points)}px;min-width:{points}px"'
    head, rest = text.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    return f'{head} {size} role="img">{rest}'


def confusion(matrix: Sequence[Sequence[float]], emotions: Sequence[str], title: str) -> str:
    """Recall in percent: rows are what was acted, columns what was said."""
    counts = np.asarray(matrix, float)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-12)
    figure, axes = _figure(1, 1, 4.6, 4.2)
    axis = axes[0, 0]
    axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    places = range(len(emotions))
    axis.set_xticks(places, emotions, rotation=45, ha="right")
    axis.set_yticks(places, emotions)
    axis.set_xlabel("said")
    axis.set_ylabel("acted")
    axis.set_title(title)
    for row in places:
        for column in places:
            if share[row, column] >= 0.005:
                ink = "white" if share[row, column] > 0.55 else "black"
                said = f"{100 * share[row, column]:.0f}"
                axis.text(column, row, said, ha="center", va="center", fontsize=7, color=ink)
    return _svg(figure, f"confusion {title}")


def training(lines: Sequence[Mapping[str, Any]]) -> str:
    """Losses, task weights and the validation UAR over the steps of metrics.jsonl."""
    trained = [line for line in lines if line.get("kind") == "train"]
    validated = [line for line in lines if line.get("kind") == "validation"]
    figure, axes = _figure(3, 1, 3.6, 3.4)
    for axis, prefix, title in (
        (axes[0, 0], "loss/", "losses"),
        (axes[0, 1], "weight/", "weights"),
    ):
        names = sorted({name for line in trained for name in line if name.startswith(prefix)})
        names = [n for n in names if n not in ("loss/total", "loss/emotion_unsmoothed")]
        for number, name in enumerate(names):
            points = [(line["step"], line[name]) for line in trained if name in line]
            style = "-" if number < len(PALETTE) else "--"
            colour = PALETTE[number % len(PALETTE)]
            shown = name.removeprefix(prefix).replace("_", " ")
            axis.plot(*zip(*points, strict=True), style, color=colour, lw=1, label=shown)
        axis.set_title("task weights" if title == "weights" else title)
        axis.set_xlabel("step")
        if names:
            _legend(axis, loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2)
    axis = axes[0, 2]
    points = [(line["step"], 100 * line["uar"]) for line in validated]
    if points:
        axis.plot(*zip(*points, strict=True), "o-", color=PALETTE[0], ms=3, lw=1)
    axis.set_title("UAR of the selecting subjects, %")
    axis.set_xlabel("step")
    return _svg(figure, "training")


def calibration(test: TestCalibration) -> str:
    """Reliability before and after temperature scaling, and accuracy of the surest clips."""
    figure, axes = _figure(2, 1, 3.8, 3.2)
    axis = axes[0, 0]
    axis.plot([0, 1], [0, 1], color=_INK, lw=0.5)
    diagrams = (
        ("before", test.reliability_before, test.ece_before),
        ("after", test.reliability_after, test.ece_after),
    )
    for number, (when, bins, error) in enumerate(diagrams):
        axis.plot(
            [row.confidence for row in bins],
            [row.accuracy for row in bins],
            "o-",
            color=PALETTE[number],
            ms=3,
            lw=1,
            label=f"{when} scaling, ECE {percent(error)} %",
        )
    axis.set_xlabel("confidence")
    axis.set_ylabel("accuracy")
    axis.set_title("reliability on test clips")
    _legend(axis)
    axis = axes[0, 1]
    rows = test.selective_accuracy
    axis.plot(
        [100 * row.coverage for row in rows],
        [100 * row.accuracy for row in rows],
        "o-",
        color=PALETTE[2],
        ms=3,
        lw=1,
    )
    axis.set_xlabel("clips judged, the surest first, %")
    axis.set_ylabel("accuracy, %")
    axis.set_title("if only sure clips are judged")
    return _svg(figure, "calibration")


def leakage(report: Leakage) -> str:
    """Balanced accuracy of every probe of identity and emotion, with chance and the floors."""
    figure, axes = _figure(2, 1, 4.4, 3.0)
    names = list(report.training_subjects)
    for axis, target in zip(axes[0], ("identity", "emotion"), strict=True):
        for place, name in enumerate(names):
            kinds = report.training_subjects[name].get(target, {})
            for number, (kind, probe) in enumerate(kinds.items()):
                middle = place + 0.25 * (number - (len(kinds) - 1) / 2)
                value = 100 * probe.balanced_accuracy
                bounds = [[value - 100 * probe.low], [100 * probe.high - value]]
                label = f"{kind} probe" if place == 0 else None
                axis.bar(middle, value, 0.22, color=PALETTE[number], label=label)
                axis.errorbar(middle, value, np.maximum(bounds, 0), color=_INK, lw=0.8)
                axis.plot(
                    [middle - 0.11, middle + 0.11],
                    [100 * probe.shuffled_floor] * 2,
                    color=PALETTE[1],
                    lw=1.5,
                    label="shuffled labels" if place == number == 0 else None,
                )
            untrained = report.untrained.get(name, {}).get(target, {}).get("linear")
            if untrained:
                axis.plot(
                    place,
                    100 * untrained.balanced_accuracy,
                    "D",
                    color=PALETTE[3],
                    ms=4,
                    label="untrained network" if place == 0 else None,
                )
            if kinds and place == 0:
                chance = 100 * next(iter(kinds.values())).chance
                axis.axhline(chance, color=_INK, lw=0.6, ls=":", label="chance")
        axis.set_xticks(range(len(names)), names)
        axis.set_ylim(0, 105)
        axis.set_title(f"{target} read from an embedding, %")
        if target == "emotion":
            _legend(axis, loc="center left", bbox_to_anchor=(1, 0.5))
    return _svg(figure, "leakage")


def projections(
    embeddings: Mapping[str, Float[np.ndarray, "N D"]],
    emotions: Shaped[np.ndarray, " N"],
    subjects: Shaped[np.ndarray, " N"],
    method: str,
    *,
    seed: int = 0,
) -> str:
    """Each embedding flattened to the plane: by emotion on the left, by subject on the right.

    `method` is one of PROJECTIONS: "PCA" keeps distances as far as two axes can, "t-SNE" (van der
    Maaten and Hinton 2008) keeps neighbours. Both standardised first.
    """
    names = list(embeddings)
    figure, axes = _figure(2, len(names), 3.6, 3.0)
    for row, name in enumerate(names):
        flat = project(embeddings[name], method, seed)
        for axis, labels, title in zip(
            axes[row], (emotions, subjects), ("emotion", "subject"), strict=True
        ):
            for number, label in enumerate(sorted(set(labels.tolist()))):
                chosen = flat[labels == label]
                colour = PALETTE[number % len(PALETTE)]
                marker = "ovs^D*"[number // len(PALETTE) % 6]
                axis.plot(*chosen.T, marker, color=colour, ms=4, mew=0, label=label)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_title(f"{name} by {title}")
            _legend(
                axis, loc="center left", bbox_to_anchor=(1, 0.5), ncols=1 + len(set(labels)) // 13
            )
    return _svg(figure, f"projection {method}")


def project(x: Float[np.ndarray, "N D"], method: str, seed: int) -> Float[np.ndarray, "N 2"]:
    """Two coordinates a clip; a collapsed embedding is one point."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    deviation = x.std(axis=0)
    if not (deviation > 1e-9).any():
        return np.zeros((len(x), 2))  # scikit-learn's t-SNE would divide by zero and crash
    scaled = (x - x.mean(axis=0)) / np.where(deviation > 1e-9, deviation, 1.0)
    if method == "PCA":
        return PCA(2, random_state=seed).fit_transform(scaled)
    perplexity = float(np.clip(len(x) / 5, 2, 30))
    return TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(scaled)


def subjects(by_subject: Mapping[str, float], chance: float) -> str:
    """UAR of every test subject, lowest first."""
    ordered = sorted(by_subject.items(), key=lambda item: item[1])
    figure, axes = _figure(1, 1, max(3.4, 0.28 * len(ordered) + 1.2), 2.6)
    axis = axes[0, 0]
    axis.bar([name for name, _ in ordered], [100 * value for _, value in ordered], color=PALETTE[0])
    axis.axhline(100 * chance, color=_INK, lw=0.6, ls=":")
    axis.set_title("UAR by subject, % (dotted: chance)")
    axis.tick_params(axis="x", rotation=90 if len(ordered) > 12 else 0)
    return _svg(figure, "subjects")


def face_attention(
    faces: Sequence[Image | None],
    maps: Sequence[Mapping[str, Float[np.ndarray, "h w"]]],
    titles: Sequence[str],
) -> str:
    """Coordinate attention over the middle frame of some clips; a column for every layer shown.

    Bright = let through. Without a face the map stands alone.
    """
    layers = list(maps[0])
    figure, axes = _figure(1 + len(layers), len(maps), 1.7, 1.9)
    for row, (face, of_layers, title) in enumerate(zip(faces, maps, titles, strict=True)):
        for axis in axes[row]:
            axis.set_xticks([])
            axis.set_yticks([])
        axes[row, 0].set_ylabel(title)
        side = max(value.shape[0] for value in of_layers.values()) if face is None else len(face)
        if face is not None:
            axes[row, 0].imshow(face)
        for axis, layer in zip(axes[row, 1:], layers, strict=True):
            extent = (0, side, side, 0)
            if face is not None:
                axis.imshow(face.mean(axis=2), cmap="gray", extent=extent)
            axis.imshow(
                of_layers[layer],
                cmap="magma",
                extent=extent,
                alpha=1.0 if face is None else 0.55,
                interpolation="bilinear",
            )
            if row == 0:
                axis.set_title(layer)
    return _svg(figure, "face attention")


def time_attention(
    sounds: Sequence[Float[np.ndarray, " samples"]],
    sample_rate: int,
    times: Sequence[Float[np.ndarray, " S"]],
    weights: Sequence[Float[np.ndarray, " S"]],
    titles: Sequence[str],
) -> str:
    """The waveform of some clips, and what each step counts in their embedding."""
    figure, axes = _figure(1, len(sounds), 6.4, 1.5)
    for axis, sound, when, weight, title in zip(
        axes[:, 0], sounds, times, weights, titles, strict=True
    ):
        step = max(1, len(sound) // 1200)
        blocks = sound[: len(sound) // step * step].reshape(-1, step)
        seconds = np.arange(len(blocks)) * step / sample_rate
        if len(blocks):
            axis.fill_between(seconds, blocks.min(1), blocks.max(1), color=PALETTE[7], lw=0)
        axis.set_yticks([])
        axis.set_title(title)
        beside = axis.twinx()
        _ink(beside)
        width = 0.8 * (when[1] - when[0]) if len(when) > 1 else 0.2
        beside.bar(when, 100 * weight, width, color=PALETTE[1], alpha=0.65)
        beside.set_ylabel("weight, %")
    axes[-1, 0].set_xlabel("seconds")
    return _svg(figure, "time attention")


def forest(rows: Mapping[str, Estimate], title: str, chance: float | None = None) -> str:
    """Estimates (shares) with their intervals, one line each."""
    figure, axes = _figure(1, 1, 5.6, 0.7 + 0.32 * len(rows))
    axis = axes[0, 0]
    for place, found in enumerate(rows.values()):
        if found.low is not None and found.high is not None:
            axis.plot([100 * found.low, 100 * found.high], [place] * 2, color=PALETTE[0], lw=2)
        axis.plot(100 * found.value, place, "o", color=PALETTE[1], ms=5)
    if chance is not None:
        axis.axvline(100 * chance, color=_INK, lw=0.6, ls=":")
    axis.set_yticks(range(len(rows)), list(rows))
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_title(title)
    return _svg(figure, f"forest {title}")


def trade_off(points: Mapping[str, tuple[float, float]], chance: float) -> str:
    """UAR against identity read from z_e: up and to the left is better."""
    figure, axes = _figure(1, 1, 5.0, 3.4)
    axis = axes[0, 0]
    for number, (name, (identity, uar)) in enumerate(points.items()):
        colour, marker = PALETTE[number % len(PALETTE)], "os^DvP*X"[number // len(PALETTE) % 8]
        axis.plot(100 * identity, 100 * uar, marker, color=colour, ms=7, label=name)
    axis.axhline(100 * chance, color=_INK, lw=0.6, ls=":")
    axis.set_xlabel("identity a linear probe reads from z_e, %")
    axis.set_ylabel("UAR, %")
    _legend(axis, loc="center left", bbox_to_anchor=(1, 0.5))
    return _svg(figure, "trade-off")
