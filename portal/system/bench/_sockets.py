"""Many live sockets in one process, as cheap as can be: they share the machine with what is measured.

    python -m portal.system.bench._sockets PORT COOKIE < addresses, one a line

Opens a socket per address, says "ready" on stdout, and on "stop" on stdin writes one JSON list of [newest `data-at` in
the frame, when its last byte came (ns of the wall clock)] and ends. Gives up by itself after `LONGEST_S`.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time

LONGEST_S = 300
AT_ONCE = 40
STAMP = re.compile(rb'<article[^>]*data-at="(\d+)"')
TEXT, PING = 0x1, 0x9


class BenchSocket(asyncio.Protocol):
    """A websocket client that reads frames and answers pings."""

    def __init__(self, request: bytes, heard: list[tuple[int, int]], ended: asyncio.Event) -> None:
        self._request = request
        self._heard = heard
        self._ended = ended
        self._buffer = bytearray()
        self._shook_hands = False
        self.first_frame = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def connection_lost(self, error: Exception | None) -> None:
        self._ended.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._shook_hands:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            if b" 101 " not in head.split(b"\r\n", 1)[0]:
                raise ConnectionError(head.decode())
            self._shook_hands, self._buffer = True, rest
        while self._take_frame():
            pass

    def _take_frame(self) -> bool:
        buffer = self._buffer
        if len(buffer) < 2:
            return False
        size, start = buffer[1], 2
        if size >= 126:
            start = 4 if size == 126 else 10
            if len(buffer) < start:
                return False
            size = int.from_bytes(buffer[2:start], "big")
        if len(buffer) < start + size:
            return False
        self._on_frame(buffer[0] & 0x0F, bytes(buffer[start : start + size]))
        del buffer[: start + size]
        return True

    def _on_frame(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            self._transport.write(bytes([0x8A, 0x80 | len(payload), 0, 0, 0, 0]) + payload)  # masked with zeros
        elif opcode == TEXT:
            if stamps := STAMP.findall(payload):
                self._heard.append((max(map(int, stamps)), time.time_ns()))
            self.first_frame.set()


async def main(port: int, cookie: str, addresses: list[str]) -> list[tuple[int, int]]:
    loop = asyncio.get_running_loop()
    heard: list[tuple[int, int]] = []
    ended = asyncio.Event()
    gate = asyncio.Semaphore(AT_ONCE)

    async def open_one(address: str) -> BenchSocket:
        lines = [
            f"GET {address} HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            f"Origin: http://127.0.0.1:{port}",
            f"Cookie: {cookie}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ]
        async with gate:
            request = "\r\n".join([*lines, "", ""]).encode()
            _, opened = await loop.create_connection(lambda: BenchSocket(request, heard, ended), "127.0.0.1", port)
            await opened.first_frame.wait()
            return opened

    async with asyncio.timeout(LONGEST_S):
        sockets = await asyncio.gather(*map(open_one, addresses))
        print("ready", flush=True)
        stopped = asyncio.ensure_future(asyncio.to_thread(sys.stdin.readline))
        lost = asyncio.ensure_future(ended.wait())
        await asyncio.wait({stopped, lost}, return_when=asyncio.FIRST_COMPLETED)
        if not stopped.done():
            raise ConnectionError(f"one of {len(sockets)} sockets was closed")
        lost.cancel()
    return heard


if __name__ == "__main__":
    wanted = [line.strip() for line in iter(sys.stdin.readline, "\n")]
    print(json.dumps(asyncio.run(main(int(sys.argv[1]), sys.argv[2], wanted))))
