"""The corpus on disk: names, determinism, going on after a stop, refusing foreign folders."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

from jax_avemo.media import sandbox
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.files import locked
from jax_avemo.synthetic import corpus
from jax_avemo.synthetic.corpus import actor_look, actor_style, clip_name, write_corpus
from jax_avemo.synthetic.perform import FRAME_SIZE, FRAMES_PER_SECOND
from jax_avemo.synthetic.plan import PlannedTake, plan_corpus

ARGUMENTS = {"actors": 1, "takes": 1, "seed": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out_dir = tmp_path_factory.mktemp("demo") / "corpus"
    write_corpus(out_dir, **ARGUMENTS, workers=2)
    return out_dir


def test_corpus_is_whole_under_ravdess_names(folder):
    names = [path.stem for path in sorted(folder.glob("Actor_01/*.mp4"))]
    fields = np.array([[int(field) for field in name.split("-")] for name in names])
    assert fields.shape == (16, 7)
    assert (fields[:, :2] == 1).all()
    assert (fields[:, 6] == 1).all()
    assert sorted(fields[:, 2]) == sorted([*range(1, 9)] * 2)
    assert (fields[fields[:, 2] == 1, 3] == 1).all()  # neutral is never strong
    assert set(fields[:, 3]) == {1, 2}
    assert json.loads((folder / "corpus.json").read_text()).items() >= ARGUMENTS.items()
    assert not (folder / "unfinished.json").exists()


def test_truth_names_every_clip(folder):
    truth = json.loads((folder / "truth.json").read_text())
    assert set(truth) == {p.relative_to(folder).as_posix() for p in folder.glob("*/*.mp4")}
    assert json.loads((folder / "corpus.json").read_text())["clips"] == 16


def test_a_stopped_run_goes_on_and_makes_the_same_bytes(folder, tmp_path):
    made = tmp_path / "made"
    kept = begun(folder, made, missing=2)
    before = kept.stat().st_mtime_ns
    write_corpus(made, **ARGUMENTS, workers=1)
    assert contents(made) == contents(folder)
    assert kept.stat().st_mtime_ns == before


def test_a_killed_run_leaves_no_process_behind(tmp_path):
    code = (
        "from pathlib import Path\nfrom jax_avemo.synthetic.corpus import write_corpus\n"
        "if __name__ == '__main__':\n"
        "    write_corpus(Path('made'), actors=4, takes=1, seed=1, workers=2)\n"
    )
    (tmp_path / "run.py").write_text(code)
    process = subprocess.Popen(
        [sys.executable, "run.py"],
        cwd=tmp_path,
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("made/Actor_*/*.mp4")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    while True:  # until nobody is left in its session
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_clips_decode_with_picture_and_sound_of_one_length(folder):
    path = sorted(folder.glob("Actor_01/*.mp4"))[5]
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert video.average_rate == FRAMES_PER_SECOND
        assert (video.height, video.width) == (FRAME_SIZE, FRAME_SIZE)
        frames = sum(1 for _ in container.decode(video))
        sample_rate = audio.rate
    with av.open(str(path)) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
    assert 2.0 < frames / FRAMES_PER_SECOND < 4.5
    assert samples / sample_rate == pytest.approx(frames / FRAMES_PER_SECOND, abs=0.1)


def test_another_corpus_is_not_written_into_a_folder_in_use(folder, tmp_path):
    with pytest.raises(UserError, match="another corpus"):
        write_corpus(folder, **{**ARGUMENTS, "seed": 9})
    (tmp_path / "Actor_01").mkdir()
    with pytest.raises(UserError, match="another corpus"):
        write_corpus(tmp_path, **ARGUMENTS)


def test_missing_speech_engine_is_told_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'jax_avemo\[demo\]'"):
        write_corpus(tmp_path / "new", **ARGUMENTS)
    assert not (tmp_path / "new").exists()


def test_people_differ_and_keep_their_number_and_seed():
    assert actor_style(0, 1) != actor_style(0, 3)
    assert actor_style(0, 1) != actor_style(1, 1)
    assert not np.array_equal(actor_look(0, 1).texture, actor_look(0, 2).texture)
    first = [clip_name(p, 0, 0.0) for p in plan_corpus(2, 1, 0)]
    assert first == [clip_name(p, 0, 0.0) for p in plan_corpus(4, 1, 0)][:32]


def test_a_confounded_corpus_has_new_takes_of_the_same_people():
    planned = PlannedTake(actor=1, emotion=4, statement=1, repetition=1)
    assert corpus._take_of(planned, 0, 0.0) != corpus._take_of(planned, 0, 0.5)
    assert corpus._take_of(planned, 0, 0.5) == corpus._take_of(planned, 0, 0.5)


@pytest.mark.parametrize(
    "kind", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.slow)]
)
def test_a_worker_that_dies_or_stands_still_is_replaced(tmp_path, folder, monkeypatch, kind):
    """Its job is done by another to the same bytes, and nothing is left behind."""
    original, lost = sandbox._Child.give, []

    def give(worker, task):
        original(worker, task)
        if not lost:
            while not list(made.glob("Actor_*/.tmp-*")):  # in the middle of a clip
                time.sleep(0.005)
            os.kill(worker._process.pid, kind)
            lost.append(worker)

    made = tmp_path / "made"
    begun(folder, made, missing=3)
    monkeypatch.setattr(sandbox._Child, "give", give)
    if kind == signal.SIGSTOP:
        monkeypatch.setattr(corpus, "_LIMITS", sandbox.Limits(seconds=60))
    write_corpus(made, **ARGUMENTS, workers=1)
    assert len(lost) == 1
    assert contents(made) == contents(folder)


def test_a_worker_that_always_dies_is_one_line(tmp_path, monkeypatch):
    original = sandbox._Child.give

    def give(worker, task):
        original(worker, task)
        worker._process.kill()

    monkeypatch.setattr(sandbox._Child, "give", give)
    with pytest.raises(UserError, match=r"could not be written \(lost its process \(SIGKILL"):
        write_corpus(tmp_path, **ARGUMENTS, workers=1)


def test_two_writers_at_once_are_refused(tmp_path):
    with locked(tmp_path, "busy"), pytest.raises(UserError, match="another process is writing"):
        write_corpus(tmp_path, **ARGUMENTS)


def begun(whole: Path, made: Path, missing: int) -> Path:
    """`made` is `whole` as a killed run leaves it; returns a clip that is there."""
    shutil.copytree(whole, made)
    (made / "corpus.json").rename(made / "unfinished.json")
    (made / "truth.json").unlink()
    clips = sorted(made.glob("Actor_01/*.mp4"))
    for clip in clips[3 : 3 + missing]:
        clip.unlink()
    return clips[0]


def contents(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
