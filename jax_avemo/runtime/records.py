"""Dataclasses as JSON: one reader and one writer for every record."""

import dataclasses
import json
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.files import write_json

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """The JSON value of a dataclass; a field whose default is None is left out where it is None."""
    if dataclasses.is_dataclass(value):
        return {
            field.name: to_json(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if not (field.default is None and getattr(value, field.name) is None)
        }
    if isinstance(value, dict):
        return {name: to_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return value


def dumps(record: Any) -> str:
    """A dataclass as one line of JSON."""
    return json.dumps(to_json(record), allow_nan=False)


def from_json(kind: Any, value: Any, where: str = "") -> Any:
    """`value` as an instance of `kind`: a dataclass, dict[str, X], list, tuple, X | None or plain.

    Raises:
      ValueError: a field is missing, unknown or of another type; the message names it.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, UnionType):
        if value is None and NoneType in inner:
            return None
        (some,) = (one for one in inner if one is not NoneType)
        return from_json(some, value, where)
    if dataclasses.is_dataclass(kind):
        return _from_object(kind, _of_type(dict, value, where), where)
    if origin is dict:
        items = _of_type(dict, value, where).items()
        return {name: from_json(inner[1], item, f"{where}.{name}") for name, item in items}
    if origin in (list, tuple):
        items = _of_type(list, value, where)
        same = origin is list or inner[-1] is Ellipsis
        if not same and len(items) != len(inner):
            raise ValueError(f"{where or 'it'} has {len(items)} items, not {len(inner)}")
        kinds = [inner[0]] * len(items) if same else inner
        return origin(
            from_json(one, item, f"{where}[{number}]")
            for number, (one, item) in enumerate(zip(kinds, items, strict=True))
        )
    return _of_type(kind, value, where)


def _from_object(kind: Any, value: dict[str, Any], where: str) -> Any:
    hints = get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    needed = [name for name, field in fields.items() if field.default is dataclasses.MISSING]
    before = f"{where}." if where else ""
    for name in needed:
        if name not in value:
            raise ValueError(f"{before}{name} is missing")
    for name in value:
        if name not in fields:
            raise ValueError(f"{before}{name} is unknown")
    return kind(
        **{name: from_json(hints[name], item, f"{before}{name}") for name, item in value.items()}
    )


def _of_type(kind: Any, value: Any, where: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind in (int, float) and isinstance(value, bool)):
        raise ValueError(f"{where or 'it'} is {type(value).__name__}, not {kind.__name__}")
    return value


def write_record(path: Path, record: Any) -> None:
    """Write a dataclass as JSON, atomically."""
    write_json(path, to_json(record))


def read_record(kind: type[T], path: Path, version: int, remedy: str) -> T:
    """Read what `write_record` wrote; `kind` has a field `schema_version`.

    Raises:
      UserError: the file is not there, damaged, or of another version; `remedy` is what to do.
    """
    try:
        value = json.loads(path.read_bytes())
        written = value["schema_version"]
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; {remedy}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is damaged ({error}); {remedy}") from error
    if written != version:
        raise UserError(
            f"{path} was written by another version of jax_avemo (its format is {written}, this "
            f"one reads {version}); {remedy}"
        )
    try:
        return from_json(kind, value)
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); {remedy}") from error
