"""The main job with run and clips in S3, against a local server of that protocol.

Needs `pip install moto[server] s3fs`; skipped where they are not installed.
"""

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from support.main_job import command, experiment, fingerprint

pytestmark = pytest.mark.slow
LENGTH = ("--config.train.epochs=8", "--config.train.num_evaluations=6")
RUN, CLIPS = "s3://bucket/runs/tiny", "--config.data.data_dir=s3://bucket/clips"


@pytest.fixture
def endpoint(monkeypatch):
    s3fs = pytest.importorskip("s3fs")
    server = shutil.which("moto_server")
    if server is None:
        pytest.skip("needs moto[server]")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([server, "-p", str(port)], stderr=subprocess.DEVNULL)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            break
        time.sleep(0.1)
    store = s3fs.S3FileSystem()
    store.mkdir("bucket")
    yield store
    process.kill()
    process.wait()


def test_a_stopped_run_goes_on_on_another_machine(endpoint, tmp_path: Path, monkeypatch):
    whole = experiment(tmp_path, "runs/whole", *LENGTH)
    assert whole.returncode == 0, whole.stderr

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "first"))
    first = tmp_path / "first/jax_avemo/remote/s3/bucket/runs/tiny"
    log = (tmp_path / "log").open("w")
    process = subprocess.Popen(
        **command(tmp_path, RUN, CLIPS, *LENGTH), stdout=subprocess.DEVNULL, stderr=log
    )
    while not [path for path in first.glob("checkpoints/*") if path.name.isdecimal()]:
        assert process.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=600) == 128 + signal.SIGTERM, (tmp_path / "log").read_text()
    assert not endpoint.exists("bucket/runs/tiny/results.json")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "second"))
    result = experiment(tmp_path, RUN, CLIPS, *LENGTH)
    assert result.returncode == 0, result.stderr
    assert "training: " in result.stderr
    assert "preparing" not in result.stderr
    second = tmp_path / "second/jax_avemo/remote/s3/bucket/runs/tiny"
    assert fingerprint(second) == fingerprint(tmp_path / "runs/whole")
    endpoint.invalidate_cache()
    results = endpoint.cat("bucket/runs/tiny/results.json")
    assert results == (second / "results.json").read_bytes()
