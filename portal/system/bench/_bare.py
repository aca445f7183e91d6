"""A bare websocket server in C (picows) that sends what it is given, as the floor of `fanout`.

    python -m portal.system.bench._bare PORT

On stdin, for each tick: how many bytes follow (4, big-endian), then the frames with a zero byte between them. The
socket that came n-th gets frame n modulo their number. Says "ready" once it listens.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

WELCOME = b'<article data-at="1">welcome</article>'


class Listener(WSListener):
    def __init__(self, sockets: list[WSTransport]) -> None:
        self._sockets = sockets

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._sockets.append(transport)
        transport.send(WSMsgType.TEXT, WELCOME)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()


def _next_tick() -> list[bytes]:
    size = int.from_bytes(sys.stdin.buffer.read(4), "big")
    return sys.stdin.buffer.read(size).split(b"\0") if size else []


async def main(port: int) -> None:
    sockets: list[WSTransport] = []

    def listener(_request: WSUpgradeRequest) -> WSListener:
        return Listener(sockets)

    await ws_create_server(listener, "127.0.0.1", port)
    print("ready", flush=True)
    while frames := await asyncio.to_thread(_next_tick):
        for number, transport in enumerate(sockets):
            transport.send(WSMsgType.TEXT, frames[number % len(frames)])


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
