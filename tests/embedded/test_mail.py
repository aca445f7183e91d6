"""The mail server that keeps what it gets, spoken to over SMTP."""

from __future__ import annotations

import mailbox
import smtplib
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest
from django.core.mail import send_mail

from portal.embedded import mail
from portal.embedded.services import Place, is_ready, prepare
from portal.embedded.throwaway import running

GIVEN = {"DATABASE_URL": "postgresql://elsewhere", "REDIS_URL": "redis://elsewhere"}


@pytest.fixture
def client(short_folder: Path) -> Iterator[smtplib.SMTP]:
    port = mail.free_port()
    (service,) = prepare(GIVEN, Place(*[short_folder] * 4, short_folder / "mail"), "", port)
    with running(service, short_folder / "log"):
        assert is_ready(service.name, service.url, 10), (short_folder / "log").read_text()
        with smtplib.SMTP(mail.HOST, port, timeout=5) as client:
            yield client


def letter(subject: str) -> EmailMessage:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = subject, "portal@example.org", "team@example.org"
    message.set_content("Line one\n.\nLine three\n")
    return message


def test_a_mail_is_kept_whole_and_with_the_addresses_of_its_envelope(client: smtplib.SMTP, short_folder: Path) -> None:
    client.send_message(letter("디스크가 찼습니다"), "robot@example.org", ["ann@example.org", "bob@example.org"])

    (kept,) = mailbox.Maildir(short_folder / "mail")
    assert kept["X-MailFrom"] == "robot@example.org"
    assert kept["X-RcptTo"] == "ann@example.org, bob@example.org"
    assert kept["To"] == "team@example.org"
    assert kept.get_payload() == "Line one\n.\nLine three\n"


def test_a_mail_that_is_too_large_is_refused(client: smtplib.SMTP, short_folder: Path) -> None:
    with pytest.raises(smtplib.SMTPResponseException) as refused:
        client.sendmail("a@example.org", ["b@example.org"], b"x" * (mail.LARGEST_BYTES + 1))
    assert refused.value.smtp_code == 552
    assert len(mailbox.Maildir(short_folder / "mail")) == 0


def test_the_tests_own_mailbox_gets_what_django_sends(mailbox: mailbox.Maildir) -> None:
    send_mail("Hello", "from the portal", "portal@example.org", ["ann@example.org"])

    (kept,) = mailbox
    assert kept["Subject"] == "Hello"
    assert kept["X-RcptTo"] == "ann@example.org"
