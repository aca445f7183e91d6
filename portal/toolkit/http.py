"""The one guarded HTTP client: everything that reads a URL which a person typed goes through `fetch`.

A name is resolved once, the answer is checked, and exactly that address is connected to: a second answer of the DNS
never counts. No redirects, no proxies, no credentials in URLs. One deadline for everything, and a cap on what is kept,
counted after decompression, as it comes.
"""

from __future__ import annotations

import socket
import ssl
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import certifi
import httpcore
from django.utils.translation import gettext as _

from portal.toolkit.addresses import Address
from portal.toolkit.targets import (
    Deadline,
    FetchError,
    Resolve,
    parse_target,
    permitted_addresses,
    printable,
    resolve_name,
)

__all__ = ["FetchError", "Fetched", "TimedStream", "ask", "fetch", "in_words", "tls_context"]


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer. `ending` is "complete" when the framing proves it, "cut" when it proves the opposite, and "unknown"
    when the server just closed the connection."""

    status: int
    content_type: str
    body: bytes
    ending: Literal["complete", "unknown", "cut"]


def fetch(
    url: str,
    *,
    timeout_s: float,
    max_bytes: int,
    accept: str = "*/*",
    headers: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
    resolve: Resolve | None = None,
) -> Fetched:
    """GET `url`: any status but a redirect is an answer. Raises FetchError.

    `timeout_s` is wall-clock time for all of it: look-up, connection, TLS, headers and body. `max_bytes` caps the body
    after decompression; a larger one is an error. `tls` is another than the usual trust (`tls_context`).
    """
    deadline = Deadline(timeout_s)
    target = parse_target(url)
    addresses = permitted_addresses(target, resolve or resolve_name, deadline)
    origin = httpcore.Origin(target.scheme.encode(), target.host.encode(), target.port)
    connection = httpcore.HTTPConnection(
        origin,
        ssl_context=(tls or _tls()) if target.scheme == "https" else None,
        network_backend=_PinnedNetwork(addresses, deadline),
    )
    with in_words(target.place, deadline), connection:
        sent = {"Host": target.place, "Accept": accept, **(headers or {})}
        return ask(connection, origin, target.path, sent, max_bytes)


def ask(
    connection: httpcore.HTTPConnection, origin: httpcore.Origin, path: bytes, headers: Mapping[str, str], limit: int
) -> Fetched:
    """GET `path` over `connection`; at most `limit` bytes of body. Errors are the network's and httpcore's own."""
    sent: list[tuple[bytes | str, bytes | str]] = [("Accept-Encoding", "gzip"), ("User-Agent", "OpenManager")]
    wire = httpcore.URL(scheme=origin.scheme, host=origin.host, port=origin.port, target=path)
    with connection.stream("GET", wire, headers=[*headers.items(), *sent]) as response:
        return _read(response, limit)


# --- The wire ---------------------------------------------------------------------------------------------------------
@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    """Trusts the system's authorities (an operator's own are there) and the public ones, TLS 1.2 at least."""
    context = tls_context()
    context.load_verify_locations(certifi.where())
    return context


def tls_context(authority: str = "", *, verify: bool = True) -> ssl.SSLContext:
    """Trusts the certificates of `authority` (PEM) and nobody else, or the system's; TLS 1.2 at least.

    Raises ssl.SSLError when `authority` holds no certificate. Without `verify` anybody may answer.
    """
    context = ssl.create_default_context(cadata=authority or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class _PinnedNetwork(httpcore.NetworkBackend):
    """Connects to the given addresses, whatever host it is asked for; the host is still the TLS server name."""

    def __init__(self, addresses: Sequence[Address], deadline: Deadline) -> None:
        self._addresses = addresses
        self._deadline = deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        *others, last = self._addresses
        for tried, address in enumerate(others):
            # A dead first address must leave time for the next one.
            share = self._deadline.left() / (len(self._addresses) - tried)
            try:
                return TimedStream(socket.create_connection((str(address), port), share), self._deadline)
            except OSError:
                continue
        return TimedStream(socket.create_connection((str(last), port), self._deadline.left()), self._deadline)


class TimedStream(httpcore.NetworkStream):
    """A socket whose every step ends at the one deadline, so that a drip of bytes does not move it."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._sock.settimeout(self._deadline.left())
        return self._sock.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._sock.settimeout(self._deadline.left())
        self._sock.sendall(buffer)

    def close(self) -> None:
        self._sock.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        try:
            self._sock.settimeout(self._deadline.left())
            return TimedStream(ssl_context.wrap_socket(self._sock, server_hostname=server_hostname), self._deadline)
        except BaseException:
            self.close()
            raise


@contextmanager
def in_words(place: str, deadline: Deadline) -> Iterator[None]:
    """Say what goes wrong with the network as a FetchError that names `place`."""
    try:
        yield
    except TimeoutError as error:
        raise deadline.missed() from error
    except ssl.SSLCertVerificationError as error:
        raise FetchError(
            _("the certificate of %(place)s is not valid: %(error)s") % {"place": place, "error": error.verify_message}
        ) from error
    except ssl.SSLError as error:
        raise FetchError(_("TLS with %(place)s failed: %(error)s") % {"place": place, "error": error}) from error
    except OSError as error:
        said = error.strerror or str(error)
        raise FetchError(_("no connection to %(place)s: %(error)s") % {"place": place, "error": said}) from error
    except httpcore.ProtocolError as error:
        raise FetchError(
            _("%(place)s does not speak HTTP as it should: %(error)s") % {"place": place, "error": error}
        ) from error


# --- The answer -------------------------------------------------------------------------------------------------------
def _read(response: httpcore.Response, max_bytes: int) -> Fetched:
    """Headers are capped by the HTTP library (100 KiB), the body here."""
    headers = {name.lower(): value.decode("latin-1") for name, value in response.headers}
    if 300 <= response.status < 400:
        where = headers.get(b"location", "")
        raise FetchError(_("it redirects to %(where)s, which is not followed") % {"where": printable(where) or "?"})
    body = _Body(headers.get(b"content-encoding", ""), max_bytes)
    framed = b"content-length" in headers or b"transfer-encoding" in headers
    ending: Literal["complete", "unknown", "cut"] = "complete" if framed else "unknown"
    try:
        for piece in response.iter_stream():
            body.add(piece)
    except (httpcore.RemoteProtocolError, ConnectionError, ssl.SSLEOFError):
        ending = "cut"
    if body.is_cut:
        ending = "cut"
    return Fetched(response.status, headers.get(b"content-type", ""), bytes(body.kept), ending)


class _Body:
    """What came so far, decompressed; never more than `max_bytes`, whatever a small piece unpacks to."""

    def __init__(self, encoding: str, max_bytes: int) -> None:
        coding = encoding.strip().lower()
        if coding not in {"", "identity", "gzip", "x-gzip"}:
            raise FetchError(
                _("the answer is packed as “%(coding)s”, which was not asked for") % {"coding": printable(coding, 40)}
            )
        self.kept = bytearray()
        self._max_bytes = max_bytes
        self._gzip = zlib.decompressobj(zlib.MAX_WBITS | 16) if "gzip" in coding else None

    def add(self, piece: bytes) -> None:
        while piece:
            if self._gzip is None:
                self._keep(piece)
                return
            piece = self._unpack(piece)

    def _unpack(self, piece: bytes) -> bytes:
        """Keep what `piece` unpacks to; returns what follows the end of a gzip member."""
        assert self._gzip is not None
        try:
            self._keep(self._gzip.decompress(piece, self._max_bytes - len(self.kept) + 1))
        except zlib.error as error:
            raise FetchError(_("the answer is not valid gzip: %(error)s") % {"error": error}) from error
        if not self._gzip.eof:
            return b""
        following = self._gzip.unused_data
        if following:
            self._gzip = zlib.decompressobj(zlib.MAX_WBITS | 16)
        return following

    def _keep(self, data: bytes) -> None:
        self.kept += data
        if len(self.kept) > self._max_bytes:
            raise FetchError(
                _("the answer is larger than %(megabytes)g MB") % {"megabytes": round(self._max_bytes / 1e6, 3)}
            )

    @property
    def is_cut(self) -> bool:
        return self._gzip is not None and not self._gzip.eof
