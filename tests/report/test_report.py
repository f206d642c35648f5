"""The page of a run and of a cross-validation: whole, escaped, and asking for nothing."""

import csv
import json
import re
import struct
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import matplotlib as mpl
import matplotlib.text
import numpy as np
import pytest
from support.crossval_runs import write_finished
from support.made_results import EMOTIONS, made_enrolment, made_results, with_test

from jax_avemo import config as settings
from jax_avemo.crossval import crossval_record, runner
from jax_avemo.evaluation.predictions import ClipPrediction
from jax_avemo.evaluation.results import Condition, PairedDifference, Results, write_results
from jax_avemo.report import attention_maps, figures, html, run_page
from jax_avemo.report.attention_figures import face_attention, time_attention
from jax_avemo.report.attention_maps import Looked
from jax_avemo.report.tensorboard import write_tensorboard
from jax_avemo.report.write import write_report
from jax_avemo.runtime.errors import UserError

EVIL = '<script>alert("x")</script>'


def hostile_results() -> Results:
    people = {"01": 0.4, EVIL: 0.6}
    results = made_results(name=f"run {EVIL}", config={"name": EVIL, "train.epochs": 2})
    return replace(
        with_test(results, uar_by_subject=people),
        split=replace(results.split, test_subjects=tuple(people)),
    )


def made_log() -> list[dict]:
    trained = [
        {"step": step, "kind": "train", "loss/emotion": 2 / step, "weight/emotion": 1.0}
        for step in (1, 2, 3)
    ]
    return [*trained, {"step": 3, "kind": "validation", "uar": 0.5}]


def made_embeddings() -> dict:
    rng = np.random.default_rng(1)
    count = 24
    return {
        "z": rng.normal(size=(count, 4)),
        "z_e": np.zeros((count, 4)),  # collapsed: still a picture
        "key": np.array([str(n) for n in range(count)]),
        "subject": np.array(["01", EVIL])[np.arange(count) % 2],
        "emotion": np.array(EMOTIONS)[np.arange(count) // 2 % 2],
        "part": np.array(["test"] * 20 + ["train"] * 4),
    }


def made_looked(face: bool) -> list[Looked]:
    return [
        Looked(
            title=f"{EVIL}, predicted sad (50 %)",
            face=np.full((16, 16, 3), 99, np.uint8) if face else None,
            maps={"layer1": np.eye(4, dtype=np.float32)},
            sound=np.sin(np.arange(3000) / 9).astype(np.float32),
            times=np.array([0.1, 0.2], np.float32),
            weights=np.array([0.3, 0.7], np.float32),
        )
    ] * 2


@pytest.fixture(scope="module")
def page():
    conditions = {
        "clean": Condition(0.5, (0.4, 0.6)),
        "dark": Condition(0.4, None, PairedDifference(-0.1, -0.2, 0.0, 0.5)),
    }
    wrong = ClipPrediction(f"{EVIL}.mp4", EVIL, "", "sad", "happy", (0.97, 0.03))
    right = ClipPrediction("a.mp4", "01", "", "sad", "sad", (0.01, 0.99))
    files = run_page.RunFiles(made_log(), (right, wrong), made_embeddings(), conditions)
    return run_page.run_page(hostile_results(), files, made_looked(True), f"runs/{EVIL}")


class _Reader(HTMLParser):
    """Tags left open, and everything a browser would fetch."""

    def __init__(self):
        super().__init__()
        self.open, self.fetched, self.tags = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)
        for name, value in attributes:
            if name.split(":")[-1] in ("src", "href", "data", "action", "poster") and not (
                value.startswith(("#", "data:"))
            ):
                self.fetched.append(value)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def assert_whole(text: str) -> None:
    reader = _Reader()
    reader.feed(text)
    assert reader.open == []
    assert reader.fetched == []
    assert not {"script", "link", "iframe", "img"} & set(reader.tags)
    assert "url(http" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text
    ids = re.findall(r'\sid="([^"]+)"', text)
    places = [name for name in ids if name.startswith("s") and name[1:].isdigit()]
    assert len(places) == len(set(places)) > 3


def test_the_page_of_a_run_is_whole_and_asks_for_nothing(page):
    assert_whole(page)
    for heading in (
        "Every emotion",
        "Worst mistakes",
        "Training",
        "Calibration",
        "Identity leakage",
        "Embeddings",
    ):
        assert f">{heading}</h2>" in page
    for word in ("Attention", "Degraded input", "Synthetic actors", "viewport", "color-scheme"):
        assert word in page
    assert page.count("<svg") >= 10


def test_names_of_the_corpus_cannot_become_markup(page):
    assert EVIL not in page
    assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;" in page


def test_every_picture_is_an_svg_with_the_pages_ink():
    drawn = figures.as_svg(figures.confusion([[3, 1], [0, 0]], ["happy", EVIL], "recall"))
    tree = ElementTree.fromstring(drawn)
    assert tree.tag.endswith("svg")
    assert "currentColor" in drawn
    assert "#0a0b0c" not in drawn
    assert "<metadata" not in drawn
    assert 'width="' not in drawn.split(">")[0]


def test_the_same_data_give_the_same_picture():
    one, two = ([figures.as_svg(p) for p in figures.training(made_log(), 3)] for _ in range(2))
    assert one == two


@pytest.mark.parametrize("method", figures.PROJECTIONS)
def test_a_projection_keeps_clusters_apart(method):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(20, 8)), 9 + rng.normal(size=(20, 8))])
    flat = figures.project(x, method, 0)
    assert flat.shape == (40, 2)
    between = np.linalg.norm(flat[:20].mean(0) - flat[20:].mean(0))
    within = max(
        np.linalg.norm(part - part.mean(0), axis=1).mean() for part in (flat[:20], flat[20:])
    )
    assert between > 2 * within


def test_the_surest_clips_of_different_emotions_are_looked_at():
    def line(key, emotion, predicted, sure):
        return ClipPrediction(key, "1", "", emotion, predicted, (sure, 1 - sure))

    lines = [
        line("a", "happy", "happy", 0.9),
        line("b", "happy", "happy", 0.8),
        line("c", "sad", "sad", 0.7),
        line("d", "sad", "happy", 0.6),
    ]
    assert [found.key for found in attention_maps.choose(lines)] == ["a", "c", "d"]


def test_attention_maps_are_the_product_of_rows_and_columns():
    rows, columns = np.ones((6, 2, 3)), np.ones((6, 4, 3))
    rows[:, 1], columns[:, 0] = 0.5, 0.25
    sown = {
        "video_network": {
            f"layer{stage}_{block}": {
                "coordinate_attention": {
                    "height_attention": (rows * (1 if block == 10 else 0),),
                    "width_attention": (columns,),
                }
            }
            for stage, block in ((1, 2), (1, 10), (2, 10))
        }
    }
    maps = attention_maps._attention_maps(sown, frames=3)
    assert set(maps) == {"layer1", "layer2"}
    assert maps["layer1"].shape == (2, 3, 2, 4)
    np.testing.assert_allclose(maps["layer1"][0, 0], [[0.25, 1, 1, 1], [0.125, 0.5, 0.5, 0.5]])
    assert attention_maps._attention_maps({}, frames=3) == {}


def test_without_faces_the_maps_stand_alone():
    drawn = run_page._attention(made_looked(False))
    assert drawn.count("<svg") == 4


def write_run(folder):
    folder.mkdir()
    write_results(folder / "results.json", hostile_results())
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, made_log())))
    np.savez(folder / "embeddings.npz", **made_embeddings())
    return folder


def test_a_run_directory_becomes_one_file(tmp_path):
    run = write_run(tmp_path / "run")
    path = write_report(run, attention=False)
    assert path == run / "report.html"
    text = path.read_text()
    assert_whole(text)
    assert ">Attention</h2>" not in text


def test_a_cross_validation_becomes_one_file(tmp_path):
    configs = [settings.make_config(name, "tiny") for name in ("ours", "theirs")]
    settings.set_field(configs[1], "model.decouple", False)
    cells = runner.make_cells(configs, folds=2, seeds=2, workdir=tmp_path)
    for cell in cells:
        write_finished(cell, 0.9 if cell.config.name == "ours" else 0.5)
    crossval_record.write_crossval(cells, tmp_path, f"avemo crossval {EVIL}")
    text = write_report(tmp_path).read_text()
    assert_whole(text)
    assert EVIL not in text
    for word in ("ours - theirs", "model.decouple", "avemo crossval", "Leakage", "Confusions"):
        assert word in text


def test_pairs_without_the_first_experiment_are_folded(tmp_path):
    configs = [settings.make_config(name, "tiny") for name in ("ours", "theirs", "others")]
    cells = runner.make_cells(configs, folds=2, seeds=1, workdir=tmp_path)
    for cell in cells:
        write_finished(cell, 0.7)
    crossval_record.write_crossval(cells, tmp_path, "avemo crossval")
    shown, folded = write_report(tmp_path).read_text().split("the other pairs (1)")
    assert "ours - theirs" in shown
    assert "ours - others" in shown
    assert "theirs - others" in folded


def test_nothing_to_report_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no results.json and no crossval.json"):
        write_report(tmp_path)
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        write_report(tmp_path)
    (tmp_path / "results.json").write_text(json.dumps({"schema_version": 1}))
    with pytest.raises(UserError, match="another version"):
        write_report(tmp_path)


def test_a_table_escapes_and_scrolls():
    drawn = html.table(("a", "b"), [(EVIL, 3)], EVIL)
    assert EVIL not in drawn
    assert drawn.startswith('<div class="wide">')


def test_the_first_screen_has_uar_chance_confusion_and_subjects(page):
    first, rest = page.split("<nav>")
    assert "UAR 71.9 % <small>62.5 to 81.2 (95 %, over subjects); chance 50.0 %" in first
    assert first.count("<svg") == 2
    assert "Worst quarter" in first
    assert "Training losses" in rest


def test_the_worst_mistake_is_the_most_confident_wrong_clip(page):
    section = page.split(">Worst mistakes</h2>")[1].split("<section>")[0]
    assert "The most confident of 1 wrong predictions of 2 clips." in section
    assert ">97</td>" in section
    assert "a.mp4" not in section


def test_enrolment_is_shown_over_the_number_of_clips(page):
    assert ">Enrolment</h2>" not in page
    drawn = run_page._enrolment(made_results(enrolment=made_enrolment()))
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", drawn)
    assert cells[:6] == [
        "1",
        "75.0 (65.0 to 85.0)",
        "+5.0 (-1.0 to +11.0)",
        "0.062",
        "60.0",
        "40.0",
    ]
    assert [cells[6], *cells[9:]] == ["8", "0.062", "-", "-"]
    assert drawn.count("<svg") == 1


def test_every_emotion_has_recall_and_precision_in_one_order():
    results = replace(made_results(), emotions=("sad", "happy"))  # as some corpus lists them
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", run_page._emotions(results))
    assert cells == ["happy", "62.5", "71.4", "8", "sad", "75.0", "66.7", "8"]
    matrix, order = figures.reordered([[6, 2], [3, 5]], ("sad", "happy"))
    assert (matrix, order) == ([[5, 3], [2, 6]], ("happy", "sad"))


def texts_and_lines(panel):
    axes = panel.figure.axes
    sizes = {text.get_fontsize() for axis in axes for text in axis.findobj(mpl.text.Text)}
    sizes |= {text.get_fontsize() for legend in panel.figure.legends for text in legend.texts}
    return sizes, [line for axis in axes for line in axis.lines]


def test_text_in_figures_has_at_least_ten_points_and_panels_fit_a_phone():
    results = made_results()
    panels = [
        figures.confusion(results.test.confusion, results.emotions),
        figures.subjects(results.test.uar_by_subject, 0.5),
        figures.estimates(results.test.estimates, "x"),
        figures.trade_off({"a": (0.1, 0.2)}, 0.1),
        *figures.training(made_log(), 3),
        *figures.calibration(results.calibration.test),
        *figures.leakage(results.leakage.unseen),
        *(make(made_looked(True)[0]) for make in (face_attention, time_attention)),
    ]
    for panel in panels:
        assert min(texts_and_lines(panel)[0]) >= 10, panel.title
        assert panel.figure.get_figwidth() <= 4.4
        assert "min-width" not in figures.as_svg(panel)


def test_a_subject_at_zero_and_shuffled_labels_are_drawn():
    dots = [
        line
        for line in texts_and_lines(figures.subjects({"a": 0.0, "b": 0.5}, 0.25))[1]
        if line.get_marker() == "o"
    ]
    assert [line.get_xdata()[0] for line in dots] == [50.0, 0.0]
    panel = figures.leakage(made_results().leakage.unseen)[0]
    axis = panel.figure.axes[0]
    assert axis.get_xlim()[0] < 0
    floors = [line for line in axis.lines if line.get_marker() == "x"]
    assert [line.get_xdata()[0] for line in floors] == [30.0, 30.0, 30.0]
    labels = [text.get_text() for legend in panel.figure.legends for text in legend.texts]
    assert {"linear", "mlp", "shuffled labels", "chance"} <= set(labels)


def test_the_chosen_step_is_marked_in_every_curve():
    for panel in figures.training(made_log(), 2):
        marks = [line for line in texts_and_lines(panel)[1] if line.get_linestyle() == "--"]
        assert [list(line.get_xdata()) for line in marks] == [[2, 2]], panel.title


def test_smoothing_keeps_a_line_and_takes_noise():
    line = np.linspace(3.0, 1.0, 50)
    np.testing.assert_allclose(figures.smoothed(line.tolist()), line, atol=1e-12)
    noise = np.random.default_rng(0).normal(size=400)
    assert figures.smoothed(noise.tolist()).std() < 0.3 * noise.std()
    assert figures.smoothed([2.0]) == [2.0]


def test_without_the_clips_the_report_says_why(tmp_path, capsys):
    run = write_run(tmp_path / "run")  # it has no checkpoint and no clips
    text = write_report(run).read_text()
    assert_whole(text)
    assert "The network was not run on its clips: " in text
    said = capsys.readouterr().err
    assert "no attention in the report" in said
    assert "13/13 sections" in said


def test_confusion_and_curves_stand_beside_the_page_too(tmp_path):
    run = write_run(tmp_path / "run")
    write_report(run, attention=False)
    rows = list(csv.reader((run / "report-confusion.csv").read_text().splitlines()))
    assert rows == [["true \\ predicted", "happy", "sad"], ["happy", "6", "2"], ["sad", "3", "5"]]
    curves = list(csv.DictReader((run / "report-curves.csv").read_text().splitlines()))
    assert [line["uar"] for line in curves if line["kind"] == "validation"] == ["0.5"]
    for name in ("confusion", "losses", "weights", "validation"):
        picture = cv2.imread(str(run / f"report-{name}.png"))
        assert picture.shape[1] == 880
        assert (picture[0, 0] == 255).all()


def test_the_log_becomes_tensorboard_events(tmp_path):
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    run = write_run(tmp_path / "run")
    for _ in range(2):  # a second time replaces the first
        folder = write_tensorboard(run)
    (events,) = folder.iterdir()
    data, found = events.read_bytes(), {}
    while data:  # TFRecord: length, its checksum, message, its checksum
        (length,) = struct.unpack("<Q", data[:8])
        event = event_pb2.Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]
        for value in event.summary.value:
            found[value.tag, event.step] = value.simple_value
    assert found["validation/uar", 3] == 0.5
    assert found["train/loss/emotion", 2] == 1.0


def test_a_damaged_log_is_one_line(tmp_path):
    run = write_run(tmp_path / "run")
    (run / "metrics.jsonl").write_text('{"step": 1')
    with pytest.raises(UserError, match=r"metrics\.jsonl is damaged"):
        write_report(run, attention=False)
