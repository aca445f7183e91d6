from __future__ import annotations

import time
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from portal.toolkit import redis
from tests.cast import person


@pytest.mark.django_db
def test_the_process_says_it_is_alive_without_asking_anyone(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client.force_login(person("jane"))
    with django_assert_num_queries(0):
        answer = client.get("/healthz")
    assert (answer.status_code, answer.content) == (200, b"ok")
    assert "no-store" in answer["Cache-Control"]


@pytest.mark.django_db(transaction=True)
def test_it_is_ready_when_postgresql_answers_and_is_migrated(client: Client) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ready", "process": "", "checks": {"postgresql": "ok", "redis": "ok"}}


@pytest.mark.django_db(transaction=True)
def test_it_is_not_ready_while_a_migration_is_missing(client: Client) -> None:
    last = MigrationRecorder.Migration.objects.filter(app="accounts").latest("id")
    last.delete()
    try:
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["checks"]["postgresql"] == "migrations missing"
    finally:
        last.save(force_insert=True)


@pytest.mark.django_db(transaction=True)
def test_without_redis_it_is_ready_and_says_so(client: Client, settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    redis.client.cache_clear()
    try:
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["checks"]["redis"]) == (200, "away")
    finally:
        redis.client.cache_clear()


@pytest.fixture
def postgresql_away(db: None) -> Any:
    """New connections go to a port where nobody listens, through Django's own pool."""
    settings_dict = connection.settings_dict
    before = dict(settings_dict)
    connection.close()
    connection.close_pool()
    settings_dict.update(HOST="127.0.0.1", PORT="1", OPTIONS={**before["OPTIONS"], "pool": {"timeout": 1.5}})
    yield
    connection.close_pool()
    settings_dict.clear()
    settings_dict.update(before)


@pytest.mark.django_db(transaction=True)
def test_without_postgresql_it_is_unready_within_two_seconds_and_alive(client: Client, postgresql_away: None) -> None:
    started = time.monotonic()
    answer = client.get("/readyz")
    assert time.monotonic() - started < 2
    assert (answer.status_code, answer.json()["checks"]["postgresql"]) == (503, "away")
    assert client.get("/healthz").status_code == 200
    started = time.monotonic()
    page = Client(raise_request_exception=False).get(
        "/accounts/preferences/", headers={"Cookie": "sessionid=" + "x" * 32}
    )
    assert (page.status_code, page.headers.get("Retry-After")) == (503, "5"), page.content
    assert time.monotonic() - started < 3, "it waits for the pool (1.5 s here) once, not again to log or to render"


def test_probes_answer_to_nothing_but_get(client: Client) -> None:
    for probe in ("/healthz", "/readyz"):
        assert client.post(probe).status_code == 405
