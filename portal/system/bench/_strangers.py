"""Sockets that a portal must bear: some never read, some come and go, all for ever. In a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

AWAY_S = 1.0
READ_S = 5.0


@dataclass
class Strangers:
    """How often one of them was sent away or left."""

    deaf_ended: int = 0
    visits: int = 0


@contextmanager
def strangers(port: int, cookie: str, topics: Sequence[str], *, deaf: int, visitors: int) -> Iterator[Strangers]:
    """So many at a time of each kind, until the block ends."""
    request = "\r\n".join(
        [
            f"GET /ws/live/?lang=en&{'&'.join(f'topic={topic}' for topic in topics)} HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            f"Origin: http://127.0.0.1:{port}",
            f"Cookie: {cookie}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            *("", ""),
        ]
    ).encode()
    seen, loop = Strangers(), asyncio.new_event_loop()

    async def all_of_them() -> None:
        await asyncio.gather(
            *(_be_deaf(port, request, seen) for _ in range(deaf)),
            *(_come_and_go(port, request, seen) for _ in range(visitors)),
        )

    crowd = loop.create_task(all_of_them())
    thread = threading.Thread(target=loop.run_until_complete, args=(asyncio.wait([crowd]),))
    thread.start()
    try:
        yield seen
    finally:
        loop.call_soon_threadsafe(crowd.cancel)
        thread.join(10)
        loop.close()


async def _be_deaf(port: int, request: bytes, seen: Strangers) -> None:
    """Never read; come again when the portal has had enough, which shows when a ping cannot be sent any more."""
    loop = asyncio.get_running_loop()
    while True:
        with suppress(OSError), socket.socket() as raw:
            raw.setblocking(False)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await loop.sock_connect(raw, ("127.0.0.1", port))
            await loop.sock_sendall(raw, request)
            while True:
                await asyncio.sleep(AWAY_S)
                await loop.sock_sendall(raw, b"\x8a\x80\0\0\0\0")  # a pong that nobody asked for
        seen.deaf_ended += 1
        await asyncio.sleep(AWAY_S)


async def _come_and_go(port: int, request: bytes, seen: Strangers) -> None:
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            with suppress(TimeoutError):
                async with asyncio.timeout(READ_S):
                    while await reader.read(1 << 16):
                        pass
            writer.close()
            seen.visits += 1
        await asyncio.sleep(AWAY_S)
