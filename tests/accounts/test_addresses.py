"""One's own address: what the preferences say of it, and how it is verified by a mail."""

from __future__ import annotations

import mailbox as mailboxes
import re

import pytest
from allauth.account.models import EmailAddress
from django.test import Client
from django.utils import timezone

from alerts.models import Bounce
from portal.accounts.models import User
from tests.cast import person

pytestmark = pytest.mark.django_db

PREFERENCES = "/accounts/preferences/"


@pytest.fixture
def jane(client: Client) -> User:
    user = person("jane")
    client.force_login(user)
    return user


def test_the_preferences_say_that_an_address_is_verified(client: Client, jane: User) -> None:
    page = client.get(PREFERENCES).content.decode()
    assert "badge is-verified" in page
    assert "verified addresses only" not in page


def test_the_preferences_lead_to_verifying_one_that_is_not(client: Client, jane: User) -> None:
    EmailAddress.objects.update(verified=False)
    page = client.get(PREFERENCES).content.decode()
    assert "badge is-unverified" in page
    assert '<a href="/accounts/email/">Verify</a>' in page
    assert "Mail about alerts goes to verified addresses only." in page


def test_the_preferences_say_that_an_address_refuses_mail(client: Client, jane: User) -> None:
    Bounce.objects.create(address="jane@example.org", at=timezone.now(), answer="550 <no>")
    assert "Your address refused the last mail: 550 &lt;no&gt;" in client.get(PREFERENCES).content.decode()


def test_an_address_is_verified_with_the_link_in_a_mail(client: Client, jane: User, mailbox: mailboxes.Maildir) -> None:
    EmailAddress.objects.update(verified=False)
    client.post("/accounts/email/", {"action_send": "", "email": "jane@example.org"})
    (mail,) = mailbox
    text = mail.get_payload(decode=True).decode()  # type: ignore[union-attr]
    (link,) = re.findall(r"http://testserver(/accounts/confirm-email/\S+/)", text)
    assert mail["To"] == "jane@example.org"
    assert mail["Subject"].startswith("OpenManager: ")
    assert "Confirm" in client.get(link).content.decode()
    client.post(link)
    assert EmailAddress.objects.get().verified


def test_a_new_address_of_ones_own_is_sent_a_mail(client: Client, jane: User, mailbox: mailboxes.Maildir) -> None:
    client.post("/accounts/email/", {"action_add": "", "email": "jane@home.example.org"})
    assert "jane@home.example.org" in [mail["To"] for mail in mailbox]
    assert not EmailAddress.objects.get(email="jane@home.example.org").verified
