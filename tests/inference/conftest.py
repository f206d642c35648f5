"""A run directory that every test here reads."""

from pathlib import Path

import pytest
from support.random_run import write_run


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> Path:
    """A run of the tiny network."""
    return write_run(tmp_path_factory.mktemp("runs") / "tiny")
