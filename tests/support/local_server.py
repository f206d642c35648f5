"""A real server on a free port of the loopback, and a client that speaks plain HTTP to it."""

import http.client
import json
import socket
import threading
import time
from contextlib import contextmanager

import pytest


class Client:
    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str):
        """(status, headers, body) of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, response.headers, content

    def events(self, body: bytes) -> list[dict]:
        status, _, content = self.ask("POST", "/api/predict", body)
        assert status == 200, content
        return [json.loads(line) for line in content.splitlines()]


@contextmanager
def running(app):
    uvicorn = pytest.importorskip("uvicorn")
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    try:
        yield Client(listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()
