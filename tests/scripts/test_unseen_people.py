"""The tables of people never seen, from made-up cells: rows, pairs, and what a row needs."""

import dataclasses
import importlib.util
import sys
from pathlib import Path

import pytest
from support.crossval_runs import write_finished

from jax_avemo.crossval import crossval_record, runner
from jax_avemo.evaluation.results import Enrolled, PairedDifference, read_results, write_results
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.records import write_record

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(ROOT / "scripts/experiments"))
    path = ROOT / "scripts/experiments/unseen_people.py"
    spec = importlib.util.spec_from_file_location("unseen_people", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(str(ROOT / "scripts/experiments"))
    return module


def made_rows(script):
    return (
        script.Row(script.REFERENCE, "configs/ablations.py:fusion_only"),
        script.Row("centred", "configs/ablations.py:person_centred", curve="centred"),
        script.Row("8 enrolled", "configs/ablations.py:person_centred", (), 8, "centred"),
        script.Row("no dropout", "configs/ablations.py:fusion_only", ("model.dropout=0.0",)),
    )


def with_enrolment(run: Path, fold: int) -> None:
    """Eight clips enrolled: UAR 0.8 and 0.9 of the fold's two people."""
    results = read_results(run / "results.json")
    enrolled = Enrolled(
        clips=8,
        uar=0.85,
        uar_interval=None,
        uar_by_subject={f"{fold}0": 0.8, f"{fold}1": 0.9},
        minus_none=PairedDifference(0.0, None, None, 1.0),
        leakage=results.leakage.unseen,
    )
    write_results(run / "results.json", dataclasses.replace(results, enrolment=(enrolled,)))


@pytest.fixture
def record(script, tmp_path):
    rows = made_rows(script)
    configs = script.experiments_of(rows, "tiny", ("data.corpus=ravdess",))
    cells = runner.make_cells(list(configs.values()), folds=2, seeds=2, workdir=tmp_path)
    for cell in cells:
        centred = cell.config.name == "person_centred"
        write_finished(cell, 0.95 if centred else 0.5)
        if centred:
            with_enrolment(cell.run, cell.fold)
    names = {row.name: configs[row.config, row.overrides].name for row in rows}
    assert len(set(names.values())) == 3
    made = script.record_of(crossval_record.collect(cells, "command"), rows, names)
    return dataclasses.replace(made, corpus="ravdess")  # the cells are of the made-up corpus


def test_every_row_of_the_table_is_an_experiment(script):
    configs = script.experiments_of(script.ROWS, "cpu", ())
    names = [config.name for config in configs.values()]
    assert len(set(names)) == len(names)
    assert len({row.name for row in script.ROWS}) == len(script.ROWS)
    assert script.REFERENCE in {row.name for row in script.ROWS}


def test_every_row_is_paired_with_the_reference_by_person(record):
    reference, centred, enrolled, other = record.rows
    assert reference.minus_reference is None
    assert centred.minus_reference.difference == pytest.approx(centred.uar - reference.uar)
    assert other.minus_reference.difference == 0
    assert enrolled.uar == pytest.approx(0.85)
    assert enrolled.uar_by_subject.keys() == centred.uar_by_subject.keys()
    assert reference.above_floor.difference == pytest.approx(0.15)
    found = centred.above_floor_minus_reference
    gap = centred.above_floor.difference - reference.above_floor.difference
    assert found.difference == pytest.approx(gap)
    assert other.above_floor_minus_reference.difference == 0
    assert record.seeds == (0, 1)


def test_the_record_is_read_back_and_told_in_tables_and_a_figure(script, record, tmp_path):
    write_record(tmp_path / "voices.json", record)
    assert script.read_people(tmp_path / "voices.json") == record
    told = script.people_tables(record)
    assert told.count("\n| ") == 2 * len(record.rows) + 1  # and the second table's header
    assert "| 50.0 (mlp) | 35.0 (mlp) | +15.0 (" in told
    assert "RAVDESS speech, real" in told
    script.draw_curve(record, tmp_path / "x.svg")
    first = (tmp_path / "x.svg").read_text()
    assert "fusion alone" in first
    script.draw_curve(record, tmp_path / "x.svg")
    assert (tmp_path / "x.svg").read_text() == first


def test_a_row_without_its_figures_is_one_line(script, tmp_path):
    rows = (script.Row(script.REFERENCE, "configs/ablations.py:fusion_only", (), 4),)
    configs = script.experiments_of(rows, "tiny", ("data.corpus=ravdess",))
    cells = runner.make_cells(list(configs.values()), folds=2, seeds=1, workdir=tmp_path)
    for cell in cells:
        write_finished(cell, 0.5)
    found = crossval_record.collect(cells, "")
    with pytest.raises(UserError, match="no figures at 4 clips"):
        script.record_of(found, rows, {script.REFERENCE: cells[0].config.name})


def test_rows_that_are_not_run_are_kept(script, record, monkeypatch):
    monkeypatch.setattr(script, "ROWS", made_rows(script))
    old = dataclasses.replace(record, rows=record.rows[:2], commits=("a",), command="one")
    centred = dataclasses.replace(record.rows[1], uar=0.5)
    new = dataclasses.replace(
        record, rows=(record.rows[0], centred, record.rows[3]), commits=("b",), command="two"
    )
    both = script.merged(old, new)
    assert both.rows == (record.rows[0], centred, record.rows[3])
    assert (both.commits, both.command) == (("a", "b"), "one; two")
    with pytest.raises(UserError, match="seeds is"):
        script.merged(dataclasses.replace(old, seeds=(0, 1, 2)), new)
    other = dataclasses.replace(record.rows[0], uar_by_subject={})
    with pytest.raises(UserError, match="other figures"):
        script.merged(dataclasses.replace(old, rows=(other, *old.rows[1:])), new)


def test_a_record_names_no_place(script, monkeypatch):
    seen = []

    def stop(args, rows):
        assert tuple(rows) == script.ROWS
        seen.append(args.command_line)
        raise UserError("enough")

    monkeypatch.setattr(script, "run", stop)
    assert script.main(["--source", "/somewhere", "--only-fold", "3"]) != 0
    assert seen == [
        "python scripts/experiments/unseen_people.py --source PATH --size voice --folds 6 "
        "--seeds 3 --only-fold 3"
    ]


def test_the_page_is_the_record(script, record):
    page = script.PAGE.read_text()
    assert "| fusion alone |" in script.filled(page, "synthetic people", record)
    for path, mark in script.MARKS.items():
        if path.exists():
            assert script.filled(page, mark, script.read_people(path)) == page
        else:
            assert f"<!-- {mark} -->\nNot run yet.\n<!-- end {mark} -->" in page
    readme = script.README.read_text()
    assert "| fusion alone |" in script.filled_readme(readme, record)
    if script.RECORDS["ravdess"].exists():
        stored = script.read_people(script.RECORDS["ravdess"])
        assert script.filled_readme(readme, stored) == readme
