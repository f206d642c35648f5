"""docs/verification.md names tests that exist."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs/verification.md"


def named() -> list[tuple[str, str]]:
    """(file, function or class) of every test on the page; `::name` stands for the last file."""
    found, file = [], ""
    for path, name in re.findall(r"`([\w/]+\.py)?::(\w+)`", PAGE.read_text()):
        file = path or file
        found.append((file, name))
    return found


def test_every_promise_names_a_test_that_exists():
    assert len(named()) > 50
    for file, name in named():
        text = (TESTS / file).read_text()
        assert re.search(rf"^\s*(def|class) {name}\b", text, re.MULTILINE), f"{file}::{name}"
