"""The command `avemo serve`."""

import argparse

from jax_avemo.command_line import fetched, location
from jax_avemo.runtime.errors import UserError

HELP = "show in a browser what a run predicts of a film or of the webcam"
EXAMPLES = "avemo serve --run runs/decoupled --port 8765"


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Those of this command."""
    p.add_argument(
        "--run", type=location, help="run directory (default: newest finished below runs/)"
    )
    p.add_argument("--host", default="127.0.0.1", help="address to listen on")
    p.add_argument("--port", type=int, default=8765, help="0 = any free one")
    p.add_argument("--max-megabytes", type=int, default=500, help="of an uploaded film")
    p.add_argument("--max-minutes", type=float, default=10.0, help="of an uploaded film")
    p.add_argument(
        "--no-enrolment",
        action="store_true",
        help="read every window by itself, not against earlier ones of the same person",
    )


def run(args: argparse.Namespace) -> None:
    """Serve the page until interrupted."""
    try:
        from jax_avemo.web.app import ServerLimits
        from jax_avemo.web.serve import serve
    except ModuleNotFoundError as error:
        raise UserError(f"avemo serve needs {error.name}: pip install 'jax_avemo[web]'") from error

    limits = ServerLimits(
        upload_bytes=args.max_megabytes * 1_000_000, film_seconds=60.0 * args.max_minutes
    )
    serve(
        fetched(args.run),
        host=args.host,
        port=args.port,
        limits=limits,
        enrolment=not args.no_enrolment,
    )
