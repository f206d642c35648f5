"""What the server refuses, bounds and gives back; the work behind it is a stand-in."""

import contextlib
import http.client
import io
import json
import os
import socket
import threading
import time
from pathlib import Path

import av
import pytest

pytest.importorskip("fastapi")

from support.local_server import running  # noqa: E402

from jax_avemo.runtime.errors import UserError  # noqa: E402
from jax_avemo.web.app import ServerLimits, make_app, refusal  # noqa: E402

LIMITS = ServerLimits(upload_bytes=100_000, waiting=1, live=1, live_bytes=1000, upload_seconds=2.0)


class StandIn:
    """Says what a film's bytes ask for; holds every film until it is let go."""

    emotions = ("calm", "angry")

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.begun = threading.Event()
        self.closed = threading.Event()
        self.seen: list[tuple[Path, int]] = []
        self.called: list[str] = []
        self.names: list[str] = []

    def about(self):
        return {"model": "stand-in", "warning": "synthetic", "live": {}}

    def film(self, path, name):
        content = path.read_bytes()
        self.names.append(name)
        self.seen.append((path, len(content)))
        self.called.append(os.readlink(path))
        self.begun.set()
        try:
            yield {"progress": 0.5}
            assert self.go.wait(30)
            if content.startswith(b"bad"):
                raise UserError("crashed the decoder (SIGSEGV)")
            if content.startswith(b"bug"):
                raise ZeroDivisionError
            yield {"done": True}
        finally:
            self.closed.set()

    def moment(self, message):
        assert self.go.wait(30)
        if message == b"bad":
            raise UserError("the picture is damaged")
        return {"probabilities": [0.25, 0.75]}


def open_files() -> set[str]:
    """What this process's file descriptors point at."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(link))
    return found


@pytest.fixture
def work():
    return StandIn()


@pytest.fixture
def client(work):
    with running(make_app(work, LIMITS)) as client:
        yield client


def test_the_page_asks_nobody_else_for_anything(client):
    status, headers, page = client.ask("GET", "/")
    assert status == 200
    assert b"<h1>" in page
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    for name in (
        "page.js",
        "live.js",
        "timeline.js",
        "estimate.js",
        "player.js",
        "sound.js",
        "waveform.js",
        "api.html",
        "style.css",
    ):
        status, headers, content = client.ask("GET", f"/static/{name}")
        assert status == 200
        # Addresses only in words for people.
        for line in content.decode().splitlines():
            assert "http://" not in line or "localhost" in line
            assert "https://" not in line
        assert headers["X-Content-Type-Options"] == "nosniff"
    assert client.ask("GET", "/docs")[0] == 404
    assert client.ask("GET", "/static/../app.py")[0] == 404


def test_the_interface_is_described_for_people_and_programs(client):
    status, headers, page = client.ask("GET", "/api")
    assert (status, headers["Content-Type"].split(";")[0]) == (200, "text/html")
    assert b"curl --data-binary @film.mp4" in page
    described = json.loads(client.ask("GET", "/openapi.json")[2])
    assert set(described["paths"]) == {"/api/about", "/api/predict", "/api/live"}
    predict = described["paths"]["/api/predict"]["post"]
    assert "application/octet-stream" in predict["requestBody"]["content"]
    assert "application/x-ndjson" in predict["responses"]["200"]["content"]
    assert {"413", "429"} < set(predict["responses"])
    assert [parameter["name"] for parameter in predict["parameters"]] == ["name"]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("", "film"),
        ("?name=a.mp4", "a.mp4"),
        ("?name=..%2F..%2Fetc%2Fx.mp4", "x.mp4"),
        ("?name=C%3A%5Cfilms%5Cx.mp4", "x.mp4"),
        ("?name=a%0Ab%00.mp4", "ab.mp4"),
        ("?name=" + "x" * 999, "x" * 200),
        ("?name=%2F", "film"),
    ],
)
def test_a_film_is_named_as_its_sender_calls_it_without_folders(client, work, query, name):
    assert client.ask("POST", f"/api/predict{query}", b"good")[0] == 200
    assert work.names == [name]


def test_the_example_film_is_small_and_plays_in_a_browser(client):
    status, headers, film = client.ask("GET", "/static/example.mp4")
    assert (status, headers["Content-Type"]) == (200, "video/mp4")
    assert len(film) < 300_000
    with av.open(io.BytesIO(film)) as container:
        kinds = [stream.codec_context.name for stream in container.streams]
        assert kinds == ["h264", "aac"]
        assert 5 < container.duration / av.time_base < 15


def test_about_names_network_warning_and_limits(client):
    status, _, content = client.ask("GET", "/api/about")
    told = json.loads(content)
    assert status == 200
    assert told["emotions"] == ["calm", "angry"]
    assert told["warning"] == "synthetic"
    assert told["limits"] == {"megabytes": 0, "seconds": 600}


def test_a_film_is_read_whole_and_never_has_a_name_on_the_disk(client, work):
    assert client.events(b"x" * 90_000) == [{"progress": 0.5}, {"done": True}]
    ((path, size),) = work.seen
    assert size == 90_000
    assert path.parent == Path(f"/proc/{os.getpid()}/fd")
    assert work.called[0].endswith("(deleted)")
    deadline = time.monotonic() + 30
    while work.called[0] in open_files():  # closed after the last byte
        assert time.monotonic() < deadline


def test_a_bad_film_is_an_event_and_the_server_goes_on(client):
    assert client.events(b"bad")[-1] == {"error": "crashed the decoder (SIGSEGV)"}
    assert client.events(b"good")[-1] == {"done": True}


def test_a_bug_breaks_one_answer_and_not_the_server(client):
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        client.events(b"bug")
    assert client.events(b"good")[-1] == {"done": True}


@pytest.mark.parametrize("declared", [True, False])
def test_too_large_a_film_is_refused_declared_or_not(client, work, declared):
    body = b"x" * (LIMITS.upload_bytes + 1)
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=60)
    try:
        if declared:
            connection.putrequest("POST", "/api/predict")
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders()
        else:
            connection.request("POST", "/api/predict", iter([body]), encode_chunked=True)
        response = connection.getresponse()
        assert response.status == 413
        assert "avemo predict" in json.loads(response.read())["error"]
    finally:
        connection.close()
    assert not work.seen


def test_an_empty_film_is_refused(client):
    assert client.ask("POST", "/api/predict", b"")[0] == 400


def test_a_slow_upload_is_ended(client, work):
    with socket.create_connection(("127.0.0.1", client.port), timeout=30) as slow:
        slow.sendall(b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx")
        assert b" 408 " in slow.recv(1000)
    assert not work.seen


def test_one_film_runs_one_waits_and_a_third_is_refused(client, work):
    work.go.clear()
    answers: list[tuple[int, bytes]] = []

    def send() -> None:
        status, _, content = client.ask("POST", "/api/predict", b"good")
        answers.append((status, content))

    films = [threading.Thread(target=send) for _ in range(3)]
    for film in films:
        film.start()
    deadline = time.monotonic() + 30
    while not answers:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert answers[0][0] == 429
    assert len(work.seen) <= 1
    work.go.set()
    for film in films:
        film.join(30)
    assert sorted(status for status, _ in answers) == [200, 200, 429]
    assert client.events(b"again")[-1] == {"done": True}


def test_whoever_leaves_frees_the_place(client, work):
    work.go.clear()
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=60)
    connection.request("POST", "/api/predict", b"leaves")
    connection.getresponse().fp.readline()
    connection.close()
    assert work.begun.wait(30)
    work.go.set()
    assert work.closed.wait(30)
    work.begun.clear()
    for _ in range(LIMITS.running + LIMITS.waiting + 1):
        assert client.events(b"good")[-1] == {"done": True}


def test_live_estimates_are_answered_bounded_and_errors_said(client, work):
    status, _, content = client.ask("POST", "/api/live", b"good")
    assert (status, json.loads(content)) == (200, {"probabilities": [0.25, 0.75]})
    assert client.ask("POST", "/api/live", b"x" * 1001)[0] == 413
    status, _, content = client.ask("POST", "/api/live", b"bad")
    assert (status, json.loads(content)) == (422, {"error": "the picture is damaged"})
    work.go.clear()
    statuses: list[int] = []
    moments = [
        threading.Thread(
            target=lambda: statuses.append(client.ask("POST", "/api/live", b"good")[0])
        )
        for _ in range(2)
    ]
    for moment in moments:
        moment.start()
    deadline = time.monotonic() + 30
    while not statuses:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    work.go.set()
    for moment in moments:
        moment.join(30)
    assert statuses == [429, 200]


@pytest.mark.parametrize(
    ("headers", "answered"),
    [
        ({"host": "127.0.0.1:8000"}, True),
        ({"host": "localhost:8000"}, True),
        ({"host": "[::1]:8000"}, True),
        ({"host": "[::1]"}, True),
        ({"host": "192.168.1.20:8000"}, True),
        ({"host": "laptop:8000"}, True),
        ({"host": "rebound.example:8000"}, False),
        ({}, False),
        ({"host": "localhost:8000", "origin": "http://localhost:8000"}, True),
        ({"host": "localhost:8000", "origin": "http://localhost:9000"}, False),
        ({"host": "localhost:8000", "origin": "https://elsewhere.example"}, False),
        ({"host": "localhost:8000", "origin": "null"}, False),
        ({"host": "localhost:8000", "sec-fetch-site": "cross-site"}, False),
        (
            {
                "host": "localhost:8000",
                "sec-fetch-site": "cross-site",
                "sec-fetch-mode": "navigate",
            },
            True,
        ),
    ],
)
def test_only_pages_from_here_are_answered(headers, answered):
    assert (refusal(headers, "laptop") == "") is answered


def test_a_foreign_page_is_refused_over_http(client, work):
    status, _, _ = client.ask("POST", "/api/predict", b"good", Origin="https://elsewhere.example")
    assert status == 403
    assert client.ask("GET", "/", Host="rebound.example")[0] == 403
    assert not work.seen
