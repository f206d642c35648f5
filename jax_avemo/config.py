"""The config of an experiment: default values, a size, a config file, the command line.

`configs/default.py` has every value. A size (`configs/sizes.py`) replaces some, a config file a few
more, and `--config.a.b=value` what the user likes. The result is a *locked* ConfigDict: a misspelt
field is an error, never a new field. `config_fields` says what a value means and which are valid.
"""

# ml_collections' `config_flags` was weighed: it checks types but no ranges, a misspelt field ends
# in a traceback of 49 lines, and its flags belong to absl, where the commands here use argparse.

import ast
import difflib
import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jax_avemo.config_fields import FIELDS, Field
from jax_avemo.configs.default import DEFAULT
from jax_avemo.configs.sizes import SIZES
from jax_avemo.runtime.accelerators import accelerator_present
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.progress import say
from jax_avemo.runtime.remote import local_path

AUTO = "auto"


def make_config(
    name: str, size: str = AUTO, changes: Mapping[str, Any] | None = None
) -> ConfigDict:
    """The locked config of an experiment: defaults, then the size's, then `changes`.

    Args:
      name: of the experiment; its run goes to runs/NAME.
      size: `tiny`, `bench`, `cpu`, `full` or `auto` (`full` with an accelerator, else `cpu`).
      changes: dotted field -> value.

    Raises:
      UserError: an unknown size, field or value.
    """
    if size == AUTO:
        size = "full" if accelerator_present() else "cpu"
    if size not in SIZES:
        raise UserError(f"no such size '{size}'; sizes are {', '.join(SIZES)} and auto")
    config = ConfigDict(DEFAULT).lock()
    for key, value in (SIZES[size] | {"size": size, "name": name} | dict(changes or {})).items():
        set_field(config, key, value)
    return config


def get_field(config: Any, key: str) -> Any:
    """The value of the dotted field `key`; of a mapping as well."""
    for part in key.split("."):
        config = config[part]
    return config


def set_field(config: ConfigDict, key: str, value: Any) -> None:
    """Set the dotted field `key`, or raise UserError saying what is wrong with it."""
    if key not in FIELDS:
        close = difflib.get_close_matches(key, FIELDS, n=1, cutoff=0.4)
        hint = f"; did you mean '{close[0]}'?" if close else "; --help lists all fields"
        raise UserError(f"no such config field '{key}'{hint}")
    field, wanted = FIELDS[key], type(get_field(DEFAULT, key))
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if wanted is tuple and isinstance(value, list):
        value = tuple(value)
    if type(value) is not wanted or not _is_valid(field, value):
        says = field.says or f"a {wanted.__name__}"
        raise UserError(f"config field '{key}' can't be {value!r}: it is {says} ({field.meaning})")
    section, _, leaf = key.rpartition(".")
    (get_field(config, section) if section else config)[leaf] = value


def _is_valid(field: Field, value: Any) -> bool:
    try:
        return field.valid(value)
    except TypeError:  # a tuple of what can be neither compared nor hashed
        return False


def apply_override(config: ConfigDict, assignment: str) -> None:
    """Apply one command-line override such as `train.epochs=20`."""
    key, equals, text = assignment.partition("=")
    if not equals:
        raise UserError(f"'--config.{assignment}' needs a value: --config.{key}=VALUE")
    if key == "size":
        raise UserError(f"the size is the config file's argument: --config=FILE:{text}")
    set_field(config, key, _parse(text, type(get_field(DEFAULT, key))) if key in FIELDS else text)


def _parse(text: str, wanted: type) -> Any:
    if wanted is str:
        return text
    if wanted is bool and text.lower() in {"true", "false"}:
        return text.lower() == "true"
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        if wanted is tuple:  # --config.model.modalities=audio
            return tuple(part.strip() for part in text.split(","))
        return text
    return (value,) if wanted is tuple and not isinstance(value, tuple | list) else value


def load_config(spec: str, overrides: Iterable[str] = ()) -> ConfigDict:
    """Run a config file's `get_config` and apply overrides.

    Args:
      spec: `FILE` or `FILE:ARG`. Where no folder `configs` is, `configs/NAME.py` is the package's.
      overrides: `field=value` strings.
    """
    name, _, argument = spec.partition(":")
    module_spec = importlib.util.spec_from_file_location("_config_file", _find(name))
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:  # it is the user's program
        raise UserError(
            f"config file {name} does not load: {type(error).__name__}: {error}"
        ) from error
    if not hasattr(module, "get_config"):
        raise UserError(f"config file {name} has no get_config(); see configs/decoupled.py")
    try:
        config = module.get_config(*([argument] if argument else []))
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"get_config() of config file {name} fails: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(config, ConfigDict):
        raise UserError(f"get_config() of {name} gives no config; see configs/decoupled.py")
    for assignment in overrides:
        apply_override(config, assignment)
    return config


def _find(name: str) -> Path:
    """The file itself; outside a checkout `configs/NAME.py` is the one of the package, and said."""
    path = Path(name)
    if path.is_file() and path.suffix == ".py":
        return path
    known = {f"configs/{file.name}": file for file in _config_files()}
    if name in known and not Path("configs").is_dir():
        say(f"no folder configs here, so {name} is the package's: {known[name]}")
        return known[name]
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    raise UserError(f"no config file '{name}'{hint}; there are {', '.join(known)}")


def config_files() -> dict[str, str]:
    """The experiments of the package, `configs/NAME.py`, and the first line each says of itself."""
    found = {}
    for file in _config_files():
        title = ast.get_docstring(ast.parse(file.read_bytes())) or ""
        found[f"configs/{file.name}"] = title.partition("\n")[0]
    return found


def _config_files() -> list[Path]:
    spec = importlib.util.find_spec("jax_avemo.configs")
    homes = [Path(home) for home in (spec and spec.submodule_search_locations) or []]
    files = sorted(path for home in homes for path in home.glob("*.py"))
    return [file for file in files if b"def get_config(" in file.read_bytes()]


def to_dict(config: ConfigDict) -> dict[str, Any]:
    """The config as plain JSON-ready values, dotted field -> value."""
    flat: dict[str, Any] = {}
    for key in FIELDS:
        value = get_field(config, key)
        flat[key] = list(value) if isinstance(value, tuple) else value
    return flat


def from_dict(flat: Mapping[str, Any]) -> ConfigDict:
    """The inverse of `to_dict`; fields the stored config lacks take their default."""
    config = ConfigDict(DEFAULT).lock()
    for key, value in flat.items():
        set_field(config, key, value)
    return config


def demo_source(config: ConfigDict) -> Path:
    """Where the demo corpus lies or will be made."""
    if config.data.source:
        return local_path(config.data.source)
    data = config.data
    tied = f"-confound{data.demo_confound:g}" if data.demo_confound else ""
    return Path(f"data/demo-{data.demo_actors}x{data.demo_takes}-seed{data.demo_seed}{tied}/media")


def data_dir(config: ConfigDict) -> Path:
    """Where the prepared clips lie or will be made."""
    data = config.data
    if data.data_dir:
        return local_path(data.data_dir)
    alone = "" if data.modality == "both" else f"-{data.modality}"
    clips = f"clips-{data.stored_size}px-{data.stored_fps:g}fps{alone}"
    if data.corpus == "demo" and not data.source:
        return demo_source(config).parent / clips
    return Path("data") / data.corpus / clips


def describe_fields() -> str:
    """Every field with its default and meaning, a line each, for --help."""
    lines = []
    for key, field in FIELDS.items():
        default = repr(get_field(DEFAULT, key)).replace(" ", "")
        lines.append(f"  --config.{key}={default}\n        {field.meaning}")
    return "\n".join(lines)
