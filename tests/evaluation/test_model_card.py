"""What a model card must say, and that names from a corpus cannot become markup in it."""

from dataclasses import replace

from support.made_results import made_results, verified, with_test

from jax_avemo.evaluation.model_card import SYNTHETIC_WARNING, escaped, model_card, write_card
from jax_avemo.evaluation.results import Leakage


def test_every_figure_stands_on_the_card_with_its_interval_and_chance():
    card = model_card(made_results())
    assert "| UAR | 71.9 | 62.5 to 81.2 | 50.0 |" in card
    assert "| WAR | 75.0 | 60.0 to 90.0 | 50.0 |" in card
    assert "| happy | 75.0 | 66.7 |" in card
    assert "| sad | 62.5 | 71.4 |" in card
    assert "from 60.0 (05) to 80.0 (04)" in card
    assert "female 81.0, male 59.0" in card
    assert "| `z_e` | 61.2 (mlp) | 30.0 | - | 32.1 (plda) | 37.7 (plda) | - |" in card
    assert "| `probabilities` | 50.0 (mlp) |" in card
    assert "| `z_i` | 90.0 (mlp) | 30.0 | - | - | - | 55.0 (mlp) |" in card
    assert "2 unseen subjects, 16 clips: chance 50.0." in card
    assert "above the emotion probabilities: \\+11.2" in card
    assert "worst quarter: 60.0" in card
    assert "27 + 5 kept for probes" in card
    assert "fold 1 of 3" in card
    assert "calibration error: 5.7, with the temperature fitted on validation clips 3.4." in card


def test_it_says_what_it_is_not_for():
    card = model_card(made_results())
    assert "Apparent emotion is not inner state" in card
    assert "consent" in card.lower()
    assert "forbid emotion recognition at work and at school" in card


def test_synthetic_is_said_only_where_true():
    assert SYNTHETIC_WARNING in model_card(made_results())
    real = made_results(synthetic=False, corpus="ravdess", corpus_seed=None)
    assert "ynthetic" not in model_card(real)


def test_a_protocol_that_is_not_subject_independent_is_marked():
    assert "Not subject-independent" not in model_card(made_results())
    card = model_card(made_results(subject_independent=False))
    assert "Not subject-independent" in card
    assert "No test subject took part" not in card


def test_what_could_not_be_measured_is_said():
    nothing = Leakage(
        unseen=None,
        known=None,
        verification={"z_e": {"cosine": verified(None)}},
        not_measured=("verification: too few",),
    )
    results = made_results(leakage=nothing)
    card = model_card(with_test(results, confusion=((0, 0), (0, 5)), uar_by_sex={}))
    assert "| `z_e` | - | - | - | - | - | - |" in card
    assert "Not measured: verification: too few." in card
    assert "| happy | no clip | never predicted |" in card
    assert "By sex" not in card


def test_names_cannot_become_markup():
    hostile = "<script>alert(1)</script>\n# head | [x](http://y) `z`"
    results = made_results()
    results = replace(
        with_test(results, uar_by_subject={hostile: 0.5}),
        split=replace(results.split, test_subjects=(hostile, "05")),
        emotions=(hostile, "sad"),
        corpus=hostile,
    )
    card = model_card(results)
    assert "<script" not in card
    assert "](http" not in card
    assert "\n# head" not in card
    for line in card.splitlines():
        if line.startswith("| ") and "script" in line:
            # The escaped bars are no columns.
            assert line.replace("\\|", "").count("|") in (3, 4, 5)


def test_escaping_leaves_plain_names_alone():
    assert escaped("Actor 07, male-2.5") == "Actor 07, male-2.5"
    assert escaped("a_b*c") == "a\\_b\\*c"


def test_the_card_is_written_beside_the_results(tmp_path):
    results = made_results()
    path = write_card(tmp_path / "run", results)
    assert path == tmp_path / "run" / "card.md"
    assert path.read_text() == model_card(results)


def test_demo_media_read_as_another_corpus_are_synthetic_still():
    card = model_card(made_results(corpus="ravdess", synthetic=True, corpus_seed=None))
    assert "ravdess (synthetic actors)" in card
    assert "None" not in card
