"""The HTTP interface: routes, limits, refusals."""

import io
import ipaddress
import json
import os
import tempfile
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, runtime_checkable

import anyio
import anyio.to_thread
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jax_avemo import __version__
from jax_avemo.runtime.errors import UserError

_STATUSES = {
    400: "the body is empty",
    403: "asked under another name, or by a page from elsewhere",
    408: "the upload took too long",
    413: "more bytes than the server takes",
    422: "the message is damaged",
    429: "the server is busy",
}
_LIVE_SECONDS = 10.0
"""Within which a live request must be there."""
_STATIC = Path(__file__).parent / "static"
_HEADERS = {
    # The page needs nothing from elsewhere, and nothing elsewhere may have it.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; media-src blob:; connect-src 'self'; worker-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Permissions-Policy": "camera=(self), microphone=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class ServerLimits:
    """What one server takes on."""

    upload_bytes: int = 500_000_000
    film_seconds: float = 600.0
    """Of film; longer ones are for `avemo predict`."""
    upload_seconds: float = 300.0
    """An upload takes longer than this by the clock: it is ended."""
    running: int = 1
    """Films at a time."""
    waiting: int = 2
    """Films that may wait for their turn; a further one is refused."""
    live: int = 2
    """Live estimates at a time; a further one is refused."""
    live_bytes: int = 4_000_000
    """Of one live request."""


@runtime_checkable
class Analyst(Protocol):
    """What does the work behind the page. Its methods block, and are called from threads."""

    @property
    def emotions(self) -> tuple[str, ...]:
        """In the order of all probabilities."""

    def about(self) -> dict[str, Any]:
        """What the page must know of the network: `model`, `warning`, `live`."""

    def film(self, path: Path, name: str) -> Generator[dict[str, Any], None, None]:
        """Events of the analysis of one film: `progress`, `duration`, `tracks`, at last `done`.

        `name` is what the sender calls it.

        Raises:
          UserError: the film can't be used; the message is shown.
        """

    def moment(self, message: bytes) -> dict[str, Any]:
        """The estimate of the last seconds of a webcam. UserError: what is wrong with them."""


class _Gate:
    """Counts who is in; all on one event loop."""

    def __init__(self, running: int, waiting: int) -> None:
        self.turn = anyio.Semaphore(running)
        """Held while at work."""
        self._places = running + waiting

    def enter(self) -> bool:
        """Take a place, or be told that there is none."""
        if self._places == 0:
            return False
        self._places -= 1
        return True

    def leave(self) -> None:
        self._places += 1


class _Refused(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def make_app(analyst: Analyst, limits: ServerLimits, host: str = "127.0.0.1") -> FastAPI:
    """The application: the page, `/api` (its description), and what `/openapi.json` lists.

    Requests are answered only under a name this machine surely has (an address, localhost or
    `host`), and only to pages from here: no foreign page can use a server on the user's machine.
    """
    # FastAPI's own pages load scripts from elsewhere; /api is ours.
    app = FastAPI(
        title="jax_avemo",
        version=__version__,
        description="Apparent emotion over time, of films and of a camera. See /api for examples.",
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(_Guard, host=host)
    _add_pages(app)
    _add_interface(app, analyst, limits)
    app.mount("/static", StaticFiles(directory=_STATIC))
    return app


def _add_pages(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(_STATIC / "index.html")

    @app.get("/api", include_in_schema=False)
    async def description() -> Response:
        return FileResponse(_STATIC / "api.html")


def _add_interface(app: FastAPI, analyst: Analyst, limits: ServerLimits) -> None:
    films = _Gate(limits.running, limits.waiting)
    moments = _Gate(limits.live, 0)

    @app.get("/api/about", summary="The network, its emotions, the warning to show, the limits")
    async def about() -> Response:
        told = {
            "emotions": list(analyst.emotions),
            "limits": {
                "megabytes": limits.upload_bytes // 1_000_000,
                "seconds": round(limits.film_seconds),
            },
        }
        return JSONResponse(told | analyst.about())

    @app.post(
        "/api/predict",
        summary="A film, audio or still picture; the answer is one JSON object a line",
        response_class=_Events,
        openapi_extra=_binary_body("the file itself"),
        responses=_refusals(400, 403, 408, 413, 429),
    )
    async def predict(request: Request, name: str = "film") -> Response:
        return _Analysis(request, analyst, limits, films, clean_name(name))

    @app.post(
        "/api/live",
        summary="The last seconds of a camera and a microphone",
        openapi_extra=_binary_body(
            "uint32 (little-endian) length of a JSON header; the header: frames [{time, bytes}], "
            "samples, sound_begin; JPEG files; 16-bit mono audio at 16 kHz"
        ),
        responses=_refusals(403, 408, 413, 422, 429),
    )
    async def live(request: Request) -> Response:
        if not moments.enter():
            return _error(429, "the server is busy with other webcams; try again later")
        try:
            body = io.BytesIO()
            await _receive(request, body, limits.live_bytes, _LIVE_SECONDS)
            async with moments.turn:
                told = await anyio.to_thread.run_sync(analyst.moment, body.getvalue())
                return JSONResponse(told)
        except _Refused as error:
            return _error(error.status, str(error))
        except UserError as error:
            return _error(422, str(error))
        finally:
            moments.leave()


class _Events(Response):
    """One JSON object a line."""

    media_type = "application/x-ndjson"


def _binary_body(what: str) -> dict[str, Any]:
    """OpenAPI's description of a body that is not JSON."""
    schema = {"type": "string", "format": "binary", "description": what}
    content = {"application/octet-stream": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of answers with a reason instead of a result."""
    schema = {"type": "object", "properties": {"error": {"type": "string"}}}
    content = {"application/json": {"schema": schema}}
    return {status: {"description": _STATUSES[status], "content": content} for status in statuses}


def clean_name(name: str) -> str:
    """What a sender calls a file, as a name without folders and unprintable characters."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(c for c in last if c.isprintable()).strip()[:200] or "film"


class _Guard:
    """Refuses what `refusal` says, and gives every answer the headers that keep the page apart."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app, self._host = app, host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        if scope["type"] == "http" and (reason := refusal(Headers(scope=scope), self._host)):
            await _error(403, reason)(scope, receive, send_guarded)
        else:
            await self._app(scope, receive, send_guarded)


def refusal(headers: Mapping[str, str], host: str) -> str:
    """Why a request with these headers is not answered; "" = it is.

    A foreign page can send requests to a server on the user's own machine, under a name of its own
    that it lets point here (DNS rebinding) or from its own origin. An address can't be rebound.
    """
    asked = headers.get("host", "")
    name = asked.rsplit(":", 1)[0] if not asked.endswith("]") else asked
    if name not in {"localhost", host} and not _is_address(name.strip("[]")):
        return f"this server is not called {name!r}"
    origin = headers.get("origin")
    if origin is not None and origin.split("://", 1)[-1] != asked:
        return "pages from elsewhere are not answered"
    if headers.get("sec-fetch-site") in {"cross-site", "same-site"} and origin is None:
        # A link from elsewhere to the page itself has no origin, and may be followed.
        navigates = headers.get("sec-fetch-mode") == "navigate"
        return "" if navigates else "pages from elsewhere are not answered"
    return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class _Analysis(_Events):
    """A film in, a line of JSON for each event out; whatever happens, its place is given back."""

    def __init__(
        self,
        request: Request,
        analyst: Analyst,
        limits: ServerLimits,
        gate: _Gate,
        name: str,
    ) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._request, self._analyst, self._limits, self._gate = request, analyst, limits, gate
        self._name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._gate.enter():
            reason = "the server is busy with other films; try again in a minute"
            await _drain(self._request, self._limits)
            await _error(429, reason)(scope, receive, send)
            return
        try:
            # Without a name on the disk: it is gone with this process, however that ends.
            with tempfile.TemporaryFile() as file:
                limits = self._limits
                await _receive(self._request, file, limits.upload_bytes, limits.upload_seconds)
                if file.tell() == 0:
                    raise _Refused(400, "the file is empty")
                async with anyio.create_task_group() as group:
                    group.start_soon(_cancel_on_disconnect, receive, group.cancel_scope)
                    async with self._gate.turn:
                        await self._answer(file, send)
                    group.cancel_scope.cancel()
        except _Refused as error:
            await _error(error.status, str(error))(scope, receive, send)
        except ClientDisconnect:
            pass
        finally:
            self._gate.leave()

    async def _answer(self, file: IO[bytes], send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        path = Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")
        events = self._analyst.film(path, self._name)
        try:
            while True:
                event = await anyio.to_thread.run_sync(_next_event, events)
                if event is None:
                    break
                line = json.dumps(event, ensure_ascii=False, allow_nan=False) + "\n"
                await send({"type": "http.response.body", "body": line.encode(), "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(events.close)


def _next_event(events: Iterator[dict[str, Any]]) -> dict[str, Any] | None:
    try:
        return next(events, None)
    except UserError as error:
        return {"error": str(error)}


async def _cancel_on_disconnect(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def _receive(request: Request, file: IO[bytes], most_bytes: int, most_seconds: float) -> None:
    """Write the body of `request` to `file`, within the limits on bytes and time."""
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > most_bytes:
        raise _Refused(413, _too_large(most_bytes))
    received = 0
    with anyio.move_on_after(most_seconds) as scope:
        async for chunk in request.stream():
            received += len(chunk)
            if received > most_bytes:
                raise _Refused(413, _too_large(most_bytes))
            await anyio.to_thread.run_sync(file.write, chunk)
        await anyio.to_thread.run_sync(file.flush)
    if scope.cancelled_caught:
        raise _Refused(408, f"the upload took more than {most_seconds:g} s")


async def _drain(request: Request, limits: ServerLimits) -> None:
    """Read a small body to its end: a browser shows an answer only when its request was read."""
    left = min(limits.upload_bytes, 50_000_000)
    with anyio.move_on_after(10.0):
        async for chunk in request.stream():
            left -= len(chunk)
            if left < 0:
                return


def _too_large(most: int) -> str:
    return f"more than {most / 1e6:g} MB; longer films are for avemo predict"


def _error(status: int, reason: str) -> JSONResponse:
    return JSONResponse({"error": reason}, status)
