"""Copies of folders at URLs, with a store in memory; each "machine" has a cache of its own."""

import errno
import shutil
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from support.media_files import face_takes, tone, write_media

from jax_avemo import cli
from jax_avemo.runtime import remote
from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.remote import fetch, in_step, local_path


class Store(MemoryFileSystem):
    """Counts transfers, and fails as often as it is told to."""

    protocol = "stored"
    store: dict = {}
    pseudo_dirs = [""]
    failures = 0
    sent: list[str] = []
    fetched: list[str] = []

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("stored://", "memory://"))

    def _fail(self):
        if Store.failures:
            Store.failures -= 1
            raise OSError(errno.ECONNRESET, "connection reset")

    def get_file(self, rpath, lpath, **more):
        self._fail()
        Store.fetched.append(rpath)
        return super().get_file(rpath, lpath, **more)

    def put_file(self, lpath, rpath, **more):
        self._fail()
        Store.sent.append(rpath)
        return super().put_file(lpath, rpath, **more)


@pytest.fixture(autouse=True)
def store(monkeypatch, tmp_path):
    fsspec.register_implementation("stored", Store, clobber=True)
    Store.store.clear()
    Store.pseudo_dirs[:] = [""]
    Store.failures = 0
    Store.sent.clear()
    Store.fetched.clear()
    monkeypatch.setattr(remote, "RETRY_SECONDS", (0.0, 0.0, 0.0))
    machine(monkeypatch, tmp_path, "first")
    return fsspec.filesystem("stored")


def machine(monkeypatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_fetch_copies_what_changed_and_drops_what_went_away(store):
    store.pipe({"/b/c/one": b"1", "/b/c/deep/two": b"22", "/b/other": b"-"})
    folder = fetch("stored://b/c")
    assert contents(folder) == {"one": b"1", "deep/two": b"22"}
    assert len(Store.fetched) == 2
    fetch("stored://b/c/")
    assert len(Store.fetched) == 2
    store.pipe("/b/c/one", b"9")
    store.rm_file("/b/c/deep/two")
    fetch("stored://b/c")
    assert contents(folder) == {"one": b"9"}
    assert not (folder / "deep").exists()
    assert Store.fetched[2:] == ["/b/c/one"]


def test_fetch_of_one_file(store):
    store.pipe("/b/Actor_01.zip", b"zip")
    assert fetch("stored://b/Actor_01.zip").read_bytes() == b"zip"
    shutil.rmtree(local_path("stored://b"))
    assert fetch("stored://b/Actor_01.zip").read_bytes() == b"zip"


def test_a_manifest_comes_with_its_folder(store):
    store.pipe({"/b/m/list.csv": b"path", "/b/m/films/a.mp4": b"film"})
    assert fetch("stored://b/m/list.csv").with_name("films").joinpath("a.mp4").exists()


@pytest.mark.parametrize("url", ["stored://b/nothing", "stored://"])
def test_nothing_there_is_said(url):
    with pytest.raises(UserError, match=r"there is nothing at stored://b/nothing|names no folder"):
        fetch(url)


def test_unknown_scheme_and_missing_package_are_said(monkeypatch):
    with pytest.raises(UserError, match="ftpx://a/b: Protocol not known"):
        fetch("ftpx://a/b")

    def missing(url):
        raise ImportError("Install gcsfs")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(UserError, match=r"gs:// needs another package: pip .*jax_avemo\[remote\]"):
        fetch("gs://a/b")


def test_what_is_written_is_there_and_on_another_machine(store, monkeypatch, tmp_path):
    with in_step("stored://b/run", "plain") as (run, plain):
        assert plain == Path("plain")
        (run / "checkpoints/10").mkdir(parents=True)
        (run / "checkpoints/10/state").write_bytes(b"10")
        (run / "checkpoints/20.orbax-checkpoint-tmp").mkdir()
        (run / "checkpoints/20.orbax-checkpoint-tmp/state").write_bytes(b"half")
        (run / ".lock").touch()
        (run / "results.json").write_bytes(b"{}")
    assert set(store.find("/b")) == {"/b/run/checkpoints/10/state", "/b/run/results.json"}
    assert Store.sent[-1] == "/b/run/results.json"
    machine(monkeypatch, tmp_path, "second")
    with in_step("stored://b/run") as (run,):
        assert contents(run) == {"checkpoints/10/state": b"10", "results.json": b"{}"}
        shutil.rmtree(run / "checkpoints/10")
        (run / "checkpoints/20").mkdir()
        (run / "checkpoints/20/state").write_bytes(b"20")
    machine(monkeypatch, tmp_path, "first")
    run = fetch("stored://b/run")
    assert contents(run / "checkpoints/20") == {"state": b"20"}
    assert not (run / "checkpoints/10").exists()


def test_uploads_while_the_block_runs_and_when_it_fails(store, monkeypatch):
    monkeypatch.setattr(remote, "UPLOAD_SECONDS", 0.01)

    def stopped() -> None:
        with in_step("stored://b/run") as (run,):
            run.mkdir(parents=True)
            (run / "one").write_bytes(b"1")
            deadline = time.monotonic() + 20
            while not store.exists("/b/run/one") and time.monotonic() < deadline:
                time.sleep(0.01)
            assert store.exists("/b/run/one")
            monkeypatch.setattr(remote, "UPLOAD_SECONDS", 1000)
            (run / "two").write_bytes(b"2")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert store.cat("/b/run/two") == b"2"


def test_a_killed_command_loses_nothing_of_this_machine(store):
    store.pipe({"/b/run/log": b"1", "/b/run/old": b"old"})
    with in_step("stored://b/run") as (run,):
        pass
    # As if killed before the next upload.
    (run / "log").write_bytes(b"1 2")
    (run / "new").write_bytes(b"new")
    (run / "old").unlink()
    with in_step("stored://b/run"):
        assert contents(run) == {"log": b"1 2", "new": b"new"}
    assert store.cat("/b/run/log") == b"1 2"
    assert set(store.find("/b/run")) == {"/b/run/log", "/b/run/new"}


def test_a_deleted_copy_deletes_nothing_there(store):
    store.pipe("/b/run/log", b"1")
    shutil.rmtree(fetch("stored://b/run"))
    with in_step("stored://b/run") as (run,):
        assert contents(run) == {"log": b"1"}
    assert store.cat("/b/run/log") == b"1"


def test_a_url_that_was_emptied_takes_nothing_from_the_copy(store):
    store.pipe("/b/run/log", b"1")
    run = fetch("stored://b/run")
    store.rm("/b/run", recursive=True)
    with (
        pytest.raises(UserError, match="nothing is left at stored://b/run"),
        in_step("stored://b/run"),
    ):
        pass
    assert contents(run) == {"log": b"1"}
    shutil.rmtree(run)
    with in_step("stored://b/run") as (run,):
        assert not run.exists()


def test_changed_on_both_sides_is_said(store, capsys):
    store.pipe("/b/run/log", b"1")
    run = fetch("stored://b/run")
    (run / "log").write_bytes(b"here")
    store.pipe("/b/run/log", b"there")
    fetch("stored://b/run")
    assert (run / "log").read_bytes() == b"there"
    assert "1 files changed here and at stored://b/run" in capsys.readouterr().err


def test_a_broken_connection_is_tried_again_then_one_line(store):
    store.pipe("/b/c/one", b"1")
    Store.failures = 3
    assert fetch("stored://b/c").joinpath("one").read_bytes() == b"1"
    Store.failures = 4
    with (
        pytest.raises(UserError, match=r"stored://b/c can't be reached .*reset.* tried 4 times"),
        in_step("stored://b/c") as (folder,),
    ):
        (folder / "two").write_bytes(b"2")
    with in_step("stored://b/c"):
        pass
    assert store.cat("/b/c/two") == b"2"


def test_names_that_leave_the_folder_are_refused(store):
    store.pipe("/b/c/ok", b"1")
    store.store["/b/c/../../x"] = store.store["/b/c/ok"]
    with pytest.raises(UserError, match="is not copied"):
        fetch("stored://b/c")


def test_prepare_from_a_url_to_a_url(store, monkeypatch, tmp_path, capsys):
    """The same bytes as from folders; on another machine there is nothing left to do."""
    media = tmp_path / "media"
    for index, name in enumerate(("happy/anna/1.mp4", "sad/anna/2.mp4", "happy/bert/3.mp4")):
        voice = tone(0.8, 300 + 100 * index, rate=16_000)
        write_media(media / name, face_takes(8), sound=voice, rate=16_000)
    write_media(media / "sad/bert/4.mp4", [np.full((64, 64, 3), 90, np.uint8)] * 5, sound=tone(0.5))
    store.put(str(media), "/b/media", recursive=True)
    options = ["--size", "48", "--fps", "5", "--workers", "1"]
    here = tmp_path / "here"
    prepared = ["prepare", "folder", *options]
    assert not cli.main([*prepared, "--source", str(media), "--data-dir", str(here)])
    there = [*prepared, "--source", "stored://b/media", "--data-dir", "stored://b/clips"]
    assert not cli.main(there)
    shards = {path.name: path.read_bytes() for path in here.glob("clips/**/*array_record*")}
    assert shards
    for name, data in shards.items():
        [path] = [path for path in store.find("/b/clips") if path.endswith(name)]
        assert store.cat(path) == data
    assert store.cat("/b/clips/rejects.csv") == (here / "rejects.csv").read_bytes()
    machine(monkeypatch, tmp_path, "second")
    Store.sent.clear()
    capsys.readouterr()
    assert not cli.main(there)
    assert "preparing" not in capsys.readouterr().err
    assert Store.sent == []


def test_beam_takes_no_urls(capsys):
    arguments = ["--source", "stored://b/media", "--data-dir", "x", "--beam-runner", "DirectRunner"]
    assert cli.main(["prepare", "folder", *arguments]) == 1
    assert "--beam-runner takes folders that all its machines share" in capsys.readouterr().err
