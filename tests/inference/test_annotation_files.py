"""What ELAN, Praat and Label Studio are given, read by parsers that are not ours."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from xml.etree import ElementTree

import pytest
from support.predictions import film, window

from jax_avemo.inference.annotation_files import Interval, tiers, to_elan


@pytest.fixture(scope="module")
def said():
    """Face 1 is happy, happy, then sad; unknown; a voice alone; the film ends after its windows."""
    return film(
        window(0, 1, "happy"),
        window(1, 1, "happy"),
        window(2, 1, "sad"),
        window(3, None, None),
        window(4, None, "calm"),
        duration=7.25,
    )


def test_a_moment_belongs_to_the_window_whose_middle_is_nearest(said):
    found = tiers(said)
    assert list(found) == ["face 1", "face 1, confidence", "sound", "sound, confidence", "note"]
    assert found["face 1"] == [Interval(0.0, 3.0, "happy"), Interval(3.0, 4.0, "sad")]
    assert [one.text for one in found["face 1, confidence"]] == ["0.70"] * 3
    assert found["sound"] == [Interval(5.0, 7.25, "calm")]
    ((start, end, text),) = found["note"]
    assert (start, end) == (0.0, 7.25)
    assert "not for real people" in text


def test_a_face_that_is_gone_for_a_while_has_two_intervals():
    back = film(window(0, 1, "happy"), window(3, 2, "sad"), window(6, 1, "happy"), duration=9.0)
    assert [(one.start, one.end) for one in tiers(back)["face 1"]] == [(0.0, 3.0), (6.0, 9.0)]


def test_windows_that_meet_at_a_cut_are_parted_there():
    short = replace(window(0, 1, "happy"), end=1.0)
    cut = film(short, replace(window(1, 2, "sad"), end=4.0), duration=4.0)
    assert tiers(cut)["face 1"] == [Interval(0.0, 1.0, "happy")]
    assert tiers(cut)["face 2"] == [Interval(1.0, 4.0, "sad")]


def test_elan_reads_tiers_times_and_the_film_beside_it(said):
    date = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    root = ElementTree.fromstring(to_elan(said, "../films/a b.mp4", date))
    assert root.tag == "ANNOTATION_DOCUMENT"
    assert root.attrib["DATE"] == "2026-01-02T03:04:05+00:00"
    # In the order that the schema asks for.
    kinds = [child.tag for child in root]
    assert kinds == ["HEADER", "TIME_ORDER", *["TIER"] * 5, "LINGUISTIC_TYPE"]
    media = root.find("HEADER/MEDIA_DESCRIPTOR").attrib
    assert media["RELATIVE_MEDIA_URL"] == "../films/a%20b.mp4"
    assert media["MIME_TYPE"] == "video/mp4"
    times = {
        slot.attrib["TIME_SLOT_ID"]: int(slot.attrib["TIME_VALUE"])
        for slot in root.iter("TIME_SLOT")
    }
    (tier,) = [tier for tier in root.iter("TIER") if tier.attrib["TIER_ID"] == "face 1"]
    found = [
        (
            times[one.attrib["TIME_SLOT_REF1"]],
            times[one.attrib["TIME_SLOT_REF2"]],
            one.findtext("ANNOTATION_VALUE"),
        )
        for one in tier.iter("ALIGNABLE_ANNOTATION")
    ]
    assert found == [(0, 3000, "happy"), (3000, 4000, "sad")]
    assert "not for real people" in root.findtext("HEADER/PROPERTY")


def test_a_name_cannot_become_markup(said):
    assert "<more>" not in said.to_elan()
    media = ElementTree.fromstring(said.to_elan()).find("HEADER/MEDIA_DESCRIPTOR").attrib
    assert media["RELATIVE_MEDIA_URL"] == "./a%20%22film%22%20%26%20%3Cmore%3E.mp4"


def test_the_textgrid_has_no_gap_and_reaches_the_end_of_the_file(said):
    text = said.to_textgrid()
    assert text.startswith('File type = "ooTextFile"\nObject class = "TextGrid"\n')
    assert "\nxmax = 7.25\n" in text
    items = re.split(r"    item \[\d+\]:\n", text)[1:]
    assert len(items) == 5
    for item in items:
        assert int(re.search(r"intervals: size = (\d+)", item)[1]) == item.count("intervals [")
        pattern = r"            xmin = (\S+)\n            xmax = (\S+)\n            text = (.*)\n"
        intervals = re.findall(pattern, item)
        assert float(intervals[0][0]) == 0.0
        assert float(intervals[-1][1]) == 7.25
        for before, after in zip(intervals, intervals[1:], strict=False):
            assert before[1] == after[0]
    assert [one[2] for one in re.findall(pattern, items[0])] == ['"happy"', '"sad"', '""']


def test_label_studio_gets_one_task_with_regions_in_seconds(said):
    (task,) = said.to_label_studio("film.mp4")
    assert task["data"]["media"] == "film.mp4"
    assert "not for real people" in task["data"]["warning"]
    (prediction,) = task["predictions"]
    assert prediction["score"] == pytest.approx(0.7)
    results = prediction["result"]
    assert {one["type"] for one in results} == {"labels"}
    assert {(one["from_name"], one["to_name"]) for one in results} == {("emotion", "audio")}
    assert len({one["id"] for one in results}) == len(results)
    assert [
        (one["value"]["start"], one["value"]["end"], *one["value"]["labels"]) for one in results
    ] == [
        (0.0, 3.0, "happy"),
        (3.0, 4.0, "sad"),
        (5.0, 7.25, "calm"),
    ]
    assert [one["meta"]["text"] for one in results] == [["face 1"], ["face 1"], ["sound"]]
