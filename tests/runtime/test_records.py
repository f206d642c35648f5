import json
from dataclasses import dataclass

import pytest

from jax_avemo.runtime import records
from jax_avemo.runtime.errors import UserError


@dataclass(frozen=True)
class Part:
    share: float
    bounds: tuple[float, float] | None
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Whole(Part):
    schema_version: int = 3
    names: tuple[str, ...]
    parts: dict[str, Part]
    rows: list[list[int]]


WHOLE = Whole(
    share=1.0,
    bounds=(0.25, 0.5),
    names=("a", "b"),
    parts={"x.y": Part(0.5, None, "n")},
    rows=[[1], [2, 3]],
)


def test_what_is_written_is_read_again(tmp_path):
    path = tmp_path / "whole.json"
    records.write_record(path, WHOLE)
    assert records.read_record(Whole, path, 3, "make it again") == WHOLE
    assert "note" not in json.loads(path.read_text())
    assert json.loads(path.read_text())["parts"]["x.y"]["bounds"] is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"share": None}, "share is NoneType, not float"),
        ({"share": True}, "share is bool, not float"),
        ({"bounds": [0.1]}, "bounds has 1 items, not 2"),
        ({"names": ["a", 1]}, r"names\[1\] is int, not str"),
        ({"parts": {"x": {"share": 1.0}}}, "parts.x.bounds is missing"),
        ({"rows": [[1.5]]}, r"rows\[0\]\[0\] is float, not int"),
        ({"more": 1}, "more is unknown"),
        ({"schema_version": 2}, "its format is 2, this one reads 3"),
    ],
)
def test_what_does_not_fit_is_one_line_that_names_file_field_and_remedy(tmp_path, change, says):
    path = tmp_path / "whole.json"
    path.write_text(json.dumps(records.to_json(WHOLE) | change))
    with pytest.raises(UserError, match=rf"whole\.json .*{says}.*; make it again"):
        records.read_record(Whole, path, 3, "make it again")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}"])
def test_a_torn_file_is_damaged(tmp_path, text):
    path = tmp_path / "whole.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"whole\.json is damaged \(.*\); make it again"):
        records.read_record(Whole, path, 3, "make it again")


def test_no_file_is_said(tmp_path):
    with pytest.raises(UserError, match=r"none\.json does not exist; make it again"):
        records.read_record(Whole, tmp_path / "none.json", 3, "make it again")
