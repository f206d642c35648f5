"""Atomic writes and locks."""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jax_avemo.runtime import files
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.files import atomic_path, locked, write_atomic, write_json


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "sub" / "x.txt"
    write_atomic(path, b"old")

    def fail_half_way():
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_temporary_keeps_the_suffix(tmp_path):
    with atomic_path(tmp_path / "clip.mp4") as temporary:
        assert temporary.suffix == ".mp4"


def test_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "x.json", {"uar": float("nan")})
    assert not (tmp_path / "x.json").exists()


def test_a_full_disk_names_the_folder(tmp_path):
    def write():
        with atomic_path(tmp_path / "x.json"), open("/dev/full", "wb", buffering=0) as full:
            full.write(b"no room")

    with pytest.raises(OSError, match="No space left on device") as caught:
        write()
    assert caught.value.filename == str(tmp_path)
    assert list(tmp_path.iterdir()) == []


HOLD = """
import sys, time
from pathlib import Path
from jax_avemo.runtime import files
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.files import atomic_path, locked, write_atomic, write_json
with locked(Path(sys.argv[1]), "busy"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_second_process_is_refused_until_the_first_dies_of_whatever(tmp_path):
    folder = tmp_path / "run"
    environment = os.environ | {"PYTHONPATH": str(Path(files.__file__).parents[2])}
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, env=environment
    )
    try:
        assert first.stdout.readline() == b"held\n"
        with (
            pytest.raises(UserError, match="^somebody is there$"),
            locked(folder, "somebody is there"),
        ):
            pass
    finally:
        first.kill()
        first.communicate()
    (folder / ".tmp-half.json").write_text("{")  # as a killed writer leaves it
    (folder / "whole.json").write_text("{}")
    with locked(folder, "somebody is there"):
        assert sorted(path.name for path in folder.iterdir()) == [".lock", "whole.json"]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_one_line(tmp_path, monkeypatch, code):
    def flock(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    for lock in (files.try_lock(tmp_path / "cell"), locked(tmp_path, "busy")):
        with pytest.raises(UserError, match="locks no files .*local disk") as caught, lock:
            pass
        assert "\n" not in str(caught.value)
    assert not files.is_locked(tmp_path / "cell")
