"""Real HTTP servers for tests: each connection is handed to a function that writes whatever it likes."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Answer = Callable[[socket.socket], None]


@dataclass
class Server:
    """Where it listens, and the head of each request that it got."""

    port: int
    requests: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/metrics"


@contextmanager
def serving(answer: Answer, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """`answer` gets every connection after its request was read; the connection is closed behind it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(listener.getsockname()[1])
        threading.Thread(target=_accept, args=(listener, answer, server, tls), daemon=True).start()
        try:
            yield server
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, answer: Answer, server: Server, tls: ssl.SSLContext | None) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_answer, args=(connection, answer, server, tls), daemon=True).start()


def _answer(connection: socket.socket, answer: Answer, server: Server, tls: ssl.SSLContext | None) -> None:
    with contextlib.suppress(OSError), connection:
        connection.settimeout(20)
        spoken = tls.wrap_socket(connection, server_side=True) if tls else connection
        with spoken:
            head = b""
            while b"\r\n\r\n" not in head and head[:1] in b"GET":  # anything else is no request: answered at once
                piece = spoken.recv(65536)
                if not piece:
                    return
                head += piece
            server.requests.append(head.decode("latin-1"))
            answer(spoken)


def page(body: str | bytes, content_type: str = "text/plain; version=0.0.4", *headers: str) -> Answer:
    """A well-formed answer."""
    data = body.encode() if isinstance(body, str) else body
    lines = ["HTTP/1.1 200 OK", f"Content-Type: {content_type}", f"Content-Length: {len(data)}", *headers]
    raw = "\r\n".join([*lines, "", ""]).encode() + data
    return lambda connection: connection.sendall(raw)


def raw(data: bytes) -> Answer:
    """Exactly these bytes, then the end of the connection."""
    return lambda connection: connection.sendall(data)
