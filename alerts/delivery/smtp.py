"""A conversation with the mail server of the settings: what it answered, and which failures may pass."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import parseaddr

from django.conf import settings
from django.core.mail.utils import DNS_NAME

CONNECT_S = 10.0
QUIT_S = 2.0
LONGEST_ANSWER = 500
CLOSING = 421
NEEDS_SIGN_IN = (530, 535)


class DeliveryError(Exception):
    """A mail that was not accepted, in the words of the mail server or of the system.

    `permanent`: this address or mail never will be. `unreachable`: nothing can be sent through this server now.
    """

    def __init__(self, message: str, *, permanent: bool = False, unreachable: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.unreachable = unreachable


class MailServer:
    """At most one connection: opened by the first mail, used by the next ones, opened again when it broke."""

    def __init__(self) -> None:
        self.name = str(settings.EMAIL_HOST)
        self._client: smtplib.SMTP | None = None
        self._socket: socket.socket | None = None

    def send(self, message: EmailMessage, deadline: float) -> str:
        """The answer to an accepted mail ("250 2.0.0 Ok: queued as 4F2"), else DeliveryError.

        All is over by `deadline` (of time.monotonic), even with a server that sends a byte a second. A mail whose
        connection ends before the answer counts as not accepted: it may arrive twice, with the same Message-ID.
        """
        receiver = str(message["To"])
        with self._cut_at(deadline):
            client = self._begin(message, receiver)
            return self._finish(client, message, receiver, deadline)

    def close(self) -> None:
        """Say goodbye; a server that does not answer it is not waited for."""
        if self._client is not None:
            with contextlib.suppress(OSError, smtplib.SMTPException):
                if self._socket is not None:
                    self._socket.settimeout(QUIT_S)
                self._client.quit()
        self._drop()

    # --- The steps ----------------------------------------------------------------------------------------------------

    def _begin(self, message: EmailMessage, receiver: str) -> smtplib.SMTP:
        """A connection that knows the sender. One kept from the last mail may have been closed meanwhile."""
        if self._client is not None:
            try:
                return self._mail_from(self._client, message, receiver)
            except DeliveryError as error:
                if not error.unreachable:
                    raise
        return self._mail_from(self._open(), message, receiver)

    def _open(self) -> smtplib.SMTP:
        kind = _TlsClient if settings.EMAIL_USE_SSL else _Client
        try:
            client = self._client = kind(self)
            if settings.EMAIL_USE_TLS:
                client.starttls(context=_tls())
                self._socket = client.sock  # another one than before
            if settings.EMAIL_HOST_USER:
                client.login(settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD)
            client.ehlo_or_helo_if_needed()
        except (OSError, smtplib.SMTPException, ValueError) as error:
            self._drop()
            raise DeliveryError(_said_by(error), unreachable=True) from error
        return client

    def _mail_from(self, client: smtplib.SMTP, message: EmailMessage, receiver: str) -> smtplib.SMTP:
        """A refusal here is about us, not about the receiver: it is tried again until somebody has set it right."""
        sender = parseaddr(str(message["From"]))[1]
        options = [] if receiver.isascii() else ["SMTPUTF8", "BODY=8BITMIME"]
        if options and not client.has_extn("smtputf8"):
            raise DeliveryError("The mail server does not take such an address (no SMTPUTF8).", permanent=True)
        try:
            code, answer = client.mail(sender, options)
        except (OSError, smtplib.SMTPException, ValueError) as error:
            self._drop()
            raise DeliveryError(_said_by(error), unreachable=True) from error
        if code != 250:
            self._drop()
            raise DeliveryError(answer_of(code, answer), unreachable=True)
        return client

    def _finish(self, client: smtplib.SMTP, message: EmailMessage, receiver: str, deadline: float) -> str:
        content = message.as_bytes(policy=SMTP if receiver.isascii() else SMTPUTF8)
        try:
            code, answer = client.rcpt(receiver)
            if code not in (250, 251):
                raise self._refusal(code, answer)
            # A server that looks into mails may think for long, and delivers what it took after we have gone.
            self._wait_until(deadline)
            code, answer = client.data(content)
            self._wait_until(None)
        except smtplib.SMTPDataError as error:
            raise self._refusal(error.smtp_code, error.smtp_error) from error
        except (OSError, smtplib.SMTPException, ValueError) as error:
            self._drop()
            raise DeliveryError(_said_by(error)) from error
        if code != 250:
            raise self._refusal(code, answer)
        return answer_of(code, answer)

    def _refusal(self, code: int, answer: bytes | str) -> DeliveryError:
        if code == CLOSING or self._client is None:
            self._drop()
        else:
            with contextlib.suppress(OSError, smtplib.SMTPException):
                self._client.rset()
        return DeliveryError(answer_of(code, answer), permanent=code >= 500 and code not in NEEDS_SIGN_IN)

    # --- The socket ---------------------------------------------------------------------------------------------------

    def opened(self, connection: socket.socket) -> None:
        self._socket = connection

    def _wait_until(self, deadline: float | None) -> None:
        if self._socket is not None:
            left_s = settings.EMAIL_TIMEOUT if deadline is None else max(deadline - time.monotonic(), 1.0)
            self._socket.settimeout(left_s)

    @contextlib.contextmanager
    def _cut_at(self, deadline: float) -> Iterator[None]:
        watch = threading.Timer(max(deadline - time.monotonic(), 0.0), self._cut)
        watch.daemon = True
        watch.start()
        try:
            yield
        finally:
            watch.cancel()

    def _cut(self) -> None:
        """From another thread: whoever reads from the socket or writes to it gets its end."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _drop(self) -> None:
        if self._client is not None:
            self._client.close()
        elif self._socket is not None:
            self._socket.close()
        self._client = self._socket = None


class _Client(smtplib.SMTP):
    """Tells `server` of its socket as soon as there is one: before the greeting, which may never come."""

    def __init__(self, server: MailServer) -> None:
        self._server = server
        super().__init__(
            settings.EMAIL_HOST, settings.EMAIL_PORT, local_hostname=str(DNS_NAME), timeout=settings.EMAIL_TIMEOUT
        )

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        connection = socket.create_connection((host, port), CONNECT_S)
        connection.settimeout(timeout)
        self._server.opened(connection)
        return connection


class _TlsClient(_Client):
    """TLS from the first byte."""

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        plain = super()._get_socket(host, port, timeout)
        connection = _tls().wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
        self._server.opened(connection)
        connection.do_handshake()
        return connection


def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


# --- Words ------------------------------------------------------------------------------------------------------------


def envelope_address(address: str) -> str:
    """`address` as a mail server wants it: a domain in ASCII. Raises DeliveryError for what is no address."""
    local, at, domain = address.strip().rpartition("@")
    if not (at and local and domain) or any(letter.isspace() or not letter.isprintable() for letter in address):
        raise DeliveryError("This is not an e-mail address.", permanent=True)
    try:
        return f"{local}@{domain.encode('idna').decode('ascii')}"
    except UnicodeError as error:
        raise DeliveryError("This is not an e-mail address.", permanent=True) from error


def answer_of(code: int, answer: bytes | str) -> str:
    """One bounded line: what a mail server says is shown to people."""
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    return _one_line(f"{code} {text}")


def _said_by(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return answer_of(error.smtp_code, error.smtp_error)
    if isinstance(error, TimeoutError):
        return "No answer in time"
    return _one_line(getattr(error, "strerror", None) or str(error)) or type(error).__name__


def _one_line(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:LONGEST_ANSWER]
