"""The table of the learning rates is its record's: experiments down, rates across."""

import dataclasses
import sys
from pathlib import Path

import pytest
from support.made_results import made_results

from jax_avemo.evaluation.results import Facts

SCRIPTS = Path(__file__).parents[2] / "scripts/experiments"


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(SCRIPTS))  # as it is when the script is run
    import learning_rates

    return learning_rates


def test_the_pages_table_is_the_records(script):
    page = script.PAGE.read_text()
    assert script.filled(page) == page


def test_rates_stand_side_by_side_with_the_mean_over_folds(script):
    facts = made_results()
    made = script.LearningRateRecord(
        **{field.name: getattr(facts, field.name) for field in dataclasses.fields(Facts)},
        command=script.COMMAND,
        seeds=(0,),
        commits=("abc",),
        folds=6,
        folds_run=(0, 1),
        validation_subjects=8,
        rows=tuple(
            script.LearningRateRow(name="ours", learning_rate=rate, uar_by_fold=folds)
            for rate, folds in ((0.002, (0.5, 0.6)), (0.001, (0.25, 0.5)))
        ),
    )
    header, _, ours = script.table(made).splitlines()[:3]
    assert header.endswith("| 0.001 | 0.002 |")
    assert ours == "| ours | 37.5 | 55.0 |"
