"""Figures of attention: over the face, and over the steps of a clip."""

import numpy as np

from jax_avemo.report.attention_maps import Looked
from jax_avemo.report.figures import INK, SERIES, TEXT, WIDTH, Panel, ink, new_figure, new_panel
from jax_avemo.schema import AUDIO_SAMPLE_RATE

_COLUMNS = 3


def face_attention(clip: Looked) -> Panel:
    """Coordinate attention over the middle frame of a clip; a picture for every layer shown.

    Bright = let through. Without a face the maps stand alone.
    """
    face = clip.face
    count = len(clip.maps) + (face is not None)
    rows = -(-count // _COLUMNS)
    figure = new_figure(WIDTH, 0.7 + 1.65 * rows)
    figure.suptitle(clip.title, fontsize=TEXT + 1, color=INK)
    axes = list(figure.subplots(rows, _COLUMNS, squeeze=False).flat)
    side = max(value.shape[0] for value in clip.maps.values()) if face is None else len(face)
    extent = (0, side, side, 0)
    for axis in axes:
        ink(axis)
        axis.set_xticks([])
        axis.set_yticks([])
    for axis in axes[count:]:
        axis.set_axis_off()
    if face is not None:
        axes[0].imshow(face)
        axes[0].set_title("frame", fontsize=TEXT)
        axes = axes[1:]
    for axis, (layer, weights) in zip(axes, clip.maps.items(), strict=False):
        if face is not None:
            axis.imshow(face.mean(axis=2), cmap="gray", extent=extent)
        axis.imshow(
            weights,
            cmap="magma",
            extent=extent,
            alpha=1.0 if face is None else 0.55,
            interpolation="bilinear",
        )
        axis.set_title(layer, fontsize=TEXT)
    return Panel(figure, clip.title)


def time_attention(clip: Looked) -> Panel:
    """The waveform of a clip, and how much each step counts in its embedding."""
    assert clip.weights is not None
    panel, axis = new_panel(clip.title, 1.9)
    step = max(1, len(clip.sound) // 1200)
    blocks = clip.sound[: len(clip.sound) // step * step].reshape(-1, step)
    seconds = np.arange(len(blocks)) * step / AUDIO_SAMPLE_RATE
    if len(blocks):
        axis.fill_between(seconds, blocks.min(1), blocks.max(1), color=SERIES[7], lw=0)
    axis.set_yticks([])
    axis.set_xlabel("seconds")
    beside = axis.twinx()
    width = 0.8 * (clip.times[1] - clip.times[0]) if len(clip.times) > 1 else 0.2
    beside.bar(clip.times, 100 * clip.weights, width, color=SERIES[1], alpha=0.65)
    beside.set_ylabel("weight, %")
    ink(beside)
    return panel
