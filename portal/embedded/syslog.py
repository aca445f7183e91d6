"""The process that listens for syslog: on sockets that it inherits, or on a port of its own.

python -m portal.embedded.syslog --fd N --udp-fd M
python -m portal.embedded.syslog --port N [--host ADDRESS]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys

import django

from portal.embedded.address import listen, listen_udp
from portal.embedded.errors import StartError


async def serve(tcp: socket.socket, udp: socket.socket) -> None:
    from django.conf import settings

    from monitoring.ingest.syslog_listener import Listener
    from monitoring.ingest.syslog_senders import Senders, parse
    from portal.toolkit.instants import zone_named

    listener = Listener(Senders(parse(settings.SYSLOG_ALLOW)), zone_named(settings.SYSLOG_ZONE))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, listener.stop)
    await listener.run(tcp, udp)


def main() -> None:
    parser = argparse.ArgumentParser()
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--fd", type=int, help="a listening socket that is inherited; then --udp-fd is needed")
    where.add_argument("--port", type=int, help="where to listen, TCP and UDP")
    parser.add_argument("--udp-fd", type=int, help="the socket for datagrams that is inherited")
    parser.add_argument("--host", default="127.0.0.1", help="with --port: the address (default: %(default)s)")
    options = parser.parse_args()
    if (options.fd is None) != (options.udp_fd is None):
        parser.error("--fd and --udp-fd belong together")
    try:
        if options.fd is None:
            tcp = listen(options.host, options.port)
            udp = listen_udp(options.host, tcp.getsockname()[1])
        else:
            tcp, udp = socket.socket(fileno=options.fd), socket.socket(fileno=options.udp_fd)
    except StartError as error:
        sys.exit(str(error))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    django.setup()
    asyncio.run(serve(tcp, udp))


if __name__ == "__main__":
    main()
