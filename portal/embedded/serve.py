"""One process that serves a door of the portal on a listening socket that it shares with others.

    python -m portal.embedded.serve web|live|intake --fd N

uvicorn's own `--fd` takes every socket for a unix one: no TCP_NODELAY, and nobody's address is known.
"""

from __future__ import annotations

import argparse
import socket
from typing import Any

import uvicorn

WEBSOCKETS: dict[str, Any] = {
    "ws": "portal.toolkit.live.protocol:LiveProtocol",
    "ws_max_size": 65_536,
    "ws_per_message_deflate": False,
}
DOORS: dict[str, dict[str, Any]] = {
    "web": {"app": "portal.asgi:application", **WEBSOCKETS},
    "live": {"app": "portal.live_asgi:application", **WEBSOCKETS},
    "intake": {"app": "portal.intake_asgi:application", "ws": "none", "lifespan": "off"},
}
SHUTDOWN_S = 3


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
    parser.add_argument("--fd", type=int, required=True, help="the listening socket")
    options = parser.parse_args()
    uvicorn.Server(configuration(options.door)).run([socket.socket(fileno=options.fd)])


if __name__ == "__main__":
    main()
