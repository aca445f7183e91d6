"""The conversation with the mail server: addresses, TLS and passwords."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import AuthResult

from alerts.delivery.smtp import DeliveryError, MailServer, answer_of, envelope_address
from portal.system.bench._smtp import FaultyMailServer

TEXT = "Grüße, 안녕하세요\n.\nend\n"


def mail_to(address: str) -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    message["From"], message["To"] = "OpenManager <robot@example.org>", address
    message["Subject"], message["Message-ID"] = "Hello", "<1-2-fired-critical@example.org>"
    message.set_content(TEXT, cte="base64")
    return message


def send(address: str, within_s: float = 5.0) -> str:
    server = MailServer()
    try:
        return server.send(mail_to(address), time.monotonic() + within_s)
    finally:
        server.close()


# --- Addresses --------------------------------------------------------------------------------------------------------


def test_the_sender_and_the_text_arrive_as_they_are(server: FaultyMailServer) -> None:
    assert send("ann@example.org") == "250 2.0.0 Ok: queued as 1"
    (kept,) = server.kept
    assert kept.sender == "robot@example.org"
    assert kept.message.get_content().replace("\r\n", "\n") == TEXT


def test_a_domain_outside_ascii_is_written_in_ascii() -> None:
    assert envelope_address("ann@예시.kr") == "ann@xn--vv4b11d.kr"


def test_a_name_outside_ascii_goes_to_a_server_that_takes_it(server: FaultyMailServer) -> None:
    send("민지@example.org")
    (kept,) = server.kept
    assert kept.receiver == "민지@example.org"
    assert kept.message["To"] == "민지@example.org"


def test_a_name_outside_ascii_is_refused_for_good_by_a_server_that_does_not(settings: Any) -> None:
    with FaultyMailServer.running(enable_SMTPUTF8=False) as server:
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        with pytest.raises(DeliveryError, match="SMTPUTF8") as refused:
            send("민지@example.org")
    assert refused.value.permanent


def test_an_answer_is_one_bounded_line() -> None:
    said = answer_of(550, b"5.1.1 No\r\nsuch \x1b[31muser\x00 \xff" + b"x" * 5000)
    assert said.startswith("550 5.1.1 No such [31muser")
    assert said.isprintable()
    assert len(said) <= 500


# --- TLS and passwords ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(certificate, key) of "localhost", signed by nobody."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    made = (folder / "cert.pem", folder / "key.pem")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost", "-out", str(made[0]), "-keyout", str(made[1])),
        ],
        check=True,
        capture_output=True,
    )
    return made


@pytest.fixture
def tls_server(certificate: tuple[Path, Path], settings: Any) -> Iterator[FaultyMailServer]:
    """Offers STARTTLS, and takes a mail only over TLS and after the password."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with FaultyMailServer.running(
        tls_context=context, require_starttls=True, auth_required=True, authenticator=knows_the_password
    ) as server:
        settings.EMAIL_HOST, settings.EMAIL_PORT = "localhost", server.port
        settings.EMAIL_USE_TLS, settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = True, "robot", "pass word"
        yield server


def knows_the_password(server: Any, session: Any, envelope: Any, mechanism: str, given: Any) -> AuthResult:
    return AuthResult(success=given.password == b"pass word", handled=False)


@pytest.fixture
def trusted(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))


def test_a_mail_goes_over_tls_with_the_password(tls_server: FaultyMailServer, trusted: None) -> None:
    assert send("ann@example.org") == "250 2.0.0 Ok: queued as 1"


def test_a_certificate_of_unknown_origin_is_not_accepted(tls_server: FaultyMailServer) -> None:
    with pytest.raises(DeliveryError, match="certificate verify failed") as refused:
        send("ann@example.org")
    assert refused.value.unreachable
    assert tls_server.kept == []


def test_a_certificate_of_another_host_is_not_accepted(
    tls_server: FaultyMailServer, trusted: None, settings: Any
) -> None:
    settings.EMAIL_HOST = "127.0.0.1"
    with pytest.raises(DeliveryError, match="certificate verify failed"):
        send("ann@example.org")


def test_a_wrong_password_is_a_mistake_to_be_mended(tls_server: FaultyMailServer, trusted: None, settings: Any) -> None:
    settings.EMAIL_HOST_PASSWORD = "wrong"
    with pytest.raises(DeliveryError, match="535") as refused:
        send("ann@example.org")
    assert refused.value.unreachable
    assert not refused.value.permanent
    assert "wrong" not in str(refused.value)
