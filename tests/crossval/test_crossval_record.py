import pytest
from support.crossval_runs import write_finished

from jax_avemo import config as settings
from jax_avemo.crossval import crossval_record, runner
from jax_avemo.crossval.leakage_record import IDENTITY_FLOOR, IDENTITY_IN_Z_E, Attack
from jax_avemo.runtime.errors import UserError


def finished(workdir, *, missing=(), only_folds=()):
    configs = [settings.make_config(name, "tiny") for name in ("ours", "theirs")]
    cells = runner.make_cells(configs, folds=2, seeds=2, workdir=workdir, only_folds=only_folds)
    for cell in cells:
        if cell.title not in missing:
            write_finished(cell, 0.95 if cell.config.name == "ours" else 0.4)
    return cells


def test_a_record_pools_the_folds_and_compares_the_pair(tmp_path):
    record = crossval_record.write_crossval(finished(tmp_path), tmp_path, "avemo crossval ...")
    assert record == crossval_record.read_crossval(tmp_path / "crossval.json")
    assert record.complete
    assert not record.exploratory
    assert record.synthetic
    assert record.subject_independent
    assert record.seeds == (0, 1)
    ours = record.experiments["ours"]
    assert ours.metrics.subjects == 4
    assert ours.metrics.clips == 32
    assert ours.parameters == 1234
    assert ours.training_seconds == 60
    assert ours.calibration.ece_before == pytest.approx(0.0567)
    assert ours.calibration.ece_after == pytest.approx(0.034)
    assert ours.config["split.folds"] == 2
    assert "split.fold" not in ours.config
    (pair,) = record.comparisons
    assert (pair.a, pair.b) == ("ours", "theirs")
    assert pair.metrics.uar.difference > 0.3
    leak = pair.attacked(IDENTITY_IN_Z_E)
    assert leak.difference == pytest.approx(0.55)
    assert leak.p_value == 2 / 2**4  # four people
    assert pair.attacked(IDENTITY_FLOOR).difference == 0
    assert pair.attacked(Attack("known", "z_e", "identity")) is None


def test_the_strongest_attacker_is_one_for_all_networks_and_people_are_the_unit(tmp_path):
    ours = crossval_record.collect(finished(tmp_path), "").experiments["ours"].leakage
    found = ours.of(IDENTITY_IN_Z_E)
    assert found.strongest == "mlp"
    assert found.by_subject == pytest.approx(dict.fromkeys(["00", "01", "10", "11"], 0.95))
    assert found.by_attacker == pytest.approx({"linear": 0.85, "mlp": 0.95})
    assert (found.chance, found.shuffled) == (0.5, pytest.approx(0.3))
    assert ours.of(IDENTITY_FLOOR).value == pytest.approx(0.35)  # mean of two seeds
    assert ours.above_floor.difference == pytest.approx(0.6)
    assert ours.above_floor.p_value == 2 / 2**4
    assert ours.of(Attack("unseen", "z_i", "emotion")).value == pytest.approx(0.55)
    assert IDENTITY_IN_Z_E.title == "unseen: identity from z_e"


def test_an_error_rate_is_a_figure_of_a_fold(tmp_path):
    ours = crossval_record.collect(finished(tmp_path), "").experiments["ours"].leakage
    found = ours.lowest_eer("z_e")
    assert (found.attacker, found.value) == ("cosine", pytest.approx(0.25))
    assert found.by_fold == pytest.approx({"0": 0.2, "1": 0.3})
    assert found.interval[0] < 0.2
    assert ours.lowest_eer("z_e", same_sex=True) is None


def test_the_table_names_what_it_is_and_how_sure(tmp_path):
    printed = crossval_record.crossval_table(crossval_record.collect(finished(tmp_path), ""))
    for word in ("SYNTHETIC", "2 of 2 folds", "ours", "theirs", "ours - theirs: +", "chance 50.0"):
        assert word in printed
    assert "exploratory" not in printed


def test_one_fold_of_several_is_marked_exploratory(tmp_path):
    record = crossval_record.collect(finished(tmp_path, only_folds=[1]), "")
    assert record.exploratory
    assert record.folds_run == (1,)
    assert "exploratory: not all folds" in crossval_record.crossval_table(record)


def test_what_is_finished_can_be_read_before_the_rest(tmp_path):
    cells = finished(tmp_path, missing=("theirs fold 1 seed 1",))
    record = crossval_record.collect(cells, "")
    assert not record.complete
    assert record.experiments["theirs"].metrics.seeds == (0,)
    assert record.comparisons[0].metrics.seeds == (0,)


def test_a_damaged_cell_is_one_line_that_names_it(tmp_path):
    cells = finished(tmp_path)
    (cells[0].run / "results.json").write_text("{")
    with pytest.raises(UserError, match=r"results\.json is damaged .*; give: avemo evaluate"):
        crossval_record.collect(cells, "")


def test_nothing_finished_is_said_in_one_line(tmp_path):
    configs = [settings.make_config("ours", "tiny")]
    cells = runner.make_cells(configs, folds=2, seeds=1, workdir=tmp_path)
    with pytest.raises(UserError, match="no cell is finished"):
        crossval_record.collect(cells, "")


def test_the_command_says_everything():
    assert crossval_record.command_of(
        ["a.py:x", "b.py"],
        folds=4,
        seeds=3,
        only_folds=[1],
        workdir="cv",
        overrides=["--config.data.demo_seed=101"],
    ) == (
        "avemo crossval --config=a.py:x --config=b.py --folds 4 --seeds 3 --only-fold 1 "
        "--workdir cv --config.data.demo_seed=101"
    )
