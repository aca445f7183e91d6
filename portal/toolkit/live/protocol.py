"""uvicorn's side of a live socket: `--http …protocol:HttpProtocol --ws …protocol:LiveProtocol`.

What uvicorn keeps of a connection refers to itself, so that only a look of the collector at all that is old would free
it: with sockets that come and go that is tens of megabytes. Here it is taken apart where it ends.
"""

from __future__ import annotations

import socket
from asyncio.transports import BaseTransport
from collections.abc import Awaitable
from typing import Any, cast

from django.conf import settings
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.http11 import Request

from portal.toolkit.live.frame import EXTENSION, WINDOW_BITS, Frame

UNSENT_IN_KERNEL = 128 * 1024
"""What a slow browser may have waiting below us. Above it a newer state replaces an unsent one."""


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's, which is not kept by its parser once a socket has taken the connection over."""

    def handle_websocket_upgrade(self) -> None:
        super().handle_websocket_upgrade()
        self.parser = None  # type: ignore[assignment]  # as uvicorn does at the end of a connection


class LiveProtocol(WebSocketsSansIOProtocol):
    """uvicorn's own, with a way for frames that are already bytes: no task, no copy, no framing for each socket.

    Handshake, pings, limits, close codes and everything that a browser sends stay uvicorn's.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._is_compressed = False
        if settings.LIVE_DEFLATE:
            # Without context takeover each message stands alone: one compression for all, and no window kept a socket.
            self.conn.available_extensions = [
                ServerPerMessageDeflateFactory(
                    server_no_context_takeover=True, client_no_context_takeover=True, compress_settings={"memLevel": 5}
                )
            ]
        else:
            self.conn.available_extensions = []

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=0)  # "writable" is: everything so far is in the kernel
        connection = transport.get_extra_info("socket")
        if connection is not None and hasattr(socket, "TCP_NOTSENT_LOWAT"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_IN_KERNEL)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:  # else the handshake was wrong, and there is no scope
            extensions = cast(dict[str, object], self.scope["extensions"])
            extensions[EXTENSION] = self.write
            chosen = [found for found in self.conn.extensions if isinstance(found, PerMessageDeflate)]
            self._is_compressed = bool(chosen) and chosen[0].local_max_window_bits >= WINDOW_BITS

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.conn.parser.close()
        del self.conn.parser
        if hasattr(self, "scope"):
            del self.scope

    async def run_asgi(self) -> None:
        await super().run_asgi()
        self._let_go()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self._let_go()

    def _let_go(self) -> None:
        """A connection that is closed waits for its peer to take the rest, one that never reads for ever."""
        if not self.writable.is_set():
            self.transport.abort()

    def write(self, frame: Frame) -> Awaitable[object] | None:
        """Hand `frame` over. None when the kernel has all of it, else something that is done once it has.

        Nothing happens when the connection is closed or closing: `receive` says so.
        """
        if self.disconnected or self.close_sent or self.transport.is_closing():
            return None
        self.transport.write(frame.compressed if self._is_compressed else frame.plain)
        return None if self.writable.is_set() else self.writable.wait()
