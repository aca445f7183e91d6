"""Real servers on the other side of a collector: over a unix socket or TLS, saying whatever a test wants them to."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

Reply = tuple[int, Any] | Callable[[BinaryIO], object]
"""A status and what goes out as JSON, or as it is when it is bytes; or a function that writes the answer itself."""


@dataclass
class Request:
    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass
class FarSide:
    """`answer` may be changed while it serves; `requests` are those that came."""

    answer: Callable[[Request], Reply]
    requests: list[Request] = field(default_factory=list)
    url: str = ""


def _handler(side: FarSide) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 20

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(parts.path, dict(parse_qsl(parts.query)), headers)
            side.requests.append(request)
            reply = side.answer(request)
            with contextlib.suppress(OSError):
                if callable(reply):
                    reply(self.wfile)  # type: ignore[arg-type]
                else:
                    self._say(*reply)

        def _say(self, status: int, said: Any) -> None:
            body = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: the client's address is no pair on a unix socket."""

    return Handler


class _UnixServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64


class _TlsServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64


@contextmanager
def _served(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@contextmanager
def on_unix_socket(path: Path, answer: Callable[[Request], Reply]) -> Iterator[FarSide]:
    side = FarSide(answer, url=f"unix://{path}")
    with _served(_UnixServer(str(path), _handler(side))):
        yield side


@contextmanager
def over_tls(answer: Callable[[Request], Reply], *, client_authority: str = "") -> Iterator[FarSide]:
    """With a certificate of `authority()`; with `client_authority` (PEM) only to clients that it has signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _use(context, authority())
    if client_authority:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=client_authority)
    side = FarSide(answer)
    server = _TlsServer(("127.0.0.1", 0), _handler(side))
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    side.url = f"https://127.0.0.1:{server.server_address[1]}"
    with _served(server):
        yield side


# --- Certificates -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Authority:
    """One that trusts itself: PEM of its certificate and key."""

    certificate: str
    key: str


@cache
def authority(name: str = "127.0.0.1") -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    called = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(called)
        .issuer_name(called)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return Authority(certificate.public_bytes(pem).decode(), key.private_bytes(pem, pkcs8, plain).decode())


def _use(context: ssl.SSLContext, own: Authority) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile("w", suffix=".pem") as pair:
        pair.write(own.certificate + own.key)
        pair.flush()
        context.load_cert_chain(pair.name)
