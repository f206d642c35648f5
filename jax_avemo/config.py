"""How a config comes about: the fields' defaults, a size, a config file, a command line.

`config_fields` lists the settings. A size (`tiny`, `cpu`, `full`) replaces some defaults, a config
file replaces a few more, and `--config.a.b=value` replaces what the user likes. The result
is a *locked* ConfigDict: a misspelt field is an error, never a new field.
"""

import ast
import difflib
import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jax_avemo.config_fields import FIELDS, SIZES, Field
from jax_avemo.runtime.accelerators import accelerator_present
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.progress import say

AUTO = "auto"

_DEFAULT_FOLDS = {"demo": 3, "ravdess": 6, "ravdess_song": 6}
_SENTENCE_GROUPS = {"demo": 2, "ravdess": 2, "ravdess_song": 2}


def make_config(
    name: str, size: str = AUTO, changes: Mapping[str, Any] | None = None
) -> ConfigDict:
    """The locked config of an experiment: defaults, then the size's, then `changes`.

    Args:
      name: of the experiment; its run goes to runs/NAME.
      size: `tiny`, `cpu`, `full` or `auto` (`full` with an accelerator, else `cpu`).
      changes: dotted field -> value.

    Raises:
      UserError: an unknown size, field or value.
    """
    if size == AUTO:
        size = "full" if accelerator_present() else "cpu"
    if size not in SIZES:
        raise UserError(f"no such size '{size}'; sizes are {', '.join(SIZES)} and auto")
    config = _nested({key: field.default for key, field in FIELDS.items()})
    for key, value in (SIZES[size] | {"size": size, "name": name} | dict(changes or {})).items():
        set_field(config, key, value)
    return config


def _nested(flat: Mapping[str, Any]) -> ConfigDict:
    config = ConfigDict()
    for key, value in flat.items():
        *sections, leaf = key.split(".")
        target = config
        for section in sections:
            if section not in target:
                target[section] = ConfigDict()
            target = target[section]
        target[leaf] = value
    return config.lock()


def set_field(config: ConfigDict, key: str, value: Any) -> None:
    """Set the dotted field `key`, or raise UserError saying what is wrong with it."""
    field = FIELDS.get(key)
    if field is None:
        close = difflib.get_close_matches(key, FIELDS, n=1, cutoff=0.4)
        hint = f"; did you mean '{close[0]}'?" if close else "; --help lists all fields"
        raise UserError(f"no such config field '{key}'{hint}")
    wanted = type(field.default)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if wanted is tuple and isinstance(value, list):
        value = tuple(value)
    if type(value) is not wanted or not _is_valid(field, value):
        says = field.says or f"a {wanted.__name__}"
        raise UserError(f"config field '{key}' can't be {value!r}: it is {says} ({field.meaning})")
    *sections, leaf = key.split(".")
    target = config
    for section in sections:
        target = target[section]
    target[leaf] = value


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
    field = FIELDS.get(key)
    set_field(config, key, text if field is None else _parse(text, type(field.default)))


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
        value: Any = config
        for part in key.split("."):
            value = value[part]
        flat[key] = list(value) if isinstance(value, tuple) else value
    return flat


def from_dict(flat: Mapping[str, Any]) -> ConfigDict:
    """The inverse of `to_dict`; fields the stored config lacks take their default."""
    config = _nested({key: field.default for key, field in FIELDS.items()})
    for key, value in flat.items():
        set_field(config, key, value)
    return config


def folds(config: ConfigDict) -> int:
    """How many folds the split has: the asked number, or the corpus's customary one.

    Content folds are as many for every group of sentences (`data.folds.group_contents`).
    """
    if config.split.folds:
        return int(config.split.folds)
    corpus = config.data.corpus
    groups = (
        _SENTENCE_GROUPS.get(corpus, 5) if config.split.protocol == "content_independent" else 1
    )
    return _DEFAULT_FOLDS.get(corpus, 5) * groups


def demo_source(config: ConfigDict) -> Path:
    """Where the demo corpus lies or will be made."""
    if config.data.source:
        return Path(config.data.source)
    data = config.data
    tied = f"-confound{data.demo_confound:g}" if data.demo_confound else ""
    return Path(f"data/demo-{data.demo_actors}x{data.demo_takes}-seed{data.demo_seed}{tied}/media")


def data_dir(config: ConfigDict) -> Path:
    """Where the prepared clips lie or will be made."""
    data = config.data
    if data.data_dir:
        return Path(data.data_dir)
    alone = "" if data.modality == "both" else f"-{data.modality}"
    clips = f"clips-{data.stored_size}px-{data.stored_fps:g}fps{alone}"
    if data.corpus == "demo" and not data.source:
        return demo_source(config).parent / clips
    return Path("data") / data.corpus / clips


def describe_fields() -> str:
    """Every field with its default and meaning, a line each, for --help."""
    lines = []
    for key, field in FIELDS.items():
        default = repr(field.default).replace(" ", "")
        lines.append(f"  --config.{key}={default}\n        {field.meaning}")
    return "\n".join(lines)
