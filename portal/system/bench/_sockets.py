"""Many live sockets in one process, as cheap as can be: they share the machine with what is measured.

    python -m portal.system.bench._sockets COOKIE PORT … [--over SECONDS] [--deflate] < addresses, one a line

Opens a socket for each address, by turns at the ports: AT_ONCE at a time, or spread evenly `--over` so many seconds
whatever happens. Then says on stdout, one JSON document a line: for each socket the ms from connecting to its first
fragment; and for each line on stdin

- "probe N": the same for N more sockets, one after the other, which are closed again
- "stop": everything heard, as [newest `data-at` in the frame, when its last byte came (ns of the wall clock), its
  bytes], and ends. Gives up by itself after `LONGEST_S`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
import zlib
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar, cast

import uvloop

LONGEST_S = 300
AT_ONCE = 40
TEXT, CLOSE, PING = 0x1, 0x8, 0x9
STAMP, TAIL = b'data-at="', b"\x00\x00\xff\xff"

T = TypeVar("T")
Heard = list[tuple[int, int, int]]


class BenchSocket(asyncio.Protocol):
    """A websocket client that reads frames and answers pings. It looks at the first stamp of a frame only."""

    def __init__(self, request: bytes, heard: Heard, ended: asyncio.Event) -> None:
        self._request = request
        self._heard = heard
        self._ended = ended
        self._rest = b""
        self._shook_hands = False
        self._last = (b"", 0)
        self.is_wanted = True
        self.first_fragment = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none of asyncio's
        self.transport.write(self._request)

    def connection_lost(self, error: Exception | None) -> None:
        if self.is_wanted:
            self._ended.set()

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        start = 0
        if not self._shook_hands:
            start = data.find(b"\r\n\r\n") + 4
            if start < 4:
                self._rest = data
                return
            if b" 101 " not in data.split(b"\r\n", 1)[0]:
                raise ConnectionError(data.decode())
            self._shook_hands = True
        while (end := _end_of_frame(data, start)) <= len(data):
            self._on_frame(data[start], data[start + _head_size(data, start) : end])
            start = end
        self._rest = data[start:]

    def _on_frame(self, head: int, payload: bytes) -> None:
        opcode = head & 0x0F
        if opcode == PING:
            self.transport.write(bytes([0x8A, 0x80 | len(payload), 0, 0, 0, 0]) + payload)  # masked with zeros
        elif opcode == CLOSE:
            self.transport.close()
        elif opcode == TEXT and (stamp := self._stamp_of(head, payload)):
            self._heard.append((stamp, time.time_ns(), len(payload)))
            self.first_fragment.set()

    def _stamp_of(self, head: int, payload: bytes) -> int:
        """Of the first card in it; 0 when there is none."""
        if payload != self._last[0]:
            text = zlib.decompressobj(-zlib.MAX_WBITS).decompress(payload + TAIL) if head & 0x40 else payload
            at = text.find(STAMP, text.find(b"<article"))
            self._last = (
                payload,
                int(text[at + len(STAMP) : text.find(b'"', at + len(STAMP))]) if b"<art" in text else 0,
            )
        return self._last[1]


def _head_size(data: bytes, start: int) -> int:
    return {126: 4, 127: 10}.get(data[start + 1], 2)


def _end_of_frame(data: bytes, start: int) -> int:
    """More than there is, as long as that cannot be known."""
    if len(data) < start + 2 or len(data) < start + _head_size(data, start):
        return len(data) + 1
    size = data[start + 1]
    head = _head_size(data, start)
    return start + head + (size if size < 126 else int.from_bytes(data[start + 2 : start + head], "big"))


class Crowd:
    def __init__(self, cookie: str, ports: Sequence[int], *, deflate: bool) -> None:
        self._cookie, self._ports, self._deflate = cookie, ports, deflate
        self._loop = asyncio.get_running_loop()
        self.heard: Heard = []
        self.ended = asyncio.Event()

    async def open(self, number: int, address: str) -> tuple[BenchSocket, float]:
        """Once its first fragment is there; and after how many ms that was."""
        port = self._ports[number % len(self._ports)]
        request = self._request(port, address)
        started = time.perf_counter()
        _, opened = await self._loop.create_connection(
            lambda: BenchSocket(request, self.heard, self.ended), "127.0.0.1", port
        )
        await opened.first_fragment.wait()
        return opened, (time.perf_counter() - started) * 1e3

    def _request(self, port: int, address: str) -> bytes:
        lines = [
            f"GET {address} HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            f"Origin: http://127.0.0.1:{port}",
            f"Cookie: {self._cookie}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            *(["Sec-WebSocket-Extensions: permessage-deflate"] if self._deflate else []),
        ]
        return "\r\n".join([*lines, "", ""]).encode()

    async def open_all(self, addresses: Sequence[str], over_s: float | None) -> list[float]:
        gate = asyncio.Semaphore(AT_ONCE)

        async def open_next(number: int, address: str) -> float:
            if over_s is not None:
                await asyncio.sleep(number * over_s / len(addresses))
                return (await self.open(number, address))[1]
            async with gate:
                return (await self.open(number, address))[1]

        return list(await asyncio.gather(*(open_next(*numbered) for numbered in enumerate(addresses))))

    async def probe(self, addresses: Sequence[str]) -> list[float]:
        took = []
        for number, address in enumerate(addresses):
            opened, took_ms = await self.open(number, address)
            opened.is_wanted = False
            opened.transport.abort()
            took.append(took_ms)
        return took


async def main(options: argparse.Namespace, addresses: list[str]) -> None:
    crowd = Crowd(options.cookie, options.ports, deflate=options.deflate)
    lost = asyncio.ensure_future(crowd.ended.wait())
    async with asyncio.timeout(LONGEST_S):
        _say(await _unless(lost, crowd.open_all(addresses, options.over)))
        while True:
            asked = asyncio.ensure_future(asyncio.to_thread(sys.stdin.readline))
            await _unless(lost, asked)
            match asked.result().split():
                case ["probe", count]:
                    _say(await crowd.probe([addresses[n % len(addresses)] for n in range(int(count))]))
                case _:
                    break
    _say(crowd.heard)


async def _unless(lost: asyncio.Future[Any], done: Awaitable[T]) -> T:
    work = asyncio.ensure_future(done)
    await asyncio.wait({work, lost}, return_when=asyncio.FIRST_COMPLETED)
    if lost.done():
        raise ConnectionError("a socket was closed")
    return work.result()


def _say(what: object) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("cookie")
    parser.add_argument("ports", type=int, nargs="+")
    parser.add_argument("--over", type=float)
    parser.add_argument("--deflate", action="store_true")
    wanted = [line.strip() for line in iter(sys.stdin.readline, "\n")]
    uvloop.run(main(parser.parse_args(), wanted))
