"""Preparation in Apache Beam's local runner, on two workers."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.media_files import face_takes, tone, write_media
from support.processes import LIMIT_SECONDS

from jax_avemo.data.beam import BeamRunner
from jax_avemo.data.clip import ClipOptions
from jax_avemo.data.prepare import prepare
from jax_avemo.runtime.errors import UserError

OPTIONS = ClipOptions(frame_size=48, frames_per_second=5, max_seconds=10)
FLAGS = "--direct_num_workers=2 --direct_running_mode=multi_processing"
TWO_WORKERS = BeamRunner("DirectRunner", tuple(FLAGS.split()))


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """Six good takes in folders of two people, a text and an empty file."""
    folder = tmp_path_factory.mktemp("source")
    for index in range(6):
        write_media(
            folder / f"happy/{'ab'[index % 2]}/{index}.mp4",
            face_takes(8),
            sound=tone(0.8, 200 + 20 * index, rate=16_000),
            rate=16_000,
        )
    (folder / "happy/a/text.mp4").write_text("no film")
    (folder / "happy/b/empty.mp4").touch()
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory, source) -> Path:
    """Prepared without Beam."""
    folder = tmp_path_factory.mktemp("alone") / "data"
    prepare("folder", source, folder, OPTIONS, workers=2)
    return folder


def written(data_dir: Path) -> dict[str, bytes]:
    """The data set's files and the list of rejects."""
    files = [data_dir / "rejects.csv", *(data_dir / "clips").rglob("*")]
    return {str(path.relative_to(data_dir)): path.read_bytes() for path in files if path.is_file()}


def test_without_the_extra_it_says_what_to_install(tmp_path, source, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(UserError, match=r"pip install 'jax_avemo\[beam\]'"):
        prepare("folder", source, tmp_path / "data", OPTIONS, beam=TWO_WORKERS)


def test_two_preparations_write_the_same_bytes(tmp_path, source, alone):
    """In another process too: protobuf orders its maps anew in each."""
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from jax_avemo.data.clip import ClipOptions\n"
        "from jax_avemo.data.prepare import prepare\n"
        "options = ClipOptions(frame_size=48, frames_per_second=5, max_seconds=10)\n"
        "prepare('folder', Path(sys.argv[1]), Path(sys.argv[2]), options, workers=2)\n"
    )
    folder = tmp_path / "data"
    subprocess.run([sys.executable, "-c", script, str(source), str(folder)], check=True)
    assert written(folder) == written(alone)


@pytest.mark.slow
def test_two_workers_write_the_same_bytes(tmp_path, source, alone):
    pytest.importorskip("apache_beam")
    folder = tmp_path / "data"
    summary = prepare("folder", source, folder, OPTIONS, beam=TWO_WORKERS)
    assert (summary.clips, summary.rejected) == (6, 2)
    assert written(folder) == written(alone)


@pytest.mark.slow
def test_a_run_whose_worker_is_killed_goes_on_to_the_same_bytes(tmp_path, source, alone):
    pytest.importorskip("apache_beam")
    folder = tmp_path / "data"
    command = [sys.executable, "-m", "jax_avemo.cli", "prepare", "folder"]
    command += ["--source", str(source), "--data-dir", str(folder), "--size=48", "--fps=5"]
    command += ["--max-seconds=10", "--beam-runner=DirectRunner", f"--beam-options={FLAGS}"]
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + LIMIT_SECONDS
    while not list(folder.glob(".staging/[!.]*.clip")) and time.monotonic() < deadline:
        assert running.poll() is None, "the run ended before a worker could be killed"
        time.sleep(0.002)
    for worker in beam_workers(running.pid)[:1]:
        os.kill(worker, signal.SIGKILL)
    # Beam's local runner may wait for the dead worker for ever.
    running.kill()
    running.wait()
    assert not (folder / "summary.json").exists()
    summary = prepare("folder", source, folder, OPTIONS, beam=TWO_WORKERS)
    assert (summary.clips, summary.rejected) == (6, 2)
    assert written(folder) == written(alone)


def beam_workers(parent: int) -> list[int]:
    """Beam's workers, children of shells that `parent` started; at least one."""
    found = [
        process
        for process, (ancestor, command) in processes().items()
        if b"sdk_worker_main" in command and processes().get(ancestor, (0, b""))[0] == parent
    ]
    assert found, "no worker of Beam runs"
    return found


def processes() -> dict[int, tuple[int, bytes]]:
    """Of all that run: the parent and the command line."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            found[int(folder.name)] = (parent, (folder / "cmdline").read_bytes())
    return found
