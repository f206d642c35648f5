"""Whatever stands on the command line: no traceback, one line that says what is wrong, not 0."""

import random
from pathlib import Path

import pytest
from support.main_job import CONFIGS, TINY

from jax_avemo import cli, experiment, main
from jax_avemo.config_fields import FIELDS
from jax_avemo.data import prepare
from jax_avemo.evaluation import evaluator
from jax_avemo.runtime.errors import UserError
from jax_avemo.synthetic import corpus

NASTY = [
    *(
        "",
        " ",
        "0",
        "-1",
        "1",
        "3",
        "0.5",
        "-0.5",
        "1e999",
        "-1e999",
        "nan",
        "9" * 40,
        "1_0",
        "0x10",
    ),
    *("None", "True", "true", "()", "(1,)", "[1,2", "{}", "'", '"a"', "(1,'a')", "((((", "b'x'"),
    *("\x00", "a\nb", "a\rb", "ä", "\udcff", "\u202e", "x" * 5000, "%s", "{0}", "*", "~", "$HOME"),
    *(
        "/",
        ".",
        "..",
        "../../x",
        "/dev/null",
        "/dev/full",
        "/proc/self/mem",
        "--json",
        "-",
        "--",
        "=",
    ),
    *("demo", "folder", "ravdess", "cpu", "tiny", "both", "validation", "media", "file.txt"),
]
OPTIONS = {
    "prepare": ["--source", "--data-dir", "--workers", "--size", "--fps", "--max-seconds"]
    + ["--modality", "--face-fallback", "--preview", "--json"],
    "demo": ["--actors", "--takes", "--seed", "--confound", "--workers"],
    "train": ["--config", "--workdir", "--config.seed", "--config.data.source"],
    "evaluate": ["--split", "--data-dir", "--json"],
    "serve": ["--run", "--host", "--port", "--max-megabytes", "--max-minutes"],
    "": ["--version", "--nothing", "-x"],
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with something to stumble over; nothing that takes long is done."""
    (tmp_path / "media").mkdir()
    (tmp_path / "file.txt").write_text("no film")
    monkeypatch.chdir(tmp_path)

    def reached(*_: object, **__: object) -> None:
        raise UserError("the work would begin here")

    def train_run(config, run):
        experiment.check_claim(run, config)
        reached()

    monkeypatch.setattr(experiment, "train_run", train_run)
    monkeypatch.setattr(corpus, "locked", reached)
    monkeypatch.setattr(prepare, "locked", reached)
    monkeypatch.setattr(evaluator, "read_clips", reached)
    return tmp_path


def run(command, arguments: list[str], capsys) -> tuple[int, str]:
    """Exit code and stderr of a command line; a traceback would be an exception here."""
    try:
        code = command(arguments)
    except SystemExit as error:
        code = error.code
    return code, capsys.readouterr().err


def check(command, arguments: list[str], capsys) -> bool:
    """Whether the line was refused, and in one line."""
    code, said = run(command, arguments, capsys)
    if code == 0:
        return False
    errors = [line for line in said.split("\n") if line.startswith("error: ")]
    assert len(errors) == 1, (arguments, said)
    assert said.endswith(f"{errors[0]}\n"), (arguments, said)
    assert len(errors[0]) > 20, arguments
    assert "Traceback" not in said
    return True


def test_config_overrides(place, capsys):
    rng = random.Random(1)
    refused = 0
    for field in FIELDS:
        for value in rng.sample(NASTY, 4):
            arguments = [TINY, f"--workdir={place}/run", f"--config.{field}={value}"]
            refused += check(main.main, arguments, capsys)
    for _ in range(60):
        name = "".join(rng.choice([*"abc._=-", *NASTY]) for _ in range(rng.randrange(8)))
        arguments = [TINY, rng.choice(["--config.", "--config", "--", "", "-"]) + name]
        refused += check(main.main, arguments, capsys)
    assert refused > 250


def test_config_files(place, capsys):
    (place / "none.py").write_text("x = 1\n")
    (place / "raises.py").write_text("def get_config():\n    raise KeyError('a\\nb')\n")
    (place / "number.py").write_text("def get_config():\n    return 3\n")
    (place / "zero.py").write_text("1 / 0\n")
    (place / "arguments.py").write_text("def get_config(a, b):\n    return 3\n")
    (place / "latin.py").write_bytes(b"# \xff\n")
    names = [f"{CONFIGS}/{name}.py" for name in ("tiny", "decoupled", "ablations")]
    files = [*names, *(path.name for path in place.glob("*.py")), *NASTY]
    for file in files:
        for argument in ("", ":", ":huge", ":\n", ":hsic,"):
            if file in names and argument in ("", ":"):
                continue  # right
            assert check(main.main, [f"--config={file}{argument}"], capsys), (file, argument)


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_command_lines(place, capsys, name):
    rng = random.Random(name)
    for _ in range(60):
        arguments = [name] if name else []
        for _ in range(rng.randrange(5)):
            option = rng.choice([*OPTIONS[name], "", rng.choice(NASTY)])
            arguments += [option, rng.choice(NASTY)] if rng.random() < 0.7 else [option]
        check(cli.main, arguments, capsys)


def test_a_right_command_line_comes_to_its_work(place, capsys):
    for command, arguments in (
        (main.main, [TINY, "--config.train.epochs=3"]),
        (cli.main, ["train", TINY, f"--workdir={place}/here"]),
        (cli.main, ["demo", "new", "--actors", "4"]),
    ):
        code, said = run(command, arguments, capsys)
        assert (code, said.splitlines()[-1]) == (1, "error: the work would begin here")
    assert {path.name for path in Path().iterdir()} >= {"runs", "here"}
