"""Predictions in a notebook: a summary as HTML, the timelines as a plot."""

from html import escape
from typing import Any

import numpy as np

from jax_avemo.inference.summary import summarise
from jax_avemo.inference.timeline import APPARENT, Prediction, timeline_name
from jax_avemo.palette import colours_of, in_order
from jax_avemo.runtime.errors import UserError


def to_html(prediction: Prediction) -> str:
    """The film in a small table: the leading emotion of every timeline, notes and warning."""
    rows = "".join(
        f"<tr><td>{escape(row.name)}</td><td>{escape(row.emotion or 'unknown')}</td>"
        f"<td>{100 * row.share:.0f} %</td><td>{row.windows}</td></tr>"
        for row in summarise(prediction)
    )
    warning = f"<p><strong>{escape(prediction.warning)}</strong></p>" if prediction.warning else ""
    notes = "".join(f"<li>{escape(note)}</li>" for note in prediction.notes)
    return (
        f"<div><p><code>{escape(prediction.source)}</code>, {prediction.duration:.1f} s: "
        f"{escape(APPARENT)}</p>{warning}<table><thead><tr><th>timeline</th><th>emotion</th>"
        f"<th>share</th><th>windows</th></tr></thead><tbody>{rows}</tbody></table>"
        f"<ul>{notes}</ul></div>"
    )


def plot(prediction: Prediction) -> Any:
    """Probabilities over time, one matplotlib axes a timeline; returns the array of axes.

    Raises:
      UserError: matplotlib is not installed.
    """
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise UserError("plot needs matplotlib: pip install 'jax_avemo[report]'") from error
    numbers: list[int | None] = [*(path.number for path in prediction.faces), None]
    shown = [n for n in numbers if any(w.emotion for w in prediction.of_face(n))] or numbers[:1]
    figure, axes = pyplot.subplots(
        len(shown),
        1,
        figsize=(9, 2.4 * len(shown) + 1.0),
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    colours = dict(zip(prediction.emotions, colours_of(prediction.emotions), strict=True))
    unknown = np.full(len(prediction.emotions), np.nan)
    for axis, number in zip(axes[:, 0], shown, strict=True):
        windows = prediction.of_face(number)
        middles = [(window.start + window.end) / 2 for window in windows]
        values = np.array(
            [unknown if w.probabilities is None else w.probabilities for w in windows]
        ).reshape(-1, len(prediction.emotions))
        for name in in_order(prediction.emotions):
            column = values[:, prediction.emotions.index(name)]
            axis.plot(middles, 100 * column, ".-", color=colours[name], label=name)
        axis.set(ylim=(0, 100), ylabel="%", title=timeline_name(number))
        axis.set_xlim(0, max(prediction.duration, 1e-3))
    axes[-1, 0].set_xlabel("seconds")
    lines, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(lines, names, ncols=4, fontsize=9, loc="outside lower center")
    title = prediction.source + (f"\n{prediction.warning}" if prediction.warning else "")
    figure.suptitle(title, fontsize=11)
    return axes[:, 0]
