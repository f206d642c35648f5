"""The results' file and how an estimate is written for people."""

import json

import pytest
from support.made_results import made_results

from jax_avemo.evaluation import tables
from jax_avemo.evaluation.metrics import recall_and_precision
from jax_avemo.evaluation.results import (
    Estimate,
    PairedDifference,
    RobustnessResults,
    read_results,
    read_results_of,
    write_results,
)
from jax_avemo.runtime.errors import UserError


def test_results_are_read_as_they_were_written(tmp_path):
    results = made_results()
    write_results(tmp_path / "results.json", results)
    assert read_results(tmp_path / "results.json") == results


def test_others_read_the_test_uar_as_a_number(tmp_path):
    write_results(tmp_path / "results.json", made_results())
    written = json.loads((tmp_path / "results.json").read_text())
    assert written["metrics"]["test"]["uar"] == 0.7188
    assert written["metrics"]["test"]["uar_interval"] == [0.625, 0.812]
    assert written["metrics"].keys() == {"test"}  # what was not evaluated is not there


@pytest.mark.parametrize("text", ["{", '{"schema_version": 2}', '{"schema_version": 3}'])
def test_damaged_and_old_results_say_how_to_make_them_again(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(UserError, match=rf"results\.json .*; give: avemo evaluate {tmp_path}"):
        read_results(tmp_path / "results.json")


def test_other_results_are_not_taken_for_these(tmp_path):
    write_results(tmp_path / "results.json", made_results())
    with pytest.raises(UserError, match="robustness is missing"):
        read_results_of(RobustnessResults, tmp_path / "results.json")


def test_an_estimate_is_written_with_its_interval():
    assert tables.with_interval(Estimate(0.5, 0.4, 0.625)) == "50.0 (40.0 to 62.5)"
    assert tables.with_interval(Estimate(0.5, 0.4, 0.625), 0) == "50 (40 to 62)"
    assert tables.with_interval(Estimate(0.5, None, None)) == "50.0 (one subject: no interval)"


def test_a_difference_is_written_with_its_sign():
    assert tables.with_interval(PairedDifference(0.05, -0.01, 0.1, 0.2)) == "+5.0 (-1.0 to +10.0)"


def test_small_p_values_are_not_written_as_nothing():
    assert tables.p_value(0.0312) == "0.031"
    assert tables.p_value(0.0002) == "< 0.001"


def test_recall_and_precision_of_every_class():
    found = recall_and_precision([[6, 2, 0], [3, 5, 0], [0, 0, 0]])
    assert found == [(6 / 8, 6 / 9), (5 / 8, 5 / 7), (None, None)]


def test_the_terminals_table_has_chance_and_marks():
    drawn = tables.results_table(made_results(subject_independent=False))
    assert "SYNTHETIC actors, NOT subject-independent" in drawn
    row = next(line for line in drawn.splitlines() if line.startswith("UAR"))
    assert row.split() == ["UAR", "71.9", "62.5", "to", "81.2", "50.0"]
    read = next(line for line in drawn.splitlines() if line.startswith("z_e"))
    assert read.split() == [
        "z_e",
        "61.2",
        "(mlp)",
        "30.0",
        "-",
        "32.1",
        "(plda)",
        "37.7",
        "(plda)",
        "-",
    ]
    assert "2 unseen subjects, 16 clips: chance 50.0." in drawn
    assert "Not measured: known subjects: too few." in drawn
