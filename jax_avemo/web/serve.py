"""Start and stop of the web server."""

import contextlib
import ipaddress
import socket
from pathlib import Path

import uvicorn

from jax_avemo.runtime.errors import UserError
from jax_avemo.runtime.progress import say
from jax_avemo.web.analysis import RunAnalyst
from jax_avemo.web.app import ServerLimits, make_app

_GRACE_SECONDS = 3


def serve(
    run: Path | None, *, host: str, port: int, limits: ServerLimits, enrolment: bool = True
) -> None:
    """Serve the page until interrupted.

    Args:
      run: run directory; None = the newest finished one.
      host: address or name to listen on; anything but the loopback lets others in.
      port: 0 = any free one.
      limits: what the server takes on.
      enrolment: of films; see `Model.predict`.

    Raises:
      UserError: no run, or the port can't be had.
    """
    listener = listen(host, port)
    with contextlib.closing(listener):
        analyst = RunAnalyst(run, limits.film_seconds, enrolment=enrolment)
        with contextlib.closing(analyst):
            say("compiling the network, up to a minute the first time")
            analyst.warm_up()
            if analyst.about()["warning"]:
                say(f"note: {analyst.about()['warning']}")
            if not is_loopback(listener):
                say(
                    "warning: everyone who can reach this machine can use the page; there is no "
                    "password and no encryption (and browsers give the webcam only to https)"
                )
            shown = f"[{host}]" if ":" in host else host
            say(f"http://{shown}:{listener.getsockname()[1]}/  (Ctrl+C ends it)")
            settings = uvicorn.Config(
                make_app(analyst, limits, host),
                log_level="error",  # no line about who asked for what
                server_header=False,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
            with contextlib.suppress(KeyboardInterrupt):
                uvicorn.Server(settings).run(sockets=[listener])
    say("stopped")


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, or a UserError that says why there is none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        remedy = "give another --port (0 = any)" if error.errno == 98 else "look at --host"
        raise UserError(
            f"can't listen on {host}, port {port}: {error.strerror or error}; {remedy}"
        ) from error


def is_loopback(listener: socket.socket) -> bool:
    """Whether only this machine can connect."""
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback
