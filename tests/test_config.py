import contextlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax_avemo.configs.default import DEFAULT

from jax_avemo import config as settings
from jax_avemo.config_fields import FIELDS
from jax_avemo.runtime.errors import UserError

CONFIGS = Path(__file__).parent.parent / "configs"


def overridden(file: str) -> dict[str, dict]:
    """What configs/FILE.py changes: FILE in capitals."""
    spec = importlib.util.spec_from_file_location(file, CONFIGS / f"{file}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, file.upper())


@pytest.mark.parametrize("size", settings.SIZES)
def test_every_size_is_valid_and_survives_json(size):
    config = settings.make_config("x", size)
    assert config.size == size
    assert settings.from_dict(settings.to_dict(config)) == config


def test_config_is_locked():
    config = settings.make_config("x", "cpu")
    with pytest.raises((AttributeError, KeyError)):
        config.train.epoch = 3


@pytest.mark.parametrize(
    ("file", "name"),
    [(file, name) for file in ("ablations", "baselines") for name in overridden(file)],
)
def test_a_variant_changes_at_most_five_more_fields_than_the_headline(file, name):
    plain = {"model.decouple", "train.resample"} if file == "baselines" else set()
    changed = plain | set(overridden(file)[name])
    headline = set(overridden("decoupled"))
    assert len(changed - headline) <= 5
    base = settings.to_dict(settings.load_config(f"{CONFIGS}/decoupled.py:cpu"))
    ours = settings.to_dict(settings.load_config(f"{CONFIGS}/{file}.py:{name},cpu"))
    differ = {field for field in base if base[field] != ours[field]} - {"name"}
    assert differ
    assert differ <= changed | headline


def test_no_two_experiments_share_a_name():
    names = ["decoupled", "tiny", *overridden("ablations"), *overridden("baselines")]
    assert len(set(names)) == len(names)


def test_override_keeps_the_fields_type():
    config = settings.make_config("x", "cpu")
    for text in ("train.learning_rate=1", "model.modalities=audio", "model.skip_connection=false"):
        settings.apply_override(config, text)
    assert config.train.learning_rate == 1.0
    assert isinstance(config.train.learning_rate, float)
    assert config.model.modalities == ("audio",)
    assert config.model.skip_connection is False


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("train.epoch=3", "did you mean 'train.epochs'"),
        ("train.epochs=many", "at least 1"),
        ("train.epochs=0", "at least 1"),
        ("train.epochs", "needs a value"),
        ("model.skip_connection=1", "bool"),
        ("evaluate.selection_split=train", "'validation'"),
        ("data=3", "no such config field"),
        ("size=full", "--config=FILE:full"),
    ],
)
def test_a_wrong_override_is_one_clear_line(text, says):
    with pytest.raises(UserError) as error:
        settings.apply_override(settings.make_config("x", "cpu"), text)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_override_ends_in_anything_but_a_user_error(key, value):
    config = settings.make_config("x", "tiny")
    for text in (f"{key}={value}", f"train.epochs={value}", f"model.depths={value}", key):
        with contextlib.suppress(UserError):
            settings.apply_override(config, text)
    assert settings.from_dict(settings.to_dict(config)) == config


def test_unknown_config_file_names_those_there_are():
    with pytest.raises(UserError, match="configs/decoupled.py"):
        settings.load_config("configs/nope.py")


def test_configs_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert settings.load_config("configs/decoupled.py:tiny").name == "decoupled"


def test_a_broken_config_file_is_one_line(tmp_path):
    (tmp_path / "bad.py").write_text("def get_config(:\n")
    with pytest.raises(UserError, match="does not load"):
        settings.load_config(str(tmp_path / "bad.py"))


def test_size_follows_the_accelerator(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert settings.make_config("x").size == "cpu"
    monkeypatch.setenv("JAX_PLATFORMS", "tpu")
    assert settings.make_config("x").size == "full"


def test_what_is_stored_has_a_folder_of_its_own():
    one, other = (settings.make_config("x", "cpu") for _ in range(2))
    settings.apply_override(other, "data.demo_seed=7")
    assert settings.data_dir(one) != settings.data_dir(other)
    settings.apply_override(other, "data.demo_seed=0")
    settings.apply_override(other, "data.stored_size=96")
    assert settings.demo_source(one) == settings.demo_source(other)
    assert settings.data_dir(one) != settings.data_dir(other)


def test_every_value_has_a_meaning_and_is_valid():
    """Schema and values name the same fields in the same order."""

    def names(values, prefix=""):
        for name, value in values.items():
            yield from (
                names(value, f"{prefix}{name}.") if isinstance(value, dict) else [prefix + name]
            )

    assert list(names(DEFAULT)) == list(FIELDS)
    for size, changes in settings.SIZES.items():
        assert set(changes) <= set(FIELDS), size


def test_help_needs_none_of_the_heavy_libraries():
    """What `--help` and a misspelt field cost."""
    code = "import sys, jax_avemo.main; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert "jax_avemo.config" in loaded.split()
    assert not {"jax", "flax", "numpy", "cv2", "scipy"} & set(loaded.split())
