"""The one guarded HTTP client: everything that reads a URL which a person typed goes through `fetch`.

A name is resolved once, the answer is checked, and exactly that address is connected to: a second answer of the DNS
never counts. No redirects, no proxies, no credentials in URLs. One deadline for everything, and a cap on what is kept,
counted after decompression, as it comes.
"""

from __future__ import annotations

import ssl
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import httpcore
from django.utils.translation import gettext_noop as _

from portal.toolkit.addresses import Address
from portal.toolkit.printable import printable
from portal.toolkit.sentence import Quantity
from portal.toolkit.targets import (
    Deadline,
    FetchError,
    Resolve,
    parse_target,
    permitted_addresses,
    resolve_name,
)
from portal.toolkit.wire import TimedStream, dial, in_words, tls_context, usual_tls

__all__ = ["FetchError", "Fetched", "TimedStream", "ask", "fetch", "in_words", "tls_context"]


Ending = Literal["complete", "unknown", "cut", "left"]


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer. `ending` is "complete" when the framing proves it, "cut" when it proves the opposite, "unknown" when
    the server just closed the connection, and "left" when `max_bytes` were enough. `certificate` is DER, over TLS."""

    status: int
    content_type: str
    body: bytes
    ending: Ending
    certificate: bytes = b""


@dataclass(frozen=True, slots=True)
class Take:
    """What else counts as an answer: a redirect as it is, and of a body that is too large its beginning."""

    redirects: bool = False
    beginnings: bool = False


def fetch(
    url: str,
    *,
    timeout_s: float | Deadline,
    max_bytes: int,
    accept: str = "*/*",
    headers: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
    method: Literal["GET", "HEAD"] = "GET",
    take: Take | None = None,
    resolve: Resolve | None = None,
) -> Fetched:
    """Ask for `url`: any status but a redirect is an answer. Raises FetchError; RefusedError before any connection.

    `timeout_s` is wall-clock time for all of it: look-up, connection, TLS, headers and body; or the deadline of several
    requests. `max_bytes` caps the body after decompression; a larger one is an error. `tls` is another than the usual
    trust (`tls_context`). `take` says otherwise about redirects and larger bodies.
    """
    deadline = timeout_s if isinstance(timeout_s, Deadline) else Deadline(timeout_s)
    target = parse_target(url)
    addresses = permitted_addresses(target, resolve or resolve_name, deadline)
    origin = httpcore.Origin(target.scheme.encode(), target.host.encode(), target.port)
    connection = httpcore.HTTPConnection(
        origin,
        ssl_context=(tls or usual_tls()) if target.scheme == "https" else None,
        network_backend=_PinnedNetwork(addresses, deadline),
    )
    with in_words(target.place, deadline), connection:
        sent = {"Host": target.place, "Accept": accept, **(headers or {})}
        return ask(connection, origin, target.path, sent, max_bytes, method, take or Take())


def ask(
    connection: httpcore.HTTPConnection,
    origin: httpcore.Origin,
    path: bytes,
    headers: Mapping[str, str],
    limit: int,
    method: Literal["GET", "HEAD"] = "GET",
    take: Take | None = None,
) -> Fetched:
    """Ask for `path` over `connection`; at most `limit` bytes of body. Errors are the network's and httpcore's own."""
    sent: list[tuple[bytes | str, bytes | str]] = [("Accept-Encoding", "gzip"), ("User-Agent", "OpenManager")]
    wire = httpcore.URL(scheme=origin.scheme, host=origin.host, port=origin.port, target=path)
    with connection.stream(method, wire, headers=[*headers.items(), *sent]) as response:
        return _read(response, limit, take or Take())


# --- The wire ---------------------------------------------------------------------------------------------------------
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
        return dial(self._addresses, port, self._deadline)


# --- The answer -------------------------------------------------------------------------------------------------------
def _read(response: httpcore.Response, max_bytes: int, take: Take) -> Fetched:
    """Headers are capped by the HTTP library (100 KiB), the body here."""
    headers = {name.lower(): value.decode("latin-1") for name, value in response.headers}
    if 300 <= response.status < 400 and not take.redirects:
        where = headers.get(b"location", "")
        raise FetchError(_("it redirects to %(where)s, which is not followed"), where=where or "?")
    # The socket is gone once the body was read to its end.
    stream = response.extensions.get("network_stream")
    certificate = stream.certificate if isinstance(stream, TimedStream) else b""
    body = _Body(headers.get(b"content-encoding", ""), max_bytes)
    framed = b"content-length" in headers or b"transfer-encoding" in headers
    ending = _read_body(response, body, take, "complete" if framed else "unknown")
    return Fetched(response.status, headers.get(b"content-type", ""), bytes(body.kept), ending, certificate)


def _read_body(response: httpcore.Response, body: _Body, take: Take, whole: Ending) -> Ending:
    try:
        for piece in response.iter_stream():
            body.add(piece)
    except _TooLargeError:
        if not take.beginnings:
            raise
        return "left"
    except (httpcore.RemoteProtocolError, ConnectionError, ssl.SSLEOFError):
        return "cut"
    return "cut" if body.is_cut else whole


class _TooLargeError(FetchError):
    """The body is larger than it may be; its beginning is kept."""


class _Body:
    """What came so far, decompressed; never more than `max_bytes`, whatever a small piece unpacks to."""

    def __init__(self, encoding: str, max_bytes: int) -> None:
        coding = encoding.strip().lower()
        if coding not in {"", "identity", "gzip", "x-gzip"}:
            raise FetchError(
                _("the answer is packed as “%(coding)s”, which was not asked for"), coding=printable(coding, 40)
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
            raise FetchError(_("the answer is not valid gzip: %(error)s"), error=str(error)) from error
        if not self._gzip.eof:
            return b""
        following = self._gzip.unused_data
        if following:
            self._gzip = zlib.decompressobj(zlib.MAX_WBITS | 16)
        return following

    def _keep(self, data: bytes) -> None:
        self.kept += data
        if len(self.kept) > self._max_bytes:
            raise _TooLargeError(_("the answer is larger than %(size)s"), size=Quantity(self._max_bytes / 1e6, "MB"))

    @property
    def is_cut(self) -> bool:
        return self._gzip is not None and not self._gzip.eof
