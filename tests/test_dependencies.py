"""Dependencies of pyproject.toml against what the package, its tests and its scripts import."""

import ast
import copy
import functools
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
UNDECLARED = {
    "jax.export": "flatbuffers",
    "tensorflow_datasets": "importlib_resources",
}
"""A module that we import -> a distribution that it imports and its own metadata do not name."""
TOOLS = {
    "gcsfs": "`avemo prepare --source gs://...`",
    "import-linter": "`lint-imports`",
    "mkdocs-material": "`mkdocs serve`",
    "mypy": "`mypy`",
    "pytest-cov": "`pytest --cov`",
    "pytest-xdist": "`pytest -n`",
    "ruff": "`ruff format`, `ruff check`",
    "s3fs": "`avemo prepare --source s3://...`",
}
"""Distributions that nothing imports, and the command that needs them."""
GUARDED = {
    "jax_avemo/data/beam.py": "beam",
    "jax_avemo/doctor.py": "demo",  # tells which extras are missing
    "jax_avemo/inference/model_folder.py": "hub",  # tests/inference
    "jax_avemo/inference/notebook.py": "report",  # tests/inference
    "jax_avemo/inference/timeline.py": "notebook",  # tests/inference
    "jax_avemo/inference/onnx_export.py": "onnx",
    "jax_avemo/pretrained/weight_files.py": "bench",  # tests/pretrained
    "jax_avemo/report/figures.py": "report",
    "jax_avemo/report/tensorboard.py": "tensorboard",
    "jax_avemo/synthetic/speech.py": "demo",
    "jax_avemo/synthetic/voice.py": "demo",
    "jax_avemo/web/app.py": "web",
    "jax_avemo/web/serve.py": "web",
}
"""Modules that import an extra; `test_without_extras_commands_say_what_to_install` runs them."""


def imports(source: str) -> set[str]:
    """Dotted names of all modules that a program may import, however late."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found |= {name.name for name in names}
            case ast.ImportFrom(module=str(module), names=names, level=0):
                found |= {module, *(f"{module}.{name.name}" for name in names)}
            case ast.Call(
                func=ast.Name(id=called) | ast.Attribute(attr=called),
                args=[ast.Constant(value=str(module)), *_],
            ) if called in ("import_module", "importorskip"):
                found.add(module)
    return found


@functools.cache
def imports_by_file() -> dict[str, set[str]]:
    folders = ("jax_avemo", "configs", "scripts", "tests")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert len(paths) > 200
    return {path.relative_to(ROOT).as_posix(): imports(path.read_text()) for path in paths}


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(project: Mapping) -> dict[str, set[str]]:
    """Normalised distribution names by extra; "" has those that are always installed."""
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    return {
        extra: {normalised(re.match(r"[\w.-]+", text).group()) for text in requirements}
        - {"jax-avemo"}
        for extra, requirements in groups.items()
    }


providers = functools.cache(importlib.metadata.packages_distributions)  # reads every RECORD


def distributions(modules: Iterable[str]) -> dict[str, set[str]]:
    """Top-level third-party module -> normalised names of the distributions that may hold it."""
    own = {path.stem for path in (ROOT / "scripts").rglob("*") if path.suffix in ("", ".py")}
    own |= {"jax_avemo", "configs", "support", "conftest"}
    tops = {module.split(".")[0] for module in modules} - sys.stdlib_module_names - own
    return {top: {normalised(name) for name in providers().get(top, [top])} for top in tops}


def problems(project: Mapping, files: Mapping[str, set[str]]) -> list[str]:
    """What is imported and not declared, unguarded, or declared and not imported."""
    groups = declared(project)
    core, everything = groups[""], set().union(*groups.values())
    found, used, guarded = [], set(), {}
    for file, modules in files.items():
        of_users = file.startswith(("jax_avemo/", "configs/"))
        for top, holders in distributions(modules).items():
            used |= holders & everything
            extras = [extra for extra in groups if extra != "dev" and holders & groups[extra]]
            if not holders & everything:
                found.append(f"{file} imports {top}, which pyproject.toml does not name")
            elif of_users and not extras:
                found.append(f"{file} imports {top}, which only `dev` has")
            elif of_users and not holders & core:
                guarded[file] = extras[0]
    for module, distribution in UNDECLARED.items():
        if not any(module in modules for modules in files.values()):
            found.append(f"nothing imports {module}, for which {distribution} was declared")
        elif normalised(distribution) not in core:
            found.append(f"{module} needs {distribution}, which is not among the dependencies")
        used.add(normalised(distribution))
    found += [f"{file} needs the extra {e}, unguarded" for file, e in guarded.items()
              if GUARDED.get(file) != e]  # fmt: skip
    found += [f"{file} is guarded in vain" for file in GUARDED.keys() - guarded.keys()]
    found += [f"nothing imports {name}" for name in sorted(everything - used - TOOLS.keys())]
    return found


def test_every_import_is_declared_where_it_is_needed_and_every_dependency_imported():
    assert problems(PROJECT, imports_by_file()) == []


def without(name: str) -> dict:
    project = copy.deepcopy(PROJECT)
    for requirements in (project["dependencies"], *project["optional-dependencies"].values()):
        requirements[:] = [text for text in requirements if not text.startswith(name)]
    return project


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("flatbuffers", "jax.export needs flatbuffers, which is not among the dependencies"),
        ("importlib_resources", "tensorflow_datasets needs importlib_resources, which is not"),
        ("opencv-python-headless", "imports cv2, which pyproject.toml does not name"),
        ("matplotlib", "imports matplotlib, which pyproject.toml does not name"),
        ("pytest", "imports pytest, which pyproject.toml does not name"),
    ],
)
def test_a_missing_dependency_is_found(name, says):
    assert any(says in problem for problem in problems(without(name), imports_by_file()))


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("def f():\n    import matplotlib", "jax_avemo/new.py needs the extra report, unguarded"),
        ("import pytest", "jax_avemo/new.py imports pytest, which only `dev` has"),
        ("importlib.import_module('left.pad')",
         "jax_avemo/new.py imports left, which pyproject.toml does not name"),
    ],
)  # fmt: skip
def test_a_new_import_is_found(source, problem):
    files = imports_by_file() | {"jax_avemo/new.py": imports(source)}
    assert problems(PROJECT, files) == [problem]


def test_a_dependency_that_nothing_imports_is_found():
    project = copy.deepcopy(PROJECT)
    project["dependencies"].append("left-pad>=1")
    project["optional-dependencies"]["dev"].append("right.pad")
    assert problems(project, imports_by_file()) == [
        "nothing imports left-pad", "nothing imports right-pad",
    ]  # fmt: skip


WITHOUT_EXTRAS = """
import contextlib, importlib, pkgutil, sys
sys.modules.update(dict.fromkeys(sys.argv[2:]))  # a name that is None cannot be imported
import jax_avemo
from jax_avemo.cli import main
from jax_avemo.inference.onnx_export import to_onnx
from jax_avemo.runtime.errors import UserError

for module in pkgutil.walk_packages(jax_avemo.__path__, "jax_avemo."):
    if module.name not in ("jax_avemo.web.app", "jax_avemo.web.serve"):
        importlib.import_module(module.name)
for command in (
    ["serve"],
    ["report", sys.argv[1]],
    ["report", sys.argv[1], "--tensorboard"],
    ["demo", sys.argv[1] + "/demo"],
):
    assert main(command) == 1
try:
    to_onnx(dict, {})
except UserError as error:
    print(error, file=sys.stderr)
"""


def test_without_extras_commands_say_what_to_install(tmp_path):
    groups = declared(PROJECT)
    files = imports_by_file()
    extras = {
        top
        for file in GUARDED.keys() - {"jax_avemo/pretrained/weight_files.py"}
        for top, holders in distributions(files[file]).items()
        if not holders & groups[""]
    }
    assert {"fastapi", "matplotlib", "jax2onnx", "espeakng_loader"} < extras
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS, str(tmp_path), *sorted(extras)],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    said = re.findall(r"^.*pip install 'jax_avemo\[(\w+)\]'.*$", ran.stderr, re.MULTILINE)
    assert said == ["web", "report", "tensorboard", "demo", "onnx"]
    assert len(ran.stderr.splitlines()) == len(said)
