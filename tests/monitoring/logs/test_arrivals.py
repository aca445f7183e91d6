"""That lines arrived is told to whoever watches their servers, with Redis and without."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis
from django.db import transaction
from django.db.utils import OperationalError
from redis.backoff import NoBackoff
from redis.retry import Retry

from monitoring.logs import arrivals, record
from monitoring.logs.arrivals import arrived
from monitoring.logs.line import Line
from monitoring.models import LogBlock, Server
from tests.monitoring.logs.conftest import kept

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis")]
Make = Callable[..., Line]


@pytest.fixture
def redis_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client of a port where nobody listens."""
    away = redis.Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 1))
    monkeypatch.setattr(arrivals, "client", lambda: away)


@pytest.fixture
def other(server: Server) -> Server:
    return Server.objects.create(name="other", group=server.group)


def test_the_word_changes_for_those_who_watch_the_server(line: Make, server: Server, other: Server) -> None:
    asked = [None, [server.pk], [other.pk], [server.pk, other.pk]]
    before = [arrived(servers) for servers in asked]
    record.record([line()], origin="test")
    after = [arrived(servers) for servers in asked]
    assert [was == now for was, now in zip(before, after, strict=True)] == [False, False, True, False]


def test_the_word_stays_while_nothing_comes(line: Make, server: Server) -> None:
    record.record([line()], origin="test")
    assert arrived([server.pk]) == arrived([server.pk]) == arrived(iter([server.pk]))


def test_whoever_sees_no_server_is_told_nothing() -> None:
    assert arrived([]) == ""


@pytest.mark.usefixtures("redis_away")
def test_without_redis_lines_are_kept_and_told_by_postgresql(line: Make, server: Server) -> None:
    before = arrived([server.pk])
    assert record.record([line()], origin="test").kept == 1
    assert arrived([server.pk]) != before


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("committed_logs")
def test_nothing_is_kept_and_nothing_told_without_a_commit(
    line: Make, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*said: object) -> None:
        raise OperationalError("the disk is full")

    monkeypatch.setattr(record, "_row", fails)
    before = arrived([server.pk])
    with pytest.raises(OperationalError):
        record.record([line()], origin="test")
    monkeypatch.undo()
    assert (arrived([server.pk]), LogBlock.objects.count()) == (before, 0)
    record.record([line()], origin="test")
    assert len(kept()) == 1


@pytest.mark.django_db(transaction=True)
def test_it_makes_no_promise_inside_a_transaction(line: Make) -> None:
    with transaction.atomic(), pytest.raises(RuntimeError):
        record.record([line()], origin="test")
