from __future__ import annotations

import mailbox as mailboxes
import re
import time
from datetime import UTC, datetime, timedelta
from email.message import Message
from statistics import median

import pytest
import time_machine
from allauth.account.models import EmailAddress
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import (
    TOTP,
    format_hotp_value,
    generate_totp_secret,
    hotp_value,
    yield_hotp_counters_from_time,
)
from django.core.cache import cache, caches
from django.test import Client
from django.urls import reverse

from portal.accounts.models import User
from tests.cast import PASSWORD, person, sign_in

pytestmark = pytest.mark.django_db

LOGIN = "/accounts/login/"


@pytest.fixture
def jane(db: None) -> User:
    return person("jane")


def test_a_person_signs_in_by_name_or_by_address(client: Client, jane: User) -> None:
    for said in ("jane", "jane@example.org", "JANE@example.org"):
        answer = client.post(LOGIN, {"login": said, "password": PASSWORD})
        assert (answer.status_code, answer["Location"]) == (302, "/")
        assert client.session["_auth_user_id"] == str(jane.pk)
        client.logout()


def test_nobody_gets_a_page_without_signing_in_and_comes_back_to_it(client: Client, jane: User) -> None:
    answer = client.get("/accounts/preferences/?a=1")
    assert answer["Location"] == "/accounts/login/?next=/accounts/preferences/%3Fa%3D1"
    answer = client.post(LOGIN, {"login": "jane", "password": PASSWORD, "next": "/accounts/preferences/?a=1"})
    assert answer["Location"] == "/accounts/preferences/?a=1"


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example/", "//evil.example", "javascript:alert(1)", "\\\\evil.example"]
)
def test_sign_in_leads_to_no_other_site(client: Client, jane: User, elsewhere: str) -> None:
    answer = client.post(LOGIN, {"login": "jane", "password": PASSWORD, "next": elsewhere})
    assert answer["Location"] == "/"


def test_the_admin_signs_in_through_the_same_door(client: Client) -> None:
    answer = client.get("/admin/login/?next=/admin/")
    assert answer["Location"] == "/accounts/login/?next=%2Fadmin%2F"
    assert client.post("/admin/login/", {"username": "x", "password": "y"})["Location"].startswith(LOGIN)
    assert client.get("/admin/")["Location"].startswith("/admin/login/")


def test_nobody_signs_up(client: Client) -> None:
    for answer in (
        client.get("/accounts/signup/"),
        client.post(
            "/accounts/signup/",
            {"username": "new", "email": "n@example.org", "password1": PASSWORD, "password2": PASSWORD},
        ),
    ):
        assert "Nobody signs up here by themselves" in answer.content.decode()
    assert not User.objects.exists()


def test_who_is_switched_off_does_not_get_in(client: Client, jane: User) -> None:
    User.objects.update(is_active=False)
    client.post(LOGIN, {"login": "jane", "password": PASSWORD})
    assert "_auth_user_id" not in client.session


def test_a_wrong_password_and_an_unknown_name_get_the_same_answer(client: Client, jane: User) -> None:
    bodies = []
    for name in ("jane", "nobody-at-all"):
        body = client.post(LOGIN, {"login": name, "password": "wrong"}).content.decode().replace(name, "NAME")
        bodies.append(re.sub(r'csrfmiddlewaretoken" value="\w+"', "", body))
    assert bodies[0] == bodies[1]
    assert "errorlist" in bodies[0]


def test_a_wrong_password_and_an_unknown_name_take_about_the_same_time(
    slow_hashes: None, client: Client, jane: User
) -> None:
    took: dict[str, list[float]] = {"jane": [], "nobody-at-all": []}
    for _ in range(4):
        for name, times in took.items():
            cache.clear()
            started = time.perf_counter()
            client.post(LOGIN, {"login": name, "password": "wrong"})
            times.append(time.perf_counter() - started)
    known, unknown = median(took["jane"]), median(took["nobody-at-all"])
    assert 0.5 < known / unknown < 2


def test_guessing_is_stopped_and_a_flush_of_redis_does_not_open_the_door_again(client: Client, jane: User) -> None:
    for _ in range(5):
        client.post(LOGIN, {"login": "jane", "password": "wrong"})
    caches["fast"].clear()
    answer = client.post(LOGIN, {"login": "jane", "password": PASSWORD})
    assert "Too many failed login attempts" in answer.content.decode()
    assert "_auth_user_id" not in client.session


def test_many_other_names_do_not_push_a_limit_out(client: Client, jane: User) -> None:
    for _ in range(5):
        client.post(LOGIN, {"login": "jane", "password": "wrong"})
    for n in range(400):
        cache.set(f"of-somebody-else-{n}", 1, 300)
    assert (
        "Too many failed login attempts" in client.post(LOGIN, {"login": "jane", "password": PASSWORD}).content.decode()
    )


def test_the_owner_is_not_locked_out_for_ever(client: Client, jane: User) -> None:
    for _ in range(6):
        client.post(LOGIN, {"login": "jane", "password": "wrong"})
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=6), tick=True):
        answer = client.post(LOGIN, {"login": "jane", "password": PASSWORD})
    assert answer["Location"] == "/"


def test_one_address_may_not_try_many_names(client: Client, jane: User) -> None:
    answers = [client.post(LOGIN, {"login": f"guess-{n}", "password": "wrong"}) for n in range(12)]
    assert "Too many failed login attempts" in answers[-1].content.decode()
    elsewhere = client.post(LOGIN, {"login": "jane", "password": PASSWORD}, REMOTE_ADDR="192.0.2.7")
    assert elsewhere["Location"] == "/", "others are not locked out"


def test_a_forged_client_address_does_not_escape_the_limit(client: Client, jane: User) -> None:
    for n in range(12):
        answer = client.post(
            LOGIN, {"login": f"guess-{n}", "password": "wrong"}, HTTP_X_FORWARDED_FOR=f"198.51.100.{n}"
        )
    assert "Too many failed login attempts" in answer.content.decode()


def test_a_new_password_comes_by_mail_and_ends_other_sessions(
    client: Client, jane: User, mailbox: mailboxes.Maildir
) -> None:
    other = sign_in(jane)
    client.post(reverse("account_reset_password"), {"email": "jane@example.org"})
    link = re.search(r"http://testserver(/accounts/password/reset/key/\S+)", _text_of_only_mail(mailbox))
    assert link
    form_at = client.get(link[1])["Location"]
    answer = client.post(form_at, {"password1": "another fine password", "password2": "another fine password"})
    assert answer.status_code == 302
    jane.refresh_from_db()
    assert jane.check_password("another fine password")
    assert other.get("/accounts/preferences/").status_code == 302


def test_asking_for_a_new_password_does_not_tell_who_is_known(
    client: Client, jane: User, mailbox: mailboxes.Maildir
) -> None:
    answers = [
        client.post(reverse("account_reset_password"), {"email": e}) for e in ("jane@example.org", "who@example.org")
    ]
    assert answers[0]["Location"] == answers[1]["Location"]


def test_a_link_in_a_mail_does_not_follow_a_forged_host(client: Client, jane: User) -> None:
    answer = Client(raise_request_exception=False).post(
        reverse("account_reset_password"), {"email": "jane@example.org"}, HTTP_HOST="evil.example"
    )
    assert answer.status_code == 400


def test_a_second_factor_is_asked_for_at_every_door(client: Client, jane: User) -> None:
    secret = generate_totp_secret()
    TOTP.activate(jane, secret)
    User.objects.update(is_staff=True, is_superuser=True)
    answer = client.post(LOGIN, {"login": "jane", "password": PASSWORD, "next": "/admin/"})
    assert answer["Location"].startswith("/accounts/2fa/authenticate/")
    assert client.get("/admin/").status_code == 302, "a password alone opens nothing"
    assert client.post("/accounts/2fa/authenticate/", {"code": "000000"}).status_code == 200
    client.post("/accounts/2fa/authenticate/", {"code": _code_now(secret)})
    assert client.get("/admin/").status_code == 200


def test_a_recovery_code_works_once(client: Client, jane: User) -> None:
    TOTP.activate(jane, generate_totp_secret())
    code = RecoveryCodes.activate(jane).get_unused_codes()[0]
    for expected in (302, 200):
        client.logout()
        client.post(LOGIN, {"login": "jane", "password": PASSWORD})
        assert client.post("/accounts/2fa/authenticate/", {"code": code}).status_code == expected


def test_a_second_factor_is_set_up_after_saying_the_password_again(client: Client, jane: User) -> None:
    client.post(LOGIN, {"login": "jane", "password": PASSWORD})
    activate = reverse("mfa_activate_totp")
    asked = client.get(activate)["Location"]
    assert asked.startswith("/accounts/reauthenticate/")
    client.post(asked, {"password": PASSWORD, "next": activate})
    page = client.get(activate)
    assert "data:image/svg+xml" in page.content.decode()
    answer = client.post(activate, {"code": _code_now(client.session["mfa.totp.secret"])})
    assert answer.status_code == 302
    assert jane.authenticator_set.filter(type="totp").exists()


def test_signing_out_elsewhere_ends_the_other_session_only(client: Client, jane: User) -> None:
    other = Client()
    for browser in (other, client):
        browser.post(LOGIN, {"login": "jane", "password": PASSWORD})
    assert client.get("/accounts/sessions/").content.decode().count("<tr>") == 3
    client.post("/accounts/sessions/")
    assert client.get("/accounts/preferences/").status_code == 200
    assert other.get("/accounts/preferences/").status_code == 302


def test_signing_out_needs_a_post(client: Client, jane: User) -> None:
    client.force_login(jane)
    assert client.get("/accounts/logout/").status_code == 200
    assert "_auth_user_id" in client.session
    client.post("/accounts/logout/")
    assert "_auth_user_id" not in client.session


def test_a_form_from_another_site_is_refused(jane: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    answer = strict.post(LOGIN, {"login": "jane", "password": PASSWORD})
    assert answer.status_code == 403
    assert "This form is out of date" in answer.content.decode()


def test_an_address_that_an_admin_replaced_signs_in_no_more(client: Client, jane: User, admin_client: Client) -> None:
    change = reverse("admin:accounts_user_change", args=[jane.pk])
    answer = admin_client.post(
        change,
        {
            "username": "jane",
            "email": "new@example.org",
            "is_active": "on",
            "memberships-TOTAL_FORMS": 0,
            "memberships-INITIAL_FORMS": 0,
        },
    )
    assert answer.status_code == 302
    assert not EmailAddress.objects.filter(email="jane@example.org").exists()
    client.post(LOGIN, {"login": "jane@example.org", "password": PASSWORD})
    assert "_auth_user_id" not in client.session
    client.post(LOGIN, {"login": "new@example.org", "password": PASSWORD})
    assert client.session["_auth_user_id"] == str(jane.pk)


def _code_now(secret: str) -> str:
    return format_hotp_value(hotp_value(secret, next(iter(yield_hotp_counters_from_time()))))


def _text_of_only_mail(box: mailboxes.Maildir) -> str:
    deadline = time.monotonic() + 5
    while not len(box) and time.monotonic() < deadline:
        time.sleep(0.02)
    (message,) = list(box)
    return _decoded(message)


def _decoded(message: Message) -> str:
    part = message.get_payload(decode=True)
    assert isinstance(part, bytes)
    return part.decode()
