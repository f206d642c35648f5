"""The table of the full size is its record's, and a row is what a run's files say."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.made_results import made_metrics, made_results

from jax_avemo import config as settings
from jax_avemo.evaluation.results import MetricsByPart, write_results

SCRIPTS = Path(__file__).parents[2] / "scripts/experiments"


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(SCRIPTS))  # as it is when the script is run
    import full_size

    return full_size


def test_the_pages_table_is_the_records(script):
    page = script.PAGE.read_text()
    assert script.filled(page) == page


def test_a_run_that_is_finished_is_read(script, tmp_path):
    config = settings.load_config(
        str(script.ROOT / "configs/decoupled.py:full"), script.RUNS["full"]
    )
    metrics = MetricsByPart(test=made_metrics(), validation_at_selection={"uar": 0.75})
    made = made_results(
        config=settings.to_dict(config), size="full", parameters=30_000_000, metrics=metrics
    )
    run = tmp_path / "full"
    run.mkdir()
    (run / "split.json").touch()
    os.utime(run / "split.json", (1000, 1000))
    write_results(run / "results.json", made)
    os.utime(run / "results.json", (1630, 1630))
    full = script.train("full", tmp_path)
    row = script.row(full, run, full)
    assert (row.size, row.frame_size, row.epochs, row.minutes) == ("full", 112, 24, 10.5)
    assert (row.uar, row.validation_uar, row.parameters) == (made.test.uar, 0.75, 30_000_000)
    assert row.full_minus_this is None
    worse = {name: uar - 0.25 for name, uar in made.test.uar_by_subject.items()}
    test = replace(made.test, uar_by_subject=worse)
    small = replace(made, metrics=replace(metrics, test=test))
    assert script.row(small, run, full).full_minus_this.difference == pytest.approx(0.25)
