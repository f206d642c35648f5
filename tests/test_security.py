"""What the package never does with what it is given: run it, unpickle it, follow it elsewhere."""

import ast
import csv
import io
from pathlib import Path

import pytest

from jax_avemo import config as settings
from jax_avemo.data import preview
from jax_avemo.data.clip import ClipOptions
from jax_avemo.data.corpora.manifest import scan_manifest
from jax_avemo.data.prepare import prepare
from jax_avemo.runtime.errors import UserError

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path for folder in ("jax_avemo", "configs", "scripts") for path in (ROOT / folder).rglob("*.py")
)
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
RUNNERS = {"eval", "exec", "compile", "__import__"}
EXCEPTIONS = {
    # An experiment's config file is a program, and said so; scripts read it likewise.
    "exec_module": {"jax_avemo/config.py", "scripts/experiments/evidence.py"},
    "recv": {
        "jax_avemo/media/child_process.py",
        "jax_avemo/media/sandbox.py",
    },  # of workers from their parent; never the other way
}
"""Calls that may stand in these files alone."""


def dangers(source: str) -> list[str]:
    """What in a program unpickles, or runs something that it reads."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                modules = {name.name.split(".")[0] for name in names}
                found += sorted(modules & UNPICKLERS)
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in UNPICKLERS:
                found.append(module)
            case ast.Call(func=ast.Name(id=name)) if name in RUNNERS:
                found.append(name)
            case ast.Call(func=ast.Attribute(value=value, attr=name), keywords=keywords):
                given = {k.arg: k.value for k in keywords}
                where = ast.unparse(value)
                if name in EXCEPTIONS:
                    found.append(name)
                found += [
                    option
                    for option in ("allow_pickle", "shell")
                    if option in given and ast.unparse(given[option]) != "False"
                ]
                if (where, name) == ("torch", "load"):
                    safe = "weights_only" in given and ast.unparse(given["weights_only"]) == "True"
                    found += [] if safe else ["torch.load"]
                if (where, name) in {("os", "system"), ("os", "popen"), ("yaml", "load")}:
                    found.append(f"{where}.{name}")
    return found


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import pickle", ["pickle"]),
        ("from joblib import load", ["joblib"]),
        ("import pickletools, re; re.compile('x')", []),
        ("np.load(f, allow_pickle=True)", ["allow_pickle"]),
        ("np.load(f, allow_pickle=False); np.load(f)", []),
        ("eval(x)", ["eval"]),
        ("torch.load(f)", ["torch.load"]),
        ("torch.load(f, weights_only=True)", []),
        ("subprocess.run(x, shell=y)", ["shell"]),
        ("os.system(x)", ["os.system"]),
        ("pipe.recv()", ["recv"]),
    ],
)
def test_the_search_finds_what_it_looks_for(source, names):
    assert dangers(source) == names


def test_nothing_is_unpickled_and_nothing_read_is_run():
    assert len(SOURCES) > 60
    seen = set()
    for path in SOURCES:
        name = path.relative_to(ROOT).as_posix()
        for danger in dangers(path.read_text()):
            assert name in EXCEPTIONS.get(danger, set()), f"{name}: {danger}"
            seen.add(danger)
    assert seen == EXCEPTIONS.keys()


@pytest.mark.parametrize("name", ["../x", "/etc/x", "..", "a/b", ".hidden", "", "a\nb", "a\\b"])
def test_the_name_of_an_experiment_stays_below_runs(name):
    with pytest.raises(UserError, match="'name' can't be"):
        settings.make_config(name, "tiny")


@pytest.mark.parametrize("path", ["../secret.mp4", "a/../../secret.mp4", "..\\secret.mp4", ".."])
def test_a_manifest_does_not_lead_out_of_its_folder(tmp_path, path):
    (tmp_path / "secret.mp4").write_bytes(b"film")
    (tmp_path / "corpus").mkdir()
    table = tmp_path / "corpus/manifest.csv"
    table.write_text(f"path,emotion,subject\n{path},happy,anna\n")
    with pytest.raises(UserError, match="line 2: .* leads out of .*corpus; write it"):
        scan_manifest(table)
    table.write_text("path,emotion,subject\na/../b..mp4,happy,anna\n")
    assert scan_manifest(table).recordings[0].labels.key == "a/../b..mp4"


@pytest.mark.parametrize("subject", ["../../x", "/etc/passwd", "..", "", "a\x00b", "a\nb"])
def test_a_contact_sheet_is_named_in_its_folder(subject):
    name = preview._file_name(subject)
    assert name
    assert Path(name).name == name
    assert name.isprintable()


def test_names_of_files_decide_nothing_outside_the_data_folder(tmp_path):
    """Whatever they are: bytes that are no text, line ends, quotes, other alphabets."""
    source = tmp_path / "source/happy/an na\n"
    source.mkdir(parents=True)
    for name in (b"\xff\xfe.mp4", b"a\nb.mp4", b"';--.mp4", "ä‮.mp4".encode(), b"%s{0}.mp4"):
        Path(bytes(source).decode() + "/" + name.decode(errors="surrogateescape")).write_bytes(b"x")
    options = ClipOptions(frame_size=16, frames_per_second=1, max_seconds=1)
    with pytest.raises(UserError, match="none of 5 recordings could be used"):
        prepare("folder", tmp_path / "source", tmp_path / "data", options, workers=1)
    assert {path.name for path in tmp_path.iterdir()} == {"source", "data"}
    rejects = (tmp_path / "data/rejects.csv").read_text()
    assert rejects.count("is not UTF-8: rename it") == 1
    assert len(list(csv.DictReader(io.StringIO(rejects)))) == 5
