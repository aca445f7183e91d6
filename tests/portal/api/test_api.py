"""The door of the API: who may ask, how errors are said, what is kept by whom."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from monitoring.api import dashboard
from portal.accounts import tokens
from portal.accounts.models import ReadToken
from portal.toolkit import deadline
from tests.cast import Cast, sign_in
from tests.portal.api.conftest import program, token_of

DASHBOARD = "/api/dashboard"


# --- Who may ask ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [DASHBOARD, "/api/monitoring/servers", "/api/system/redis"])
def test_nobody_is_told_in_json_to_sign_in(db: None, path: str) -> None:
    answer = program().get(path)
    assert answer.status_code == 401
    assert answer.json()["error"] == "not_signed_in"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_signed_in_person_may_ask(cast: Cast) -> None:
    assert [server["name"] for server in sign_in(cast.reader).get(DASHBOARD).json()["servers"]] == ["shop-web-1"]


def test_a_token_sees_what_its_person_sees(cast: Cast) -> None:
    _, readers = token_of(cast.reader)
    _, strangers = token_of(cast.stranger)
    assert [server["name"] for server in program().get(DASHBOARD, headers=readers).json()["servers"]] == ["shop-web-1"]
    assert program().get(DASHBOARD, headers=strangers).json()["servers"] == []


def test_a_wrong_token_is_nobody_even_in_a_signed_in_browser(cast: Cast) -> None:
    headers = {"Authorization": "Bearer omr_wrong"}
    assert sign_in(cast.superuser).get(DASHBOARD, headers=headers).status_code == 401


def test_a_token_decides_over_the_session(cast: Cast) -> None:
    _, headers = token_of(cast.stranger)
    assert sign_in(cast.reader).get(DASHBOARD, headers=headers).json()["servers"] == []


@pytest.mark.parametrize("change", [{"enabled": False}, {"expires_at": timezone.now() - timedelta(seconds=1)}])
def test_a_token_that_is_switched_off_or_over_is_nobody(cast: Cast, change: dict[str, Any]) -> None:
    _, headers = token_of(cast.reader, **change)
    assert program().get(DASHBOARD, headers=headers).status_code == 401


def test_a_token_that_was_let_in_ends_when_it_is_switched_off_or_expires(cast: Cast) -> None:
    token, headers = token_of(cast.reader, expires_at=timezone.now() + timedelta(hours=1))
    assert program().get(DASHBOARD, headers=headers).status_code == 200
    token.enabled = False
    token.save()
    assert program().get(DASHBOARD, headers=headers).status_code == 401


def test_a_token_of_somebody_switched_off_is_nobody(cast: Cast) -> None:
    _, headers = token_of(cast.reader)
    assert program().get(DASHBOARD, headers=headers).status_code == 200
    cast.reader.is_active = False
    cast.reader.save()
    assert program().get(DASHBOARD, headers=headers).status_code == 401


def test_what_another_process_switched_off_is_over_within_ten_seconds(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, headers = token_of(cast.reader)
    program().get(DASHBOARD, headers=headers)
    ReadToken.objects.filter(pk=token.pk).update(enabled=False)  # no signal here, as in another process
    clock = tokens.time.monotonic() + 10.1
    monkeypatch.setattr(tokens.time, "monotonic", lambda: clock)
    assert program().get(DASHBOARD, headers=headers).status_code == 401


def test_the_use_of_a_token_is_noted_and_not_each_time(cast: Cast) -> None:
    token, headers = token_of(cast.superuser)
    program().get(DASHBOARD, headers=headers, REMOTE_ADDR="192.0.2.7")
    token.refresh_from_db()
    assert token.used_at is not None
    assert token.used_from == "192.0.2.7"
    with CaptureQueriesContext(
        connection,
    ) as queries:
        program().get(DASHBOARD, headers=headers)
    assert [query["sql"] for query in queries] == []


def test_only_the_digest_of_a_token_is_kept(cast: Cast) -> None:
    token, headers = token_of(cast.reader)
    text = headers["Authorization"].removeprefix("Bearer ")
    assert text not in str(ReadToken.objects.filter(pk=token.pk).values().get())
    assert text.endswith(token.hint)


def test_a_token_is_no_key_to_pages(cast: Cast) -> None:
    _, headers = token_of(cast.superuser)
    assert program().get("/", headers=headers).status_code == 302
    assert program().get("/admin/", headers=headers).status_code == 302


# --- Errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/", "/api/nothing", "/api/dashboard/", "/api/monitoring"])
def test_an_unknown_address_is_404_in_json(cast: Cast, path: str) -> None:
    answer = sign_in(cast.reader).get(path)
    assert answer.status_code == 404
    assert answer.json()["error"] == "not_found"
    assert answer.headers["Cache-Control"] == "no-cache"


def test_a_wrong_method_is_405_and_told_the_right_one(cast: Cast) -> None:
    browser = sign_in(cast.reader)
    for method in ("POST", "PUT", "PATCH", "DELETE", "PROPFIND"):
        answer = browser.generic(method, DASHBOARD)
        assert (answer.status_code, answer.headers["Allow"]) == (405, "GET")
        assert answer.json()["message"] == "This address takes GET only."


def test_head_is_get_without_the_body(cast: Cast) -> None:
    browser = sign_in(cast.reader)
    answer = browser.head(DASHBOARD)
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["Content-Length"]) > 100


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "“serverId” is missing."),
        ("?serverId=", "“serverId” is missing."),
        ("?serverId=1&from=yesterday", "“from”: "),
        ("?serverId=1&metric=smell", "“metric”: "),
        ("?serverId=shop-web-1&from=2026-02-01&to=2026-01-01", "“from” must be before “to”."),
    ],
)
def test_a_wrong_parameter_is_named(cast: Cast, query: str, words: str) -> None:
    answer = sign_in(cast.reader).get(f"/api/monitoring/performance{query}")
    assert answer.status_code == 400
    body = answer.json()
    assert body["error"] == "bad_request"
    assert words in body["message"]
    assert datetime.fromisoformat(body["timestamp"])
    assert answer.headers["Cache-Control"] == "no-cache"


def test_without_the_database_it_is_503_and_come_back(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_audience: str) -> None:
        raise OperationalError("the server closed the connection")

    monkeypatch.setattr(dashboard, "servers_of", away)
    answer = sign_in(cast.reader).get(DASHBOARD)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "database" in answer.json()["message"]


def test_without_the_database_who_asks_is_told_so_too(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_digest: str) -> None:
        raise OperationalError("the server closed the connection")

    monkeypatch.setattr(tokens, "_token", away)
    answer = program().get(DASHBOARD, headers={"Authorization": "Bearer x"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.json()["error"] == "unavailable"


def test_a_query_that_takes_too_long_is_stopped_and_answered(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(_ids: object, _metrics: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(8)")

    monkeypatch.setattr("portal.middleware.API_DEADLINE_S", 0.3)
    monkeypatch.setattr(dashboard, "newest_of_metrics", slow)
    answer = sign_in(cast.reader).get(DASHBOARD)
    assert answer.status_code == 503
    assert "longer than ten seconds" in answer.json()["message"]


def test_no_query_starts_when_the_time_is_over(db: None) -> None:
    deadline.set_deadline(0.0)
    try:
        with pytest.raises(deadline.TooSlowError), deadline.queries_in_time(), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        deadline.set_deadline(None)


# --- What browsers and programs keep ----------------------------------------------------------------------------------


def test_an_answer_is_private_and_good_for_half_a_minute(cast: Cast) -> None:
    headers = sign_in(cast.reader).get(DASHBOARD).headers
    assert headers["Cache-Control"] == "private, max-age=30, stale-while-revalidate=60"
    assert {"Cookie", "Authorization", "Accept-Encoding"} <= set(headers["Vary"].split(", "))


def test_what_did_not_change_is_304(cast: Cast) -> None:
    browser = sign_in(cast.reader)
    first = browser.get(DASHBOARD)
    again = browser.get(DASHBOARD, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    assert browser.get(DASHBOARD, headers={"If-None-Match": 'W/"other"'}).status_code == 200


def test_people_with_other_rights_have_another_etag(cast: Cast) -> None:
    tags = {sign_in(person).get(DASHBOARD).headers["ETag"] for person in (cast.reader, cast.stranger)}
    assert len(tags) == 2


def test_it_is_compressed_for_who_can_read_that(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portal.toolkit.answers.GZIP_FROM", 10)
    browser = sign_in(cast.reader)
    plain = browser.get(DASHBOARD).json()
    packed = browser.get(DASHBOARD, headers={"Accept-Encoding": "br, gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(packed.content))["servers"] == plain["servers"]


def test_no_other_site_may_read_unless_it_is_allowed(cast: Cast, settings: Any) -> None:
    _, headers = token_of(cast.reader)
    asked = {**headers, "Origin": "https://wall.example.org"}
    assert "Access-Control-Allow-Origin" not in program().get(DASHBOARD, headers=asked).headers
    settings.CORS_ALLOWED_ORIGINS = ["https://wall.example.org"]
    answer = program().get(DASHBOARD, headers=asked)
    assert answer.headers["Access-Control-Allow-Origin"] == "https://wall.example.org"
    assert "Access-Control-Allow-Credentials" not in answer.headers
    preflight = program().options(
        DASHBOARD,
        headers={
            "Origin": "https://wall.example.org",
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "authorization",
        },
    )
    assert "authorization" in preflight.headers["Access-Control-Allow-Headers"]


# --- The description --------------------------------------------------------------------------------------------------


def test_anybody_may_read_the_description(db: None) -> None:
    described = program().get("/api/openapi.json").json()
    assert {"/api/dashboard", "/api/monitoring/servers", "/api/monitoring/performance", "/api/system/redis"} <= set(
        described["paths"]
    )
    assert set(described["components"]["securitySchemes"]) == {"ReadTokenAuth", "SessionAuth"}


def test_the_page_of_the_description_needs_nothing_from_elsewhere(db: None, client: Client) -> None:
    page = client.get("/api/docs")
    assert page.status_code == 200
    assert b"https://" not in page.content.split(b"swagger-settings")[0]
    assert b'"validatorUrl": null' in page.content


# --- The admin --------------------------------------------------------------------------------------------------------


def test_the_admin_shows_a_new_token_once(cast: Cast) -> None:
    browser = sign_in(cast.superuser)
    page = browser.post("/admin/accounts/readtoken/add/", {"name": "wall", "person": cast.reader.pk})
    token = ReadToken.objects.get(name="wall")
    text = next(word for word in page.content.decode().split() if "omr_" in word).split("<code>")[-1].split("<")[0]
    assert "no-store" in page.headers["Cache-Control"]
    assert text.endswith(token.hint)
    assert program().get(DASHBOARD, headers={"Authorization": f"Bearer {text}"}).status_code == 200
    assert text not in browser.get(f"/admin/accounts/readtoken/{token.pk}/change/").content.decode()


def test_staff_makes_tokens_for_themselves_only(cast: Cast, django_user_model: Any, have: Callable[..., None]) -> None:
    from django.contrib.auth.models import Permission

    cast.operator.is_staff = True
    cast.operator.save()
    cast.operator.user_permissions.add(*Permission.objects.filter(content_type__model="readtoken"))
    browser = sign_in(cast.operator)
    browser.post("/admin/accounts/readtoken/add/", {"name": "theirs", "person": cast.superuser.pk})
    browser.post("/admin/accounts/readtoken/add/", {"name": "own", "person": cast.operator.pk})
    assert list(ReadToken.objects.values_list("name", "person")) == [("own", cast.operator.pk)]


def test_the_demo_token_is_made_once_and_stays_off(cast: Cast) -> None:
    tokens.ensure(cast.reader, "demo", "omr_demo")
    ReadToken.objects.update(enabled=False)
    tokens.ensure(cast.reader, "demo", "omr_demo")
    assert ReadToken.objects.get().enabled is False
