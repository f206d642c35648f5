"""The table of another corpus's voices from a made-up record."""

import sys
from pathlib import Path

import pytest

from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.records import read_record

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(ROOT / "scripts/experiments"))
    import cross_corpus_voices

    return cross_corpus_voices


def row(script, name, *uar):
    people = dict(zip("abc", uar, strict=True))
    return script.CrossCorpusRow(name=name, networks=2, uar=sum(uar) / 3, uar_by_subject=people)


def test_rows_are_paired_with_the_first_by_person(script):
    record = script.CrossCorpusRecord(
        command="COMMAND",
        commits=("abc",),
        trained_on="ravdess",
        corpus="emodb",
        emotions=("happy", "sad"),
        clips=30,
        rows=(
            row(script, "fusion alone", 0.4, 0.5, 0.6),
            row(script, "both", 0.5, 0.6, 0.7),
        ),
    )
    text = script.table(record)
    # Every person gains 10 points; of 8 sign patterns 2 are as extreme.
    assert "| both | 60.0 (35.2 to 84.8) | +10.0 (+10.0 to +10.0) | 0.250 | 2 |" in text
    assert "chance 50.0" in text
    assert "30 clips of 3 people" in text


def test_the_page_has_the_committed_records(script):
    page = (ROOT / "docs/results.md").read_text()
    for corpus in script.CORPORA:
        record = read_record(script.CrossCorpusRecord, script.record_path(corpus), 1, "run it")
        assert script.table(record).strip() in page


def test_a_folder_without_the_reference_is_one_line(script, tmp_path):
    (tmp_path / "person_centred/fold0-seed0").mkdir(parents=True)
    (tmp_path / "person_centred/fold0-seed0/results.json").touch()
    with pytest.raises(UserError, match="no finished run of fusion_only"):
        script.runs_in(tmp_path, 0)
