"""docs/reference/cli.md is what the code says."""

import importlib.util
from pathlib import Path

import pytest

from jax_avemo.config_fields import FIELDS

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def script():
    path = ROOT / "scripts/tools/make_cli_reference.py"
    spec = importlib.util.spec_from_file_location("make_cli_reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_made_from_the_code(script):
    stored = (ROOT / "docs/reference/cli.md").read_text()
    assert stored == script.reference(), "run python scripts/tools/make_cli_reference.py"


def test_every_command_and_every_field_is_there(script):
    text = script.reference()
    for command in script.commands(script.cli.build_parser()):
        assert f"## avemo {command}\n" in text
    for field in FIELDS:
        assert f"| `{field}` |" in text


def test_every_argument_says_what_it_means(script):
    for name, parser in script.commands(script.cli.build_parser()).items():
        for action in parser._actions:
            assert script._help(action), f"avemo {name} {action.dest} has no help"
