import importlib.util
import json
import re
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from support.crossval_runs import write_finished
from support.made_results import EMOTIONS, made_attacks, made_predictions

from jax_avemo import config as settings
from jax_avemo.crossval import crossval_record, runner
from jax_avemo.evaluation.results import BalancedLeakage
from jax_avemo.runtime.records import write_record
from jax_avemo.synthetic.corpus import clip_name
from jax_avemo.synthetic.plan import emotion_counts, favoured_emotions, plan_corpus

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(ROOT / "scripts/experiments"))  # as it is when the script is run
    spec = importlib.util.spec_from_file_location(
        "evidence", ROOT / "scripts/experiments/evidence.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(str(ROOT / "scripts/experiments"))
    return module


@pytest.fixture(scope="module")
def tables(script):
    return sys.modules["evidence_tables"]


def test_the_pages_tables_are_the_records(script, tables):
    page = tables.PAGE.read_text()
    assert script.filled(page, script.RECORDS) == page


def test_every_experiment_it_names_exists(script):
    specs = {*script.headline_specs(script.STRONGEST, "tiny"), *script.confound_specs("tiny")}
    for group in ("decoupling", "network", "baselines"):
        specs |= set(script.exploratory_specs(group, "tiny"))
    names = [settings.load_config(spec).name for spec in specs]
    assert len(set(names)) == len(names)
    everything = {"decoupled", *script.names_in("baselines", "BASELINES")}
    assert set(names) == everything | set(script.names_in("ablations", "ABLATIONS"))


def test_a_command_names_no_place_of_the_machine(script):
    given = ["confound", "--home", "/here", "--seeds", "1", "--records", "/there", "--name", "x"]
    command = "python scripts/experiments/evidence.py confound --seeds 1 --name x"
    assert script.command_of(given) == command


def test_new_takes_are_balanced_and_nobody_has_seen_them(script):
    actors, seed = 8, 3
    counts = emotion_counts(actors, 1, seed, script.NEW_TAKES)
    np.testing.assert_array_equal(counts, 2)
    from jax_avemo.synthetic.corpus import _take_of

    for confound in (0.0, 0.3, 0.9):
        trained = {
            json.dumps(asdict(_take_of(planned, seed, confound)), sort_keys=True)
            for planned in plan_corpus(actors, 2, seed, confound)
        }
        fresh = {
            json.dumps(asdict(_take_of(planned, seed, script.NEW_TAKES)), sort_keys=True)
            for planned in plan_corpus(actors, 1, seed, script.NEW_TAKES)
        }
        assert len(fresh) == 16 * actors
        assert not trained & fresh
    assert clip_name(plan_corpus(4, 1, seed, script.NEW_TAKES)[0], seed, script.NEW_TAKES)


@pytest.mark.parametrize(
    ("takes", "asked", "found"),
    [(2, 0.0, 0.0), (2, 0.3, 0.3), (2, 0.6, 0.6), (2, 0.9, 0.75), (5, 0.9, 0.9)],
)
def test_the_realised_confound_is_told(script, takes, asked, found):
    assert script.realised(24, takes, 0, asked) == pytest.approx(found, abs=0.05)


@pytest.mark.parametrize("confound", [0.3, 0.6, 0.9])
def test_a_confounded_corpus_ties_emotions_and_stays_balanced(confound):
    counts = emotion_counts(24, 2, 5, confound)
    favoured = favoured_emotions(24, 5)
    assert counts.min() >= 1
    assert (counts.sum(axis=1) == 32).all()
    assert (counts.sum(axis=0) == 96).all()
    assert (np.bincount(favoured.ravel(), minlength=8) >= 3).all()
    for actor in range(24):
        assert counts[actor, favoured[actor]].min() >= counts[actor].max() * 0.999


def made_confound_record(script, tables):
    rows = []
    for confound in (0.0, 0.9):
        tests = {
            name: {
                (0, seed): script.BalancedTest(
                    made_predictions(accuracy, seed=seed),
                    made_predictions(accuracy, seed=seed + 10),
                    BalancedLeakage(made_attacks(0.4, 0.3), None),
                )
                for seed in range(2)
            }
            for name, accuracy in (("decoupled", 0.9), ("fusion_only", 0.6))
        }
        rows += script.confound_rows(confound, confound, tests, EMOTIONS)
    return tables.ConfoundRecord(
        command="python scripts/experiments/evidence.py confound",
        corpus_seed=0,
        seeds=(0, 1),
        takes=2,
        rows=tuple(rows),
        **made_facts(),
    )


def made_facts() -> dict:
    return {
        "synthetic": True,
        "subject_independent": True,
        "corpus": "demo",
        "size": "tiny",
        "commits": ("0123",),
        "emotions": EMOTIONS,
        "versions": {},
        "hardware": "1 cpu",
    }


def test_the_confounds_rows_compare_ours_in_pairs(script, tables, tmp_path):
    record = made_confound_record(script, tables)
    ours, theirs = record.rows[:2]
    assert ours.unseen.ours_minus_this is None
    gap = theirs.unseen.ours_minus_this
    assert gap.difference == pytest.approx(ours.unseen.uar - theirs.unseen.uar)
    assert (theirs.unseen.identity.strongest, theirs.unseen.identity.value) == ("mlp", 0.4)
    assert theirs.same_people.identity is None
    write_record(tmp_path / "confound.json", record)
    assert tables.read_evidence("confound", tmp_path / "confound.json") == record
    drawn = tables.confound_table(record)
    assert drawn.count("\n| 0") == 4
    assert "same people, new takes" in drawn
    assert "Synthetic" in drawn
    assert "| 0.9 (0.90) | fusion_only |" in drawn


def test_the_confound_is_drawn_with_a_line_a_method(script, tables, tmp_path):
    figures = sys.modules["evidence_figures"]
    record = tables.read_evidence("confound", script.RECORDS / "confound.json")
    methods = {row.method for row in record.rows}
    assert len(figures.COLOURS) >= max(len(methods), len(script.METHODS) + 1)
    figures.draw_confound(record, tmp_path / "x.svg")
    drawn = (tmp_path / "x.svg").read_text()
    names = [method.replace("_", " ") for method in methods]
    for word in (*figures.PANELS.values(), *names, "synthetic"):
        assert word in drawn


def test_protocols_are_valid_and_their_table_says_which_is_leaky(script, tables):
    independent = []
    for changes in script.PROTOCOLS.values():
        config = settings.load_config("configs/decoupled.py:tiny", list(changes))
        independent.append(
            config.split.protocol == "subject_independent"
            and config.evaluate.selection_split != "test"
        )
    assert independent == [True, False, False]
    rows = tuple(
        tables.ProtocolRow(
            protocol=title,
            subject_independent=not changes,
            uar=0.5,
            uar_interval=(0.4, 0.6),
            subjects=4,
            clips=32,
        )
        for title, changes in script.PROTOCOLS.items()
    )
    record = tables.ProtocolsRecord(
        command="x", corpus_seed=0, seeds=(0,), rows=rows, **made_facts()
    )
    drawn = tables.protocols_table(record)
    assert drawn.count("leaky") == 2
    assert "| 50.0 (40.0 to 60.0) |" in drawn
    assert "Synthetic" in drawn


def test_records_fill_the_pages_and_only_their_places(script, tables, tmp_path):
    configs = [settings.make_config(name, "tiny") for name in ("decoupled", "cfn_sr")]
    cells = runner.make_cells(configs, folds=2, seeds=1, workdir=tmp_path / "cv")
    for cell in cells:
        write_finished(cell, 0.9 if cell.config.name == "decoupled" else 0.5)
    record = crossval_record.collect(cells, "python scripts/experiments/evidence.py headline")
    write_record(tmp_path / "headline.json", record)
    write_record(tmp_path / "confound.json", made_confound_record(script, tables))
    page = tables.PAGE.read_text()
    results = script.filled(page, tmp_path)
    assert "| 0.9 (0.90) | fusion_only |" in results
    assert re.search(r"<!-- network -->\nNot run yet.\n<!-- end network -->", results)
    gap = next(pair for pair in record.comparisons if pair.a == "decoupled")
    ahead = f"{100 * gap.metrics.uar.difference:+.1f} ("
    row = next(line for line in results.splitlines() if line.startswith("| cfn_sr |"))
    assert f"| {ahead}" in row
    prose = re.compile(r"(?s)<!-- (\w+) -->.*?<!-- end \1 -->")
    assert prose.sub("", results) == prose.sub("", page)
