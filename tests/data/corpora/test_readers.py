"""What holds for every reader."""

from pathlib import Path

import pytest

from jax_avemo.data import corpora
from jax_avemo.data.corpora import READERS, customary_folds, scan_corpus
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.files import write_json
from jax_avemo.synthetic import corpus as demo

HERE = Path(corpora.__file__).parent


@pytest.mark.parametrize("name", sorted(set(READERS) - {"demo", "ravdess_song"}))
def test_a_corpus_is_one_file_of_at_most_120_lines(name):
    assert len((HERE / f"{name}.py").read_text().splitlines()) <= 120


@pytest.mark.parametrize(
    ("corpus", "by_subject", "by_content"),
    [("demo", 3, 6), ("ravdess", 6, 12), ("enterface05", 5, 25), ("folder", 5, 25)],
)
def test_folds_are_customary_for_the_corpus(corpus, by_subject, by_content):
    assert customary_folds(corpus) == by_subject
    assert customary_folds(corpus, content_independent=True) == by_content


@pytest.mark.parametrize("corpus", sorted(READERS))
def test_no_take_names_the_source_and_the_layout(tmp_path, corpus):
    (tmp_path / "notes.txt").write_text("no film")
    with pytest.raises(UserError) as caught:
        READERS[corpus](tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_corpus(tmp_path):
    with pytest.raises(UserError, match="no corpus 'savee': known are crema_d, demo, emodb"):
        scan_corpus("savee", tmp_path)


@pytest.mark.parametrize("mark", [demo._MANIFEST, demo._UNFINISHED])
def test_demo_media_stay_synthetic_whoever_reads_them(tmp_path, mark):
    request = demo._Request(demo.GENERATOR_VERSION, 2, 1, 0, 0.0)
    take = tmp_path / "Actor_01/01-01-03-01-01-01-01.mp4"
    take.parent.mkdir()
    take.touch()
    (tmp_path / "list.csv").write_text(f"path,emotion,subject\n{take},happy,01\n")
    (tmp_path / "x/happy/anna").mkdir(parents=True)
    (tmp_path / "x/happy/anna/y.mp4").touch()
    sources = [
        ("ravdess", tmp_path),
        ("ravdess", take.parent),
        ("manifest", tmp_path / "list.csv"),
        ("folder", tmp_path / "x"),
    ]
    for corpus, source in sources:
        assert not scan_corpus(corpus, source).synthetic
    (tmp_path / mark).write_text('{"notes": "somebody\'s own"}')
    assert not scan_corpus("ravdess", tmp_path).synthetic
    write_json(tmp_path / mark, demo.asdict(request))
    for corpus, source in sources:
        assert scan_corpus(corpus, source).synthetic, (corpus, source)


def test_the_how_to_shows_the_smallest_reader_as_it_is():
    text = (HERE.parents[2] / "docs/guides/corpora.md").read_text()
    assert (HERE / "folder.py").read_text().rstrip() in text
    assert all(f"`{name}`" in text for name in READERS)
