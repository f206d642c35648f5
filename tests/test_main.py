"""The main job end to end at size tiny, killed and resumed; what a mistake looks like."""

import argparse
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from support.main_job import (
    CONFIGS,
    TINY,
    begin_corpus,
    command,
    experiment_here,
    fingerprint,
)
from support.media_files import face_takes, tone, write_media

from jax_avemo import cli, command_line, main
from jax_avemo import config as settings
from jax_avemo import experiment as library
from jax_avemo.evaluation.evaluator import load_finished
from jax_avemo.evaluation.results import CrossCorpusResults, read_results_of
from jax_avemo.evaluation.tables import cross_corpus_table
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.files import locked, write_json
from jax_avemo.runtime.records import to_json
from jax_avemo.training import checkpoints
from jax_avemo.training.metric_writer import MetricsLog


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with the demo corpus, its clips, and one finished run."""
    home = tmp_path_factory.mktemp("home")
    begin_corpus(home)
    (home / "stdout").write_text(experiment_here(home, "runs/whole"))
    return home


def test_the_main_job_says_where_everything_is_and_prints_the_table(home):
    printed = (home / "stdout").read_text()
    for word in ("UAR", "WAR", "macro-F1", "z_e", "z_i", "identity", "chance", "SYNTHETIC"):
        assert word in printed
    for name in ("config.json", "metrics.jsonl", "results.json", "predictions.jsonl", "card.md"):
        assert (home / "runs/whole" / name).is_file()
        assert f"runs/whole/{name}" in printed
    assert "unseen" in printed
    for name in ("report", "predict", "serve"):
        assert re.search(rf"avemo {name} .*runs/whole$", printed, re.MULTILINE)


def test_results_say_where_they_come_from(home):
    results = json.loads((home / "runs/whole/results.json").read_text())
    split = results["split"]
    parts = [set(split[f"{part}_subjects"]) for part in ("train", "validation", "test")]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 4
    assert results["synthetic"]
    assert results["subject_independent"]
    assert results["config"]["train.epochs"] == 4
    assert results["metrics"]["test"]["clips"] == 16
    assert 0 <= results["metrics"]["test"]["uar"] <= 1
    assert results["metrics"]["test"]["uar_interval"] is None  # one subject
    assert {"commit", "versions", "hardware", "seed", "schema_version"} <= results.keys()
    lines = (home / "runs/whole/predictions.jsonl").read_text().splitlines()
    assert len(lines) == 16
    assert {json.loads(line)["subject"] for line in lines} == parts[2]


def test_a_finished_experiment_is_not_done_again(home):
    before = {p: p.stat().st_mtime_ns for p in (home / "runs/whole").rglob("*") if p.is_file()}
    assert experiment_here(home, "runs/whole") == (home / "stdout").read_text()
    after = {p: p.stat().st_mtime_ns for p in before}
    unchanged = {p for p in before if "checkpoints" in p.parts or p.name == "results.json"}
    assert all(after[p] == before[p] for p in unchanged)


def test_broken_off_and_started_again_ends_in_the_same_bytes(home, monkeypatch):
    run, write = home / "runs/broken", MetricsLog.write

    def write_until_step_9(log, step, kind, values):
        write(log, step, kind, values)
        if step == 9:
            sys.exit("broken off")  # which no code catches

    with monkeypatch.context() as patch:
        patch.setattr(MetricsLog, "write", write_until_step_9)
        with pytest.raises(SystemExit, match="broken off"):
            experiment_here(home, "runs/broken")
    assert not (run / "results.json").exists()
    log, (saved,) = run / "metrics.jsonl", (run / "checkpoints").iterdir()
    # As a kill leaves them: half a line, and a checkpoint that was being written.
    log.write_bytes(log.read_bytes() + b'{"step": 10, "ki')
    shutil.copytree(saved, saved.with_name("10.orbax-checkpoint-tmp"))
    experiment_here(home, "runs/broken")
    assert log.read_bytes() == (home / "runs/whole/metrics.jsonl").read_bytes()
    assert fingerprint(run) == fingerprint(home / "runs/whole")
    assert not list((run / "checkpoints").glob("*tmp*"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM])
def test_killed_and_started_again_ends_in_the_same_bytes(home, kind):
    workdir = f"runs/{kind.name}"
    run = home / workdir
    process = subprocess.Popen(
        **command(home, workdir, devices=2), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    log = run / "metrics.jsonl"
    deadline = time.monotonic() + 600
    while not (log.exists() and b'"step": 9' in log.read_bytes()):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(kind)
    message = process.communicate(timeout=120)[1]
    if kind == signal.SIGTERM:
        assert process.returncode == 128 + signal.SIGTERM
        assert "the same command goes on" in message
    else:
        assert process.returncode == -signal.SIGKILL
    assert not (run / "results.json").exists()
    experiment_here(home, workdir)
    assert log.read_bytes() == (home / "runs/whole/metrics.jsonl").read_bytes()
    assert fingerprint(run) == fingerprint(home / "runs/whole")


def test_evaluate_needs_no_config_and_keeps_its_programs(home, tmp_path, monkeypatch, capsys):
    (home / "runs/whole/config.json").rename(home / "config.json")
    monkeypatch.chdir(home)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    jax.config.update("jax_compilation_cache_dir", None)  # as in a user's process
    try:
        assert cli.main(["evaluate", "runs/whole", "--split", "validation", "--json"]) == 0
    finally:
        (home / "config.json").rename(home / "runs/whole/config.json")
    results = json.loads(capsys.readouterr().out)
    assert results["metrics"]["validation"]["clips"] == 16
    kept = jax.config.values["jax_compilation_cache_dir"]
    assert kept == str(tmp_path / "jax_avemo/compiled")


def test_a_run_is_measured_on_another_corpus_by_one_flag(home, tmp_path, monkeypatch, capsys):
    takes = [f"100{n}_DFA_{code}_XX.flv" for n in (1, 2) for code in ("ANG", "HAP")]
    for index, name in enumerate(takes):
        film = tmp_path / "media/VideoFlash" / name
        write_media(film, face_takes(6), sound=tone(0.6, 400 + 50 * index), video_codec="flv")
    monkeypatch.chdir(home)
    elsewhere = ["evaluate", "runs/whole", "--corpus", "crema_d", "--data-dir", "data/crema"]
    assert cli.main([*elsewhere, "--source", str(tmp_path / "media"), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert (results["corpus"], results["synthetic"]) == ("crema_d", False)
    assert results["trained_on"]["corpus"] == "demo"
    assert results["trained_on"]["synthetic"]
    assert results["emotions"] == ["happy", "angry"]
    found = results["metrics"]["cross_corpus"]
    assert (found["clips"], found["chance"]) == (4, 0.5)
    assert found["war"] == np.trace(found["confusion"]) / 4
    lines = (home / "runs/whole/predictions-crema_d.jsonl").read_text().splitlines()
    assert [json.loads(line)["emotion"] for line in lines] == ["anger", "happy"] * 2
    assert all(sum(json.loads(line)["probabilities"]) == pytest.approx(1) for line in lines)
    elsewhere_results = home / "runs/whole/results-crema_d.json"
    shutil.rmtree(tmp_path / "media")
    assert "on crema_d: 4 clips of 2 subjects" in cross_corpus_table(
        read_results_of(CrossCorpusResults, elsewhere_results), Path("runs/whole")
    )
    config = settings.make_config("x", "tiny")
    clips = library.clips_of_another(config, "crema_d", None, Path("data/crema"))
    assert len(clips) == 4  # prepared clips need no media
    assert cli.main([*elsewhere[:3], "demo"]) == 1
    assert "was trained on demo: without --corpus" in one_line(capsys)


def test_a_run_of_another_config_is_refused(home, monkeypatch, capsys):
    monkeypatch.chdir(home)
    before = (home / "runs/whole/config.json").read_bytes()
    code = main.main([TINY, "--workdir=runs/whole", "--config.train.epochs=5"])
    assert code == 1
    assert one_line(capsys).startswith(
        "error: runs/whole was made by another config: train.epochs is 4 there and 5 here"
    )
    assert (home / "runs/whole/config.json").read_bytes() == before


@pytest.mark.parametrize("command", ["experiment", "evaluate"])
def test_a_second_process_on_a_run_is_refused(home, monkeypatch, capsys, command):
    monkeypatch.chdir(home)
    with locked(home / "runs/whole", "busy"):
        if command == "evaluate":
            assert cli.main(["evaluate", "runs/whole"]) == 1
        else:
            assert main.main([TINY, "--workdir=runs/whole", "--config.train.epochs=4"]) == 1
    assert "error: another process is at work in runs/whole" in one_line(capsys)


def test_evaluate_refuses_a_damaged_checkpoint_and_names_the_whole_one(home, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(home / "runs/whole/checkpoints", run / "checkpoints")
    manager = checkpoints.open_checkpoints(run, read_only=True)
    best, steps = checkpoints.best_step(manager, run), manager.all_steps()
    manager.close()
    for step in steps:  # as after a run whose best is its last: two whole ones
        if step != best:
            break
    else:
        step = best - 1
        shutil.copytree(run / f"checkpoints/{best}", run / f"checkpoints/{step}")
    # A bit of what was recorded: not every byte of the stored arrays is read.
    recorded = run / f"checkpoints/{best}/checksums/metadata"
    sums = json.loads(recorded.read_text())
    sums["state"][min(sums["state"])] ^= 1
    write_json(recorded, sums)
    assert cli.main(["evaluate", str(run)]) == 1
    said = one_line(capsys)
    assert f"checkpoints/{best} is damaged (the checksum of" in said
    assert f"step {step} is whole; delete {run}/checkpoints/{best} to use that" in said
    assert not (run / "results.json").exists()


def begun(run: Path, config) -> Path:
    """A run directory in which the config has trained one step."""
    (run / "checkpoints/1").mkdir(parents=True)
    write_json(run / "config.json", settings.to_dict(config))
    return run


def test_a_network_without_identity_goes_on_whatever_the_coupling(tmp_path):
    fused = {"model.decouple": False}

    def make(changes):
        return settings.make_config("x", "tiny", changes)

    run = begun(tmp_path / "fused", make(fused))
    library.check_claim(
        run, make(fused | {"model.adversary": "none", "objective.reversal_strength": 2.0})
    )
    for changes in ({"objective.auxiliary_weight": 2.0}, {"train.epochs": 5}):
        with pytest.raises(UserError, match=next(iter(changes))):
            library.check_claim(run, make(fused | changes))
    other = begun(tmp_path / "decoupled", make({}))
    with pytest.raises(UserError, match="model.adversary"):
        library.check_claim(other, make({"model.adversary": "none"}))


def test_a_first_start_that_fails_does_not_block_the_next(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    failing = [TINY, "--config.data.corpus=ravdess", "--config.data.source=missing"]
    assert main.main(failing) == 1
    assert "missing" in one_line(capsys)
    assert not Path("runs/tiny/config.json").exists()
    # As after a start that failed between its config and its first checkpoint.
    ravdess = settings.load_config(f"{CONFIGS}/tiny.py", ["data.corpus=ravdess"])
    write_json(Path("runs/tiny/config.json"), settings.to_dict(ravdess))
    library.check_claim(Path("runs/tiny"), settings.load_config(f"{CONFIGS}/tiny.py"))


def test_damaged_small_files_of_a_run_are_one_line_or_made_again(home, tmp_path, capsys):
    config = settings.load_config(f"{CONFIGS}/tiny.py")
    shutil.copytree(home / "runs/whole/checkpoints", tmp_path / "checkpoints")
    for content, says in (('{"seed": 0', "is damaged"), ('{"old": 0}', "by another version")):
        (tmp_path / "config.json").write_text(content)
        assert command_line.guarded(lambda: library.check_claim(tmp_path, config)) == 1
        assert says in one_line(capsys)
    whole = (home / "runs/whole/results.json").read_bytes()
    (tmp_path / "results.json").write_bytes(whole)
    assert to_json(load_finished(tmp_path)) == json.loads(whole)
    (tmp_path / "results.json").write_bytes(whole[: len(whole) // 2])
    assert load_finished(tmp_path) is None


def one_line(capsys) -> str:
    """The one error line of what was printed (a Traceback would be many)."""
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1, lines
    assert not any("Traceback" in line for line in lines)
    return errors[0]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--config=configs/nope.py"], "no config file 'configs/nope.py'"),
        ([TINY, "--config.train.epoch=3"], "did you mean 'train.epochs'"),
        ([TINY + ":huge"], "no such size 'huge'"),
        ([f"--config={CONFIGS}/ablations.py:nothing"], "no ablation 'nothing'"),
        ([TINY, "--epochs=3"], "no such argument '--epochs=3'"),
        ([TINY, "--config.data.corpus=nope", "--config.data.source=."], "nope"),
        ([TINY, "--config.data.corpus=ravdess"], "needs --config.data.source"),
        ([TINY, "--config.data.corpus=ravdess", "--config.data.source=missing"], "missing"),
        ([TINY, "--config.data.modality=audio"], "need a network of it alone"),
    ],
)
def test_a_mistake_is_one_clear_line(arguments, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main.main(arguments) == 1
    assert says in one_line(capsys)


@pytest.mark.parametrize("corpus", ["ravdess", "enterface05", "crema_d", "folder", "manifest"])
@pytest.mark.parametrize("content", ["nothing", "text"])
def test_a_folder_without_media_is_one_clear_line(corpus, content, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "media").mkdir()
    if content == "text":
        (tmp_path / "media/happy/anna").mkdir(parents=True)
        (tmp_path / "media/notes.txt").write_text("no film")
        (tmp_path / "media/happy/anna/readme.txt").write_text("no film")
    code = cli.main(["prepare", corpus, "--source", "media", "--data-dir", "clips"])
    assert code == 1
    assert "media" in one_line(capsys)
    assert not (tmp_path / "clips/summary.json").exists()


def test_evaluate_of_no_run_is_one_clear_line(tmp_path, capsys):
    assert cli.main(["evaluate", str(tmp_path)]) == 1
    assert "no checkpoints in" in one_line(capsys)


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom jax_avemo import cli\n"
        "try:\n    cli.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'jax', 'flax', 'cv2', 'av', 'grain', 'tensorflow_datasets', 'sklearn'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


def test_bare_avemo_shows_help_and_is_a_mistake(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([])
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    assert all(f"\n    {name} " in said.err for name in cli.COMMANDS)
    assert said.err.splitlines()[-1].startswith("error: a COMMAND is needed")


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_help_has_an_example_and_every_default(name, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([name, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert f"example:\n  avemo {name} " in said.replace(f"avemo {name}\n", f"avemo {name} \n")
    parser = cli.build_parser()
    (commands,) = [a for a in parser._actions if a.dest == "command"]
    for action in commands.choices[name]._actions:
        if action.default not in (None, "", False, argparse.SUPPRESS):
            several = isinstance(action.default, tuple)
            default = ",".join(action.default) if several else str(action.default)
            assert f"(default: {default})" in " ".join(said.split()) or "(0: one" in action.help


def test_the_config_of_the_package_is_taken_outside_a_checkout_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert settings.load_config("configs/tiny.py").name == "tiny"
    assert "no folder configs here, so configs/tiny.py is the package's" in capsys.readouterr().err
    for name, says in (
        ("tiny.py", r"no config file 'tiny.py'; did you mean 'configs/tiny.py'"),
        ("mine/tiny.py", "no config file 'mine/tiny.py'"),
        ("configs/tinny.py", r"did you mean 'configs/tiny.py'"),
    ):
        with pytest.raises(UserError, match=says):
            settings.load_config(name)
    (tmp_path / "configs").mkdir()
    with pytest.raises(UserError, match=r"no config file 'configs/tiny.py'"):
        settings.load_config("configs/tiny.py")


def leaves(node, path: str = "") -> set[str]:
    """Dotted paths of what is no object; lists are values."""
    if not isinstance(node, dict):
        return {path}
    return {leaf for name, child in node.items() for leaf in leaves(child, f"{path}{name}\0")}


def test_the_data_contract_has_every_field_of_results_json(home):
    page = (CONFIGS.parent / "docs/reference/data.md").read_text().split("## results.json")[1]
    documented = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    assert len(documented) == len(set(documented)) > 50
    patterns = {
        # A config's own names have dots: there, a star stands for all that follows.
        name: re.compile(re.escape(name).replace(r"\*", "[^\0]+").replace(r"\.", "\0") + "\0")
        for name in documented
    }
    fields = leaves(json.loads((home / "runs/whole/results.json").read_text()))
    undocumented = {f for f in fields if not any(p.fullmatch(f) for p in patterns.values())}
    assert not undocumented, "give these a line in docs/reference/data.md"
    may_lack = set(re.findall(r"^\| `([^`]+)` \|.*absent where", page, re.MULTILINE))
    always = patterns.keys() - may_lack
    absent = {name for name in always if not any(patterns[name].fullmatch(f) for f in fields)}
    assert not absent, "these lines of docs/reference/data.md have no field"
