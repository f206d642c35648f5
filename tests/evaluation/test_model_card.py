"""What a model card must say, and that names from a corpus cannot become markup in it."""

import copy

import pytest

from jax_avemo.evaluation.model_card import SYNTHETIC_WARNING, escaped, model_card, write_card

PROBE = {"balanced_accuracy": 0.612, "low": 0.5, "high": 0.7, "chance": 0.25}
RESULTS = {
    "name": "decoupled",
    "size": "cpu",
    "corpus": "demo",
    "synthetic": True,
    "corpus_seed": 7,
    "clips": "d9341b63cebd52e4",
    "honest": True,
    "selected_on": "validation",
    "split": {
        "protocol": "subject_independent",
        "fold": 1,
        "folds": 3,
        "seed": 0,
        "train_subjects": ["02", "03"],
        "validation_subjects": ["01"],
        "test_subjects": ["04", "05"],
        "clips": {"train": 27, "probe": 5, "validation": 16, "test": 16},
    },
    "seed": 0,
    "step": 40,
    "total_steps": 50,
    "parameters": 1_234_567,
    "emotions": ["calm", "angry"],
    "commit": "0123456789ab",
    "versions": {"jax_avemo": "0.1.0", "jax": "0.10.2"},
    "hardware": "1 cpu, 2 cores",
    "config": {"model.modalities": ["video", "audio"], "model.decouple": True},
    "metrics": {
        "test": {
            "clips": 16,
            "chance": 0.5,
            "uar": 0.7188,
            "uar_interval": [0.625, 0.812],
            "war": 0.75,
            "war_interval": [0.6, 0.9],
            "macro_f1": 0.7,
            "macro_f1_interval": [0.55, 0.85],
            "ece": 0.0567,
            "confusion": [[6, 2], [3, 5]],
            "uar_by_subject": {"04": 0.8, "05": 0.6},
            "uar_worst_quartile": 0.6,
            "uar_by_sex": {"female": 0.81, "male": 0.59},
        }
    },
    "calibration": {"test": {"ece_before": 0.0567, "ece_after": 0.034}},
    "leakage": {
        "training_subjects": {"z_e": {"identity": {"linear": PROBE}, "emotion": {}}},
        "unseen_subjects": {"z_e": {"cosine": {"equal_error_rate": 0.345}, "plda": None}},
    },
}


@pytest.fixture
def results():
    return copy.deepcopy(RESULTS)


def test_every_figure_stands_on_the_card_with_its_interval_and_chance(results):
    card = model_card(results)
    assert "| UAR | 71.9 | 62.5 to 81.2 | 50.0 |" in card
    assert "| WAR | 75.0 | 60.0 to 90.0 | 50.0 |" in card
    assert "| calm | 75.0 |" in card
    assert "| angry | 62.5 |" in card
    assert "from 60.0 (05) to 80.0 (04)" in card
    assert "female 81.0, male 59.0" in card
    assert "61.2 (50.0 to 70.0; chance 25.0)" in card
    assert "| 34.5 |" in card
    assert "worst quarter: 60.0" in card
    assert "27 + 5 kept for probes" in card
    assert "fold 1 of 3" in card
    assert "calibration error: 5.7, with the temperature fitted on validation clips 3.4." in card


def test_it_says_what_it_is_not_for(results):
    card = model_card(results)
    assert "Apparent emotion is not inner state" in card
    assert "consent" in card.lower()
    assert "forbid emotion recognition at work and at school" in card


def test_synthetic_is_said_only_where_true(results):
    assert SYNTHETIC_WARNING in model_card(results)
    results |= {"synthetic": False, "corpus": "ravdess", "corpus_seed": None}
    assert "ynthetic" not in model_card(results)


def test_a_protocol_that_is_not_honest_is_marked(results):
    assert "Not an honest protocol" not in model_card(results)
    results["honest"] = False
    card = model_card(results)
    assert "Not an honest protocol" in card
    assert "No test subject took part" not in card


def test_what_could_not_be_measured_is_said(results):
    results["leakage"]["unseen_subjects"]["z_e"]["cosine"]["equal_error_rate"] = None
    results["metrics"]["test"]["confusion"][0] = [0, 0]
    results["metrics"]["test"]["uar_by_sex"] = {}
    card = model_card(results)
    assert "| `z_e` | 61.2 (50.0 to 70.0; chance 25.0) | not measurable | - |" in card
    assert "| calm | no clip |" in card
    assert "By sex" not in card


def test_names_cannot_become_markup(results):
    hostile = "<script>alert(1)</script>\n# head | [x](http://y) `z`"
    results["split"]["test_subjects"][0] = hostile
    results["metrics"]["test"]["uar_by_subject"] = {hostile: 0.5}
    results["emotions"][0] = hostile
    results["corpus"] = hostile
    card = model_card(results)
    assert "<script" not in card
    assert "](http" not in card
    assert "\n# head" not in card
    for line in card.splitlines():
        if line.startswith("| ") and "script" in line:
            # The escaped bars are no columns.
            assert line.replace("\\|", "").count("|") in (3, 5)


def test_escaping_leaves_plain_names_alone():
    assert escaped("Actor 07, male-2.5") == "Actor 07, male-2.5"
    assert escaped("a_b*c") == "a\\_b\\*c"


def test_the_card_is_written_beside_the_results(results, tmp_path):
    path = write_card(tmp_path / "run", results)
    assert path == tmp_path / "run" / "card.md"
    assert path.read_text() == model_card(results)


def test_demo_media_read_as_another_corpus_are_synthetic_still(results):
    card = model_card(results | {"corpus": "ravdess", "synthetic": True, "corpus_seed": None})
    assert "ravdess (synthetic actors)" in card
    assert "None" not in card
