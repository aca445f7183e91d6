"""One process that serves a door of the portal: on a listening socket that it shares with others, or on its own port.

    python -m portal.embedded.serve web|live|intake --fd N
    python -m portal.embedded.serve web|live|intake --port N [--host ADDRESS]

uvicorn's own `--fd` takes every socket for a unix one: no TCP_NODELAY, and nobody's address is known.
"""

from __future__ import annotations

import argparse
import socket
import sys
from typing import Any

import uvicorn

from portal.embedded.address import listen
from portal.embedded.errors import StartError

WEBSOCKETS: dict[str, Any] = {
    "http": "portal.toolkit.live.protocol:HttpProtocol",
    "ws": "portal.toolkit.live.protocol:LiveProtocol",
    "ws_max_size": 65_536,
    "ws_ping_interval": 30.0,  # a dead peer is known after 50 s; most are, by a frame that they do not take, sooner
    "ws_per_message_deflate": False,
}
DOORS: dict[str, dict[str, Any]] = {
    "web": {"app": "portal.asgi:application", **WEBSOCKETS},
    "live": {"app": "portal.live_asgi:application", **WEBSOCKETS},
    "intake": {"app": "portal.intake_asgi:application", "ws": "none", "lifespan": "off"},
}
SHUTDOWN_S = 3


class Server(uvicorn.Server):
    """Ends the streams of events before it waits for what is open: they would keep it until the time is over."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        from portal.toolkit.live.stream import end_streams  # the application, and Django with it, is loaded by now

        end_streams()
        await super().shutdown(sockets)


def configuration(door: str) -> uvicorn.Config:
    """Who reads addresses behind a proxy is Django (PORTAL_BEHIND_PROXY), not the server."""
    return uvicorn.Config(
        **DOORS[door],
        timeout_graceful_shutdown=SHUTDOWN_S,
        server_header=False,
        proxy_headers=False,
        access_log=False,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("door", choices=DOORS)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--fd", type=int, help="a listening socket that is inherited")
    where.add_argument("--port", type=int, help="where to listen")
    parser.add_argument("--host", default="127.0.0.1", help="with --port: the address (default: %(default)s)")
    options = parser.parse_args()
    try:
        listener = listen(options.host, options.port) if options.fd is None else socket.socket(fileno=options.fd)
    except StartError as error:
        sys.exit(str(error))
    Server(configuration(options.door)).run([listener])


if __name__ == "__main__":
    main()
