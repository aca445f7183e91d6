from __future__ import annotations

import pytest
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone, translation

from portal.accounts.models import User
from tests.cast import person

pytestmark = pytest.mark.django_db

PAGE = "/accounts/preferences/"
SWITCH = "/accounts/language/"


@pytest.fixture
def jane(client: Client) -> User:
    user = person("jane")
    client.force_login(user)
    return user


def language_of(answer: HttpResponse) -> str:
    return answer.content.decode().split('<html lang="')[1][:2]


def test_the_language_is_the_persons_then_the_cookies_then_the_browsers(client: Client, jane: User) -> None:
    assert language_of(client.get(PAGE)) == "en"
    assert language_of(client.get(PAGE, headers={"Accept-Language": "ko"})) == "ko"
    client.cookies["django_language"] = "en"
    assert language_of(client.get(PAGE, headers={"Accept-Language": "ko"})) == "en"
    User.objects.update(language="ko")
    assert language_of(client.get(PAGE, headers={"Accept-Language": "en"})) == "ko"


def test_one_persons_language_and_zone_do_not_leak_into_the_next_request(client: Client, jane: User) -> None:
    User.objects.update(language="ko", time_zone="Asia/Seoul")
    client.get(PAGE)
    assert language_of(Client().get("/accounts/login/")) == "en"
    assert timezone.get_current_timezone_name() == "UTC"


def test_the_switch_changes_profile_and_browser_and_comes_back(client: Client, jane: User) -> None:
    answer = client.post(SWITCH, {"language": "ko", "next": "/accounts/email/?x=1"})
    assert answer["Location"] == "/accounts/email/?x=1"
    jane.refresh_from_db()
    assert jane.language == "ko"
    client.post("/accounts/logout/")
    assert language_of(client.get("/accounts/login/")) == "ko"


def test_the_switch_works_before_signing_in(client: Client, db: None) -> None:
    client.post(SWITCH, {"language": "ko"})
    assert language_of(client.get("/accounts/login/")) == "ko"


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example/", "/\\evil.example", ""])
def test_the_switch_leads_to_no_other_site(client: Client, jane: User, elsewhere: str) -> None:
    assert client.post(SWITCH, {"language": "ko", "next": elsewhere})["Location"] == "/"


def test_the_switch_refuses_a_language_that_is_not_there(client: Client, jane: User) -> None:
    assert client.post(SWITCH, {"language": "xx"}).status_code == 400
    assert client.get(SWITCH).status_code == 405


def test_preferences_are_saved_and_said_in_the_new_language(client: Client, jane: User) -> None:
    answer = client.post(PAGE, {"language": "ko", "time_zone": "Asia/Seoul"}, follow=True)
    jane.refresh_from_db()
    assert (jane.language, jane.time_zone) == ("ko", "Asia/Seoul")
    assert language_of(answer) == "ko"
    assert jane.history.first().time_zone == "Asia/Seoul"


def test_an_unknown_time_zone_is_refused_beside_the_field(client: Client, jane: User) -> None:
    answer = client.post(PAGE, {"language": "", "time_zone": "Moon/Base"})
    assert "Moon/Base is not one of the available choices" in answer.content.decode()


def test_the_admin_says_times_in_the_persons_zone(client: Client, jane: User) -> None:
    User.objects.update(is_staff=True, is_superuser=True, time_zone="Asia/Seoul", last_login="2026-03-01T20:00:00Z")
    body = client.get(f"/admin/accounts/user/{jane.pk}/change/").content.decode()
    assert "March 2, 2026, 5 a.m." in body
    translation.activate("en")


def test_a_fragment_for_who_is_signed_out_sends_the_page_to_sign_in(client: Client, db: None) -> None:
    answer = client.get(PAGE, headers={"HX-Request": "true", "HX-Current-URL": "http://testserver/servers/3/?range=1h"})
    assert answer.status_code == 401
    assert answer.content == b""
    assert answer["HX-Redirect"] == "/accounts/login/?next=/servers/3/%3Frange%3D1h"


@pytest.mark.parametrize("lie", ["https://evil.example/x", "//evil.example", "javascript:alert(1)"])
def test_a_fragment_never_comes_back_to_another_site(client: Client, db: None, lie: str) -> None:
    answer = client.get(PAGE, headers={"HX-Request": "true", "HX-Current-URL": lie})
    assert answer["HX-Redirect"] == "/accounts/login/?next=/"


def test_a_script_that_is_signed_out_gets_401_and_no_page(client: Client, db: None) -> None:
    assert client.get(PAGE, headers={"Sec-Fetch-Dest": "empty"}).status_code == 401
    assert client.get(PAGE, headers={"Sec-Fetch-Dest": "document"}).status_code == 302
