"""The run-time type check of the tests: beartype, with ints allowed where floats are (PEP 484)."""

from importlib.util import find_spec
from pathlib import Path

from beartype import BeartypeConf, beartype

typechecker = beartype(conf=BeartypeConf(is_pep484_tower=True))


def modules_with_shapes(package: str) -> list[str]:
    """Its modules that write shapes. The types of all others are mypy's; checking costs imports."""
    (folder,) = find_spec(package).submodule_search_locations
    return [
        ".".join([package, *path.relative_to(folder).with_suffix("").parts])
        for path in sorted(Path(folder).rglob("*.py"))
        if "from jaxtyping import" in path.read_text()
    ]
