"""A disk that is full, in every stage: a small tmpfs, which root may mount."""

import subprocess
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jax_avemo import cli, command_line
from jax_avemo.runtime.files import write_json
from jax_avemo.synthetic.corpus import write_corpus
from jax_avemo.training import checkpoints
from jax_avemo.training.metric_writer import MetricsLog

pytestmark = pytest.mark.slow
CORPUS = ["--actors", "1", "--workers", "1"]
CLIPS = ["--size", "64", "--fps", "4", "--workers", "1"]


@pytest.fixture
def disk(tmp_path):
    """A function that mounts a tmpfs of so many kilobytes, or resizes it once it is there."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = []

    def size(kilobytes: int) -> Path:
        options = f"{'remount,' if mounted else ''}size={kilobytes}k"
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)])
        if done.returncode:
            pytest.skip("this machine refuses to mount a small disk")
        mounted.append(place)
        return place

    yield size
    if mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "media"
    write_corpus(folder, actors=1, takes=1, seed=0, workers=1)
    return folder


def refused(work, folder: Path, capfd) -> None:
    """`work` fails in one line that names the folder."""
    assert work() == 1
    lines = capfd.readouterr().err.splitlines()
    (said,) = [line for line in lines if line.startswith("error: ")]
    assert "No space left on device" in said
    assert str(folder) in said
    assert not any("Traceback" in line for line in lines), lines


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_the_corpus_goes_on_to_the_same_bytes(disk, corpus, capfd):
    place = disk(400)
    arguments = ["demo", str(place / "media"), *CORPUS]
    refused(lambda: cli.main(arguments), place, capfd)
    made = contents(place)
    whole = contents(corpus)
    clips = {name: data for name, data in made.items() if name.endswith(".mp4")}
    assert clips
    disk(64 << 10)
    assert cli.main(arguments) == 0
    after = contents(place / "media")
    assert after == whole


@pytest.mark.parametrize("kilobytes", [150, 700])
def test_clips_go_on_to_the_same_bytes(disk, corpus, tmp_path, capfd, kilobytes):
    """The smaller disk is full while clips are made, the larger while records are written."""
    place = disk(kilobytes)
    arguments = ["prepare", "demo", "--source", str(corpus), *CLIPS, "--data-dir"]
    refused(lambda: cli.main([*arguments, str(place / "clips")]), place, capfd)
    assert not (place / "clips/summary.json").exists()
    staged = set(place.glob("clips/.staging/*.clip"))
    assert staged
    disk(64 << 10)
    assert cli.main([*arguments, str(place / "clips")]) == 0
    assert cli.main([*arguments, str(tmp_path / "other")]) == 0
    assert contents(place / "clips/clips") == contents(tmp_path / "other/clips")
    assert not (place / "clips/.staging").exists()


def test_a_checkpoint_that_finds_no_room_costs_no_other(disk, capfd):
    place = disk(450)
    state = {"weights": jnp.asarray(np.random.default_rng(0).normal(size=(256, 256)))}

    def save(step: int):
        def work() -> None:
            with checkpoints.writing(place) as manager:
                checkpoints.save(manager, step, state, {"step": step}, 0.1 * step)

        return lambda: command_line.guarded(work)

    assert save(1)() == 0
    refused(save(2), place, capfd)
    disk(64 << 10)
    manager = checkpoints.open_checkpoints(place)
    assert list(manager.all_steps()) == [1]
    restored = checkpoints.restore_latest(manager, state)
    np.testing.assert_array_equal(restored["weights"], state["weights"])
    manager.close()
    assert save(2)() == 0


def test_logs_and_results_keep_what_they_had(disk, capfd):
    place = disk(64)
    write_json(place / "results.json", {"uar": 0.5})
    before = (place / "results.json").read_bytes()
    larger = {"predictions": list(range(50_000))}
    refused(
        lambda: command_line.guarded(lambda: write_json(place / "results.json", larger)),
        place,
        capfd,
    )
    assert (place / "results.json").read_bytes() == before
    assert [path.name for path in place.iterdir()] == ["results.json"]

    def log() -> None:
        with MetricsLog(place / "metrics.jsonl", keep_through=0) as opened:
            for step in range(5000):
                opened.write(step, "train", {"loss": 1.0})

    refused(lambda: command_line.guarded(log), place, capfd)
    disk(640)
    with MetricsLog(place / "metrics.jsonl", keep_through=9) as opened:
        opened.write(10, "train", {"loss": 1.0})
    assert len((place / "metrics.jsonl").read_text().splitlines()) == 11
