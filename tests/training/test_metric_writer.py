import errno
import json
import os

import pytest

from jax_avemo.runtime.errors import UserError
from jax_avemo.training.metric_writer import MetricsLog


def test_reopening_drops_what_lies_behind_the_checkpoint_and_half_lines(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path, keep_through=0) as log:
        for step in (10, 20, 30):
            log.write(step, "train", {"loss": step / 7})
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"step": 40, "ki')
    with MetricsLog(path, keep_through=20) as log:
        log.write(30, "train", {"loss": 30 / 7})
    assert path.read_bytes() == whole


def test_nan_is_null(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path, keep_through=0) as log:
        log.write(1, "validation", {"uar": float("nan")})
    assert json.loads(path.read_text()) == {"step": 1, "kind": "validation", "uar": None}


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1, "kind": "train"}\n{"step": 2, "kin\x00\n{"step": 3}\n')
    with pytest.raises(UserError, match="line 2 of .*metrics.jsonl is damaged"):
        MetricsLog(path, keep_through=9)


def test_a_full_disk_names_the_folder_and_lines_stay_whole(tmp_path):
    """A disk that fills takes a part of a line, then fails: the log goes on after the part."""
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, keep_through=0)
    log.write(1, "train", {"loss": 1.0})
    real, log._file = log._file, Filling(log._file)
    with pytest.raises(OSError, match="No space left") as caught:
        log.write(2, "train", {"loss": 0.5})
    assert caught.value.filename == str(tmp_path)
    real.close()
    with MetricsLog(path, keep_through=2) as log:
        log.write(2, "train", {"loss": 0.5})
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2]


class Filling:
    """A file on a disk with room for seven more bytes."""

    def __init__(self, file):
        self.file, self.room = file, 7

    def write(self, data):
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = self.file.write(data[: self.room])
        self.room -= taken
        return taken
