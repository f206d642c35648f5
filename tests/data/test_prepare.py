import csv
import dataclasses
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.media_files import face_takes, tone, write_media

from jax_avemo.data import prepare as module
from jax_avemo.data.clip import ClipOptions, clip_to_bytes, make_clip
from jax_avemo.data.clip_store import read_clips
from jax_avemo.data.prepare import prepare
from jax_avemo.runtime.errors import UserError
from jax_avemo.schema import Clip

OPTIONS = ClipOptions(frame_size=48, frames_per_second=5, max_seconds=10)
GOOD = [
    f"Actor_0{actor}/01-01-0{emotion}-01-01-01-0{actor}.mp4"
    for actor in (1, 2)
    for emotion in (3, 5)
]
TEXT, BLANK = "Actor_01/01-01-04-01-01-01-01.mp4", "Actor_02/01-01-08-01-01-01-02.mp4"


@pytest.fixture(scope="module")
def take(tmp_path_factory) -> Path:
    return write_media(
        tmp_path_factory.mktemp("take") / "x.mp4",
        face_takes(8),
        sound=tone(0.8, rate=16_000),
        rate=16_000,
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory, take) -> Path:
    """Four takes, a text file, and a film of nobody."""
    folder = tmp_path_factory.mktemp("source")
    for index, name in enumerate(GOOD):
        voice = tone(0.8, 300 + 100 * index, rate=16_000)
        write_media(folder / name, face_takes(8), sound=voice, rate=16_000)
    (folder / TEXT).write_text("no film")
    write_media(folder / BLANK, [np.full((64, 64, 3), 90, np.uint8)] * 5, sound=tone(0.5))
    shutil.copy(take, folder / "Actor_01/02-01-03-01-01-01-01.mp4")
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, source) -> Path:
    folder = tmp_path_factory.mktemp("prepared") / "data"
    prepare("demo", source, folder, OPTIONS, workers=2)
    return folder


@pytest.fixture
def tasks_done(monkeypatch) -> list:
    """Collects the recordings that workers are given."""
    done: list = []
    original = module.make_clips

    def counted(tasks, **keywords):
        done.extend(task.recording.labels.key for task in tasks)
        return original(tasks, **keywords)

    monkeypatch.setattr(module, "make_clips", counted)
    return done


def blocks(data_dir: Path) -> dict[str, bytes]:
    source = read_clips(data_dir)
    clips: list[Clip] = [source[index] for index in range(len(source))]
    return {clip.labels.key: clip_to_bytes(clip) for clip in clips}


def test_the_summary_says_what_is_there(prepared, source):
    summary = json.loads((prepared / "summary.json").read_text())
    assert (summary["corpus"], summary["source"]) == ("demo", str(source))
    assert summary["options"] == OPTIONS.to_dict()
    assert (summary["clips"], summary["subjects"], summary["rejected"]) == (4, 2, 2)
    assert summary["emotions"] == {
        "neutral": 0,
        "calm": 0,
        "happy": 2,
        "sad": 0,
        "angry": 2,
        "fearful": 0,
        "disgust": 0,
        "surprised": 0,
    }
    assert [reject["path"] for reject in summary["rejects"]] == [TEXT, BLANK]
    assert summary["rejects"][0]["reason"] == "is text, not audio or video"
    assert summary["rejects"][1]["reason"] == "no face found in any of 3 frames"
    assert summary["long_sessions"] == []
    assert summary["statistics"]["by_subject"]["01"]["emotions"] == {"angry": 1, "happy": 1}
    assert summary["statistics"]["audio"]["level_db"]["mean"] == pytest.approx(-13.5, abs=0.5)
    assert (prepared / "summary.txt").read_text().startswith("demo (SYNTHETIC): 4 clips of 2")
    clips = read_clips(prepared)
    assert (clips.corpus, clips.synthetic) == ("demo", True)
    assert summary["notes"] == ["skipped 1 files without audio (modality 02, the same takes)"]
    assert summary["face_found_rate"] == 1.0
    assert summary["duration_seconds"]["mean"] == pytest.approx(0.8, abs=0.07)
    assert not (prepared / ".staging").exists()


def test_rejects_are_a_table(prepared):
    with (prepared / "rejects.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["path", "reason"]
    assert [row[0] for row in rows[1:]] == [TEXT, BLANK]


def test_stored_clips_are_what_prediction_would_see(prepared, source):
    scan = module._scan("demo", source, OPTIONS)
    stored = blocks(prepared)
    assert list(stored) == GOOD
    for recording in scan.recordings:
        if recording.labels.key in GOOD:
            assert clip_to_bytes(make_clip(recording, OPTIONS)) == stored[recording.labels.key]


def test_a_second_run_has_nothing_to_do(prepared, source, tasks_done):
    before = {path: path.stat().st_mtime_ns for path in prepared.rglob("*")}
    summary = prepare("demo", source, prepared, OPTIONS)
    assert (summary.clips, tasks_done) == (4, [])
    assert {path: path.stat().st_mtime_ns for path in prepared.rglob("*")} == before


def test_workers_and_place_change_no_byte(prepared, source, tmp_path):
    prepare("demo", source, tmp_path / "again", OPTIONS, workers=1)
    for path in sorted((prepared / "clips").rglob("*")):
        twin = tmp_path / "again" / path.relative_to(prepared)
        assert path.is_dir() or path.read_bytes() == twin.read_bytes()


def test_only_what_is_new_is_made(prepared, source, tmp_path, take, tasks_done):
    folder, more = tmp_path / "data", tmp_path / "source"
    shutil.copytree(prepared, folder)
    shutil.copytree(source, more)
    added = "Actor_02/01-01-07-01-01-01-02.mp4"
    shutil.copy(take, more / added)
    summary = prepare("demo", more, folder, OPTIONS, workers=1)
    assert (summary.clips, summary.emotions["disgust"], summary.rejected) == (5, 1, 2)
    assert set(tasks_done) == {added, TEXT, BLANK}
    old = blocks(prepared)
    assert {key: value for key, value in blocks(folder).items() if key in old} == old
    assert not (folder / ".staging").exists()


def test_what_is_gone_from_the_source_goes_from_the_clips(prepared, source, tmp_path, tasks_done):
    folder, fewer = tmp_path / "data", tmp_path / "source"
    shutil.copytree(prepared, folder)
    shutil.copytree(source, fewer)
    for name in (GOOD[0], TEXT, BLANK):
        (fewer / name).unlink()
    summary = prepare("demo", fewer, folder, OPTIONS, workers=1)
    assert (summary.clips, summary.rejected, tasks_done) == (3, 0, [])
    assert list(blocks(folder)) == GOOD[1:]


def test_clips_outlive_their_source(prepared, source, tmp_path):
    folder, gone = tmp_path / "data", tmp_path / "gone"
    shutil.copytree(source, gone)
    shutil.copytree(prepared, folder)
    text = (folder / "summary.json").read_text()
    (folder / "summary.json").write_text(text.replace(str(source), str(gone)))
    shutil.rmtree(gone)
    assert prepare("demo", gone, folder, OPTIONS).clips == 4
    with pytest.raises(UserError, match="elsewhere does not exist"):
        prepare("demo", tmp_path / "elsewhere", folder, OPTIONS)


@pytest.mark.parametrize(
    ("corpus", "change", "named"),
    [
        ("demo", {"frame_size": 64}, "frame_size 48 (asked: 64)"),
        ("ravdess", {}, "corpus 'demo' (asked: 'ravdess')"),
        ("demo", {"face_fallback": "center"}, "face_fallback 'reject' (asked: 'center')"),
    ],
)
def test_another_kind_of_clips_needs_another_folder(prepared, source, corpus, change, named):
    options = dataclasses.replace(OPTIONS, **change)
    with pytest.raises(UserError) as caught:
        prepare(corpus, source, prepared, options)
    assert str(caught.value) == (
        f"{prepared} holds clips with {named}: use another --data-dir, or delete this one"
    )


def test_nothing_usable_is_an_error_with_reasons(tmp_path, source):
    folder = tmp_path / "source"
    folder.mkdir()
    for name in (TEXT, BLANK):
        shutil.copy(source / name, folder)
    with pytest.raises(UserError) as caught:
        prepare("demo", folder, tmp_path / "data", OPTIONS, workers=1)
    message = str(caught.value)
    assert message.startswith("none of 2 recordings could be used (01-01-04")
    assert "no face found in any of 3 frames" in message
    assert str(tmp_path / "data/rejects.csv") in message
    assert len((tmp_path / "data/rejects.csv").read_text().splitlines()) == 3
    assert not (tmp_path / "data/summary.json").exists()


def test_unknown_corpus_and_damaged_summary(tmp_path, source, prepared):
    with pytest.raises(UserError, match="no corpus 'savee': known are crema_d, demo"):
        prepare("savee", source, tmp_path / "data", OPTIONS)
    shutil.copytree(prepared, tmp_path / "copy")
    (tmp_path / "copy/summary.json").write_text('{"clips": 4}')
    with pytest.raises(UserError, match=r"summary.json is damaged"):
        prepare("demo", source, tmp_path / "copy", OPTIONS)


def test_two_runs_at_once_are_refused(tmp_path, source):
    folder = tmp_path / "data"
    folder.mkdir()
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process is preparing"):
            prepare("demo", source, folder, OPTIONS)


def test_nothing_is_said_on_stdout(tmp_path, source, capfd):
    prepare("demo", source, tmp_path / "data", OPTIONS, workers=1)
    assert capfd.readouterr().out == ""


def test_a_broken_link_is_a_reject(tmp_path, take):
    folder = tmp_path / "source"
    folder.mkdir()
    shutil.copy(take, folder / "01-01-03-01-01-01-01.mp4")
    (folder / "01-01-05-01-01-01-01.mp4").symlink_to(tmp_path / "nowhere")
    summary = prepare("demo", folder, tmp_path / "data", OPTIONS, workers=1)
    assert [reject.reason for reject in summary.rejects] == ["no such file"]


def killed_while_preparing(source: Path, folder: Path) -> None:
    """Start a run in another process, and kill it once two clips are staged."""
    script = (
        "import sys; from pathlib import Path\n"
        "from jax_avemo.data.prepare import prepare\n"
        "from jax_avemo.data.clip import ClipOptions\n"
        "if __name__ == '__main__':\n"
        "    options = ClipOptions(frame_size=48, frames_per_second=5, max_seconds=10)\n"
        "    prepare('demo', Path(sys.argv[1]), Path(sys.argv[2]), options, workers=1)\n"
    )
    path = folder.parent / "run.py"
    path.write_text(script)
    root = Path(module.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    process = subprocess.Popen(
        [sys.executable, str(path), str(source), str(folder)],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while len(list(folder.glob(".staging/[!.]*.clip"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.002)
        assert process.poll() is None, "the run ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path, take, tasks_done):
    source, folder = tmp_path / "source", tmp_path / "data"
    source.mkdir()
    names = [f"01-01-0{emotion}-01-01-01-01.mp4" for emotion in range(1, 9)]
    for name in names:
        shutil.copy(take, source / name)
    killed_while_preparing(source, folder)
    assert not (folder / "summary.json").exists()
    summary = prepare("demo", source, folder, OPTIONS, workers=1)
    assert summary.clips == 8
    assert 0 < len(tasks_done) <= 6
    prepare("demo", source, tmp_path / "whole", OPTIONS, workers=1)
    assert blocks(folder) == blocks(tmp_path / "whole")


def test_a_damaged_staged_clip_is_made_again(tmp_path, source):
    folder = tmp_path / "data"
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr(module._Preparation, "_build", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            prepare("demo", source, folder, OPTIONS, workers=1)
    staged = sorted(folder.glob(".staging/*.clip"))
    staged[1].write_bytes(staged[1].read_bytes()[:-9])
    with pytest.raises(UserError, match="run it again"):
        prepare("demo", source, folder, OPTIONS, workers=1)
    assert prepare("demo", source, folder, OPTIONS, workers=1).clips == 4


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("moment", ["old set aside", "new in place"])
def test_killed_while_the_new_clips_take_their_place(
    prepared, source, tmp_path, take, monkeypatch, tasks_done, moment
):
    folder, more = tmp_path / "data", tmp_path / "source"
    shutil.copytree(prepared, folder)
    shutil.copytree(source, more)
    shutil.copy(take, more / "Actor_02/01-01-07-01-01-01-02.mp4")
    original, renames = Path.rename, []

    def rename(path: Path, target: Path) -> Path:
        if path.name == "clips":
            if moment == "old set aside" and len(renames) == 1:
                raise KeyboardInterrupt
            renames.append(path)
            moved = original(path, target)
            if moment == "new in place" and len(renames) == 2:
                raise KeyboardInterrupt
            return moved
        return original(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        prepare("demo", more, folder, OPTIONS, workers=1)
    monkeypatch.setattr(Path, "rename", original)
    tasks_done.clear()
    assert prepare("demo", more, folder, OPTIONS, workers=1).clips == 5
    assert tasks_done == []
    assert len(blocks(folder)) == 5
