"""README and docs: the marked commands run, links lead somewhere, versions agree."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from jax_avemo import __version__

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
MARK = "<!-- tested -->"
EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")


def marked_commands(page: str) -> list[str]:
    """The lines of the indented block below each mark."""
    found = []
    for part in page.split(MARK)[1:]:
        lines = part.strip("\n").splitlines()
        block = []
        for line in lines:
            if not line.startswith("    "):
                break
            block.append(line.strip())
        assert block, f"a mark without commands before {part[:60]!r}"
        found += block
    return found


def at_size_tiny(command: str) -> str:
    """The command as the test runs it: installed already, smallest size, real folders."""
    command = re.sub(r"\bbench\b", "tiny", command)
    command = command.split("pip install")[-1].split(" && ", 1)[-1] if "&&" in command else command
    command = re.sub(r"(configs/(?:ablations|baselines)\.py:\w+)(?!,|\w)", r"\1,tiny", command)
    command = re.sub(r"(--config=configs/\w+\.py)(?!:)", r"\1:tiny", command)
    command = command.replace("--folds 4 --seeds 3", "--folds 4 --seeds 1 --only-fold 0")
    command = command.replace("--actors 24", "--actors 4").replace("--confound 0.5", "")
    command = command.replace("--size 80 --fps 12", "--size 40 --fps 4")
    for corpus in ("ravdess", "folder"):
        if f"corpus={corpus} " in command and "PATH" in command:
            command = command.replace("PATH", corpus.upper()) + f" --workdir=runs/{corpus}"
    return command.replace("RECORDINGS", "FOLDER").replace("FILM", "FILM.mp4")


def test_the_marks_are_found():
    commands = [c for page in PAGES for c in marked_commands(page.read_text())]
    assert len(commands) >= 10
    assert any(command.startswith("avemo doctor") for command in commands)
    readme = marked_commands((ROOT / "README.md").read_text())
    assert any("configs/decoupled.py" in command for command in readme)


def test_a_command_is_made_small():
    readme = (
        "python3 -m venv .venv && pip install -e '.[demo]' && python -m x --config=configs/a.py"
    )
    assert at_size_tiny(readme) == "python -m x --config=configs/a.py:tiny"
    ablation = "python -m x --config=configs/ablations.py:hsic"
    assert at_size_tiny(ablation) == ablation + ",tiny"
    both = (
        "avemo crossval --config=configs/decoupled.py:bench --config=configs/baselines.py:x,bench"
    )
    assert at_size_tiny(both) == both.replace("bench", "tiny")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_citation_names_this_version():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"version: {__version__}\n" in citation
    assert "CITATION.cff" in (ROOT / "README.md").read_text()


def test_the_method_names_files_that_exist():
    page = (ROOT / "docs/method.md").read_text()
    named = set(
        re.findall(
            r"`((?:media|data|models|objectives|erasure|training|evaluation)/[\w/.]*)`", page
        )
    )
    assert len(named) > 15
    for path in named:
        assert (ROOT / "jax_avemo" / path).exists(), path


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with recordings under both layouts that the pages speak of."""
    home = tmp_path_factory.mktemp("docs")
    command = "avemo demo RAVDESS --actors 4 --takes 1 --seed 0"
    done = run(command, home)
    assert done.returncode == 0, done.stderr
    for take in (home / "RAVDESS").rglob("*.mp4"):
        fields = take.stem.split("-")
        folder = home / "FOLDER" / EMOTIONS[int(fields[2]) - 1] / fields[6]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / take.name).symlink_to(take)
    (home / "FILM.mp4").symlink_to(take)
    return home


def run(command: str, home: Path) -> subprocess.CompletedProcess:
    words = shlex.split(command)
    if words[0] == "avemo":
        words = ["-m", "jax_avemo.cli", *words[1:]]
    else:
        assert words[0] == "python", command
        words = words[1:]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *words],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1800,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if MARK in page.read_text()], ids=lambda page: page.name
)
def test_the_marked_commands_work(page, home):
    for written in marked_commands(page.read_text()):
        command = at_size_tiny(written)
        done = run(command, home)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        print(f"ok: {command}")
