"""The figure of README: UAR over the confound, from configs/results/confound.json.

`python scripts/experiments/evidence.py docs` draws it to docs/assets/confound.svg.
"""

from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from evidence_tables import ConfoundRecord  # noqa: E402

COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#808a94", "#a6761d")
"""Okabe and Ito's palette, a grey and a brown."""
GREY = "#808a94"
"""Readable on white and on black."""
PANELS = {"same_people": "training actors, new takes", "unseen": "unseen actors"}


def figure_style(salt: str) -> AbstractContextManager[None]:
    """Settings of figures that pages show on white and on black; `salt` fixes their bytes."""
    return plt.rc_context(
        {
            "svg.hashsalt": salt,
            "svg.fonttype": "none",
            "font.family": "sans-serif",
            "font.size": 11,
            "text.color": GREY,
            "axes.labelcolor": GREY,
            "axes.edgecolor": GREY,
            "xtick.color": GREY,
            "ytick.color": GREY,
        }
    )


def draw_confound(record: ConfoundRecord, path: Path) -> None:
    """UAR with 95 % intervals over subjects, a line a method, a panel a test."""
    with figure_style("confound"):
        figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.3), sharey=True)
        for axis, (part, title) in zip(axes, PANELS.items(), strict=True):
            _draw_panel(axis, record, part)
            axis.set_title(title, color=GREY, fontsize=12)
            axis.set_xlabel("confound of emotion and actor")
            axis.spines[["top", "right"]].set_visible(False)
            axis.grid(axis="y", color=GREY, alpha=0.25)
        axes[0].set_ylabel("UAR, % (synthetic)")
        axes[0].legend(frameon=False, loc="lower left", fontsize=10)
        figure.tight_layout()
        figure.savefig(path, transparent=True, metadata={"Date": None})
        plt.close(figure)


def _draw_panel(axis: "plt.Axes", record: ConfoundRecord, part: str) -> None:
    methods = dict.fromkeys(row.method for row in record.rows)
    for number, (method, colour) in enumerate(zip(methods, COLOURS, strict=False)):
        rows = [row for row in record.rows if row.method == method]
        estimates = [getattr(row, part).estimate for row in rows]
        shifted = [row.confound + 0.012 * (number - (len(methods) - 1) / 2) for row in rows]
        values = [100 * found.value for found in estimates]
        below = [100 * (found.value - found.low) for found in estimates]
        above = [100 * (found.high - found.value) for found in estimates]
        axis.errorbar(
            shifted,
            values,
            yerr=(below, above),
            color=colour,
            label=method.replace("_", " "),
            marker="o",
            markersize=4,
            linewidth=2 if method == "decoupled" else 1.3,
            elinewidth=1,
            capsize=2,
        )
    axis.set_xticks(sorted({row.confound for row in record.rows}))
