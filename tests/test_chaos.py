"""One run of the main job, killed again and again in every stage, against an unbroken one."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from support.main_job import command, experiment, fingerprint

from jax_avemo.data.clip import clip_to_bytes
from jax_avemo.data.clip_store import read_clips

RUN = "runs/chaos"
LENGTH = ("--config.train.epochs=8", "--config.train.num_evaluations=6")
STEPS = 27
"""Steps of a run of that length; a checkpoint is saved after every fifth, and the last."""
STAGES = ("corpus", "preparation", "training", "saving", "evaluation")


class Job:
    """The main job in `home`, watched through what it leaves on the disk."""

    def __init__(self, home: Path) -> None:
        self.home, self.run = home, home / RUN
        self.data = home / "data/demo-4x1-seed0"
        self.log = home / "stderr.txt"
        self.compiled = f"--config.train.compilation_cache_dir={home.parent}/whole/compiled"
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        self.started = time.time()
        finished = [path.name for path in self.run.glob("checkpoints/*") if path.name.isdecimal()]
        self.saved = max(map(int, finished), default=0)
        arguments = command(self.home, RUN, *LENGTH, self.compiled)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                **arguments, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True
            )

    def wait_for(self, happened) -> bool:
        """Until `happened()`; False when the job ended before."""
        deadline = time.monotonic() + 1800
        while not happened():
            if self.process.poll() is not None:
                assert self.process.returncode == 0, self.log.read_text()[-2000:]
                return False
            assert time.monotonic() < deadline
            time.sleep(0.001)
        return True

    def kill(self) -> None:
        """As a machine that takes a process away; nobody of its session may stay behind."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        assert self.process.returncode == -signal.SIGKILL
        deadline = time.monotonic() + 60
        while True:
            try:
                os.killpg(self.process.pid, 0)
            except ProcessLookupError:
                return
            assert time.monotonic() < deadline, "a worker outlives the job"
            time.sleep(0.02)

    def stage(self) -> str:
        """Where the job stands, as the disk says."""
        if not (self.data / "media/corpus.json").exists():
            return "corpus"
        if not list(self.data.glob("clips-*/summary.json")):
            return "preparation"
        if self.saving():
            return "saving"
        if not (self.run / f"checkpoints/{STEPS}").exists():
            return "training"
        return "evaluation" if not (self.run / "results.json").exists() else "done"

    def clips_on_disk(self) -> int:
        return len(list(self.data.glob("media/Actor_*/*.mp4")))

    def staged(self) -> int:
        return len(list(self.data.glob("clips-*/.staging/*.clip")))

    def step(self) -> int:
        """The last step that this process made and logged; 0 = none yet."""
        path = self.run / "metrics.jsonl"
        if not path.exists() or path.stat().st_mtime < self.started:
            return 0
        lines = path.read_bytes().split(b"\n")[:-1]
        step = json.loads(lines[-1])["step"] if lines else 0
        return step if step > self.saved else 0

    def saving(self) -> int:
        """The step that this process is saving, or left half-saved; 0 = none."""
        steps = [0]
        for path in self.run.glob("checkpoints/*tmp*"):
            with contextlib.suppress(FileNotFoundError):  # it is whole by now
                if path.stat().st_ctime >= self.started:
                    steps.append(int(path.name.split(".")[0]))
        return max(steps)

    def trained(self) -> bool:
        return f"training: {STEPS * 8}/{STEPS * 8} clips" in self.log.read_text(errors="replace")


def kills(job: Job, rng: np.random.Generator):
    """(condition, most seconds after it) of every kill, in the order of the stages."""
    for _ in range(4):
        before = job.clips_on_disk()
        yield lambda n=before: job.clips_on_disk() > n, 1.0
    for _ in range(4):
        # What was staged before the corpus was whole does not exist: the stages follow each other.
        before = job.staged()
        yield lambda n=before: job.staged() > n, 0.15
    moments = [("training", int(step)) for step in rng.integers(1, STEPS, 6)]
    moments += [("saving", int(step)) for step in rng.integers(1, STEPS - 2, 5)]
    for kind, step in sorted(moments, key=lambda moment: moment[1]):
        if kind == "training":
            yield lambda s=step: job.step() >= s, 0.2
        else:
            yield lambda s=step: job.saving() >= s, 0.03
    for _ in range(4):
        yield job.trained, 3.0


def comparable(home: Path) -> dict:
    """What must be equal, file by file; dates of files, times and hosts apart."""
    found = {}
    for folder in (home / "data/demo-4x1-seed0/media", home / RUN):
        for path in folder.rglob("*"):
            kept = path.suffix in {".mp4", ".jsonl"} or path.name in {"truth.json", "split.json"}
            if kept and path.is_file():
                found[str(path.relative_to(home))] = path.read_bytes()
    (index,) = home.glob("data/*/clips-*/clips/index.json")
    told = json.loads(index.read_bytes())
    found["index"] = [entry | {"source": ""} for entry in told.pop("clips")], told
    # Clip by clip: in which order a record has its fields differs from process to process.
    found["clips"] = [clip_to_bytes(clip) for clip in read_clips(index.parents[1])]
    results = json.loads((home / RUN / "results.json").read_bytes())
    results["config"].pop("train.compilation_cache_dir")
    found["results"] = {k: v for k, v in results.items() if k not in {"hardware", "commit"}}
    return found


@pytest.mark.slow
def test_a_run_killed_in_every_stage_ends_in_the_bytes_of_an_unbroken_one(tmp_path, capsys):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    done = experiment(whole, RUN, *LENGTH)
    assert done.returncode == 0, done.stderr
    job, rng = Job(broken), np.random.default_rng(20)
    counts: Counter[str] = Counter()
    for happened, seconds in kills(job, rng):
        job.start()
        if job.wait_for(happened):
            time.sleep(rng.uniform(0, seconds))
            if job.process.poll() is None:
                job.kill()
                counts[job.stage()] += 1
    done = experiment(broken, RUN, *LENGTH, job.compiled)
    assert done.returncode == 0, done.stderr
    told = ", ".join(f"{counts[stage]} in {stage}" for stage in STAGES)
    total = sum(counts[stage] for stage in STAGES)
    with capsys.disabled():
        print(f"\n{total} kills: {told}")
    assert total >= 20
    assert all(counts[stage] >= 2 for stage in STAGES), told
    one, other = comparable(whole), comparable(broken)
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] != other[name]] == []
    assert fingerprint(broken / RUN) == fingerprint(whole / RUN)
    assert [path for path in broken.rglob("*") if path.name.startswith((".tmp-", ".staging"))] == []
