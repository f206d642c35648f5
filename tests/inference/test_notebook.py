"""What a notebook shows of a prediction."""

import sys

import numpy as np
import pytest
from support.predictions import film, window

from jax_avemo.runtime.errors import UserError


@pytest.fixture
def said():
    return film(
        window(0, 1, "happy"),
        window(1, 1, "happy"),
        window(2, 1, "sad"),
        window(3, None, None),
        duration=6.0,
    )


def test_repr_says_what_leads(said):
    text = repr(said)
    assert "6.0 s" in text
    assert "face 1 happy in 67 % of 3 windows" in text
    assert "not for real people" in text
    assert "unknown" in repr(film(window(0, None, None), duration=3.0))


def test_html_is_escaped(said):
    text = said._repr_html_()
    assert "a &quot;film&quot; &amp; &lt;more&gt;.mp4" in text
    assert "<td>happy</td><td>67 %</td><td>3</td>" in text
    assert "not for real people" in text
    assert "<more>" not in text


def test_a_data_frame_has_the_columns_of_the_csv(said, monkeypatch):
    made = {}

    class Pandas:
        @staticmethod
        def DataFrame(rows, columns):  # noqa: N802
            made.update(rows=rows, columns=columns)
            return made

    monkeypatch.setitem(sys.modules, "pandas", Pandas)
    assert said.to_dataframe() is made
    assert made["columns"] == said.to_csv().splitlines()[0].split(",")
    first = dict(zip(made["columns"], made["rows"][0], strict=True))
    assert (first["face"], first["emotion"], first["p_happy"], first["left"]) == (
        1,
        "happy",
        0.7,
        0.1,
    )
    assert dict(zip(made["columns"], made["rows"][3], strict=True))["p_happy"] is None
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserError, match=r"jax_avemo\[notebook\]"):
        said.to_dataframe()


def test_plot_has_a_line_an_emotion_and_a_gap_where_unknown(said, monkeypatch):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from matplotlib import pyplot

    (axes,) = said.plot()
    lines = axes.get_lines()
    assert [line.get_label() for line in lines] == ["calm", "happy", "sad"]
    np.testing.assert_allclose(lines[1].get_ydata(), [70, 70, 15])
    assert "not for real people" in axes.figure.get_suptitle()
    pyplot.close(axes.figure)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError, match=r"jax_avemo\[report\]"):
        said.plot()
