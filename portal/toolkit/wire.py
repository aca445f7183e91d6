"""Guarded connections below any protocol: to checked addresses only, under one deadline, with TLS."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from functools import lru_cache

import certifi
import httpcore
from cryptography import x509
from django.utils.translation import gettext_noop as _

from portal.toolkit.addresses import Address
from portal.toolkit.targets import Deadline, FetchError, RefusedError, Target


class CertificateError(FetchError):
    """Somebody answered, with a certificate that is not to be trusted."""


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
        if buffer:  # an empty one still breaks on a unix socket whose other end has answered and gone
            self._sock.sendall(buffer)

    def close(self) -> None:
        self._sock.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> TimedStream:
        try:
            self._sock.settimeout(self._deadline.left())
            return TimedStream(ssl_context.wrap_socket(self._sock, server_hostname=server_hostname), self._deadline)
        except BaseException:
            self.close()
            raise

    @property
    def certificate(self) -> bytes:
        """The other side's certificate (DER), trusted or not; empty without TLS."""
        return (self._sock.getpeercert(binary_form=True) or b"") if isinstance(self._sock, ssl.SSLSocket) else b""


def dial(addresses: Sequence[Address], port: int, deadline: Deadline) -> TimedStream:
    """Connected to the first of `addresses` that answers. Raises OSError."""
    *others, last = addresses
    for tried, address in enumerate(others):
        # A dead first address must leave time for the next one.
        share = deadline.left() / (len(addresses) - tried)
        try:
            return TimedStream(socket.create_connection((str(address), port), share), deadline)
        except OSError:
            continue
    return TimedStream(socket.create_connection((str(last), port), deadline.left()), deadline)


def dial_unix(path: str, deadline: Deadline) -> TimedStream:
    """Connected to whoever listens at the socket `path` of this machine. Raises OSError."""
    wire = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        wire.settimeout(deadline.left())
        wire.connect(path)
    except BaseException:
        wire.close()
        raise
    return TimedStream(wire, deadline)


def shown_certificate(target: Target, addresses: Sequence[Address], deadline: Deadline) -> bytes:
    """The certificate (DER) that `target` shows, trusted or not; nothing is sent to it. Raises FetchError."""
    with in_words(target.place, deadline):
        bare = dial(addresses, target.port, deadline)
        with closing(bare.start_tls(tls_context(verify=False), target.host)) as stream:
            return stream.certificate


def days_left(certificate: bytes, now: datetime) -> float:
    """For how many days from `now` (aware) the certificate (DER) is valid; negative since it expired."""
    return (x509.load_der_x509_certificate(certificate).not_valid_after_utc - now).total_seconds() / 86_400


@lru_cache(maxsize=1)
def usual_tls() -> ssl.SSLContext:
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


@contextmanager
def in_words(place: str, deadline: Deadline) -> Iterator[None]:
    """Say what goes wrong with the network as a FetchError that names `place`."""
    try:
        yield
    except TimeoutError as error:
        raise deadline.missed() from error
    except ssl.SSLCertVerificationError as error:
        raise CertificateError(
            _("the certificate of %(place)s is not valid: %(error)s"), place=place, error=error.verify_message
        ) from error
    except ssl.SSLError as error:
        raise FetchError(_("TLS with %(place)s failed: %(error)s"), place=place, error=str(error)) from error
    except OSError as error:
        said = error.strerror or str(error)
        raise FetchError(_("no connection to %(place)s: %(error)s"), place=place, error=said) from error
    except httpcore.LocalProtocolError:  # it quotes the header, which may be the one with the password
        raise RefusedError(
            _("what %(place)s would be sent is no HTTP: is there a space or line break around a password or token?"),
            place=place,
        ) from None
    except httpcore.ProtocolError as error:
        raise FetchError(
            _("%(place)s does not speak HTTP as it should: %(error)s"), place=place, error=str(error)
        ) from error
