"""Every server in one answer, from one round trip, and from memory for who may see the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import redis as redis_py
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from monitoring import hot
from monitoring.models import Membership, Server, ServerState
from portal.toolkit import redis
from portal.toolkit.cache import cache
from tests.cast import Cast, sign_in

PATH = "/api/dashboard"


@contextmanager
def redis_round_trips(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The commands that went to Redis; those of a pipeline are one."""
    sent: list[str] = []
    whole, one = redis_py.client.Pipeline.execute, redis_py.Redis.execute_command

    def execute(self: redis_py.client.Pipeline, raise_on_error: bool = True) -> object:
        sent.append("pipeline")
        return whole(self, raise_on_error)

    def execute_command(self: redis_py.Redis, *args: object, **options: object) -> object:
        sent.append(str(args[0]))
        return one(self, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(redis_py.client.Pipeline, "execute", execute)
        patched.setattr(redis_py.Redis, "execute_command", execute_command)
        yield sent


@pytest.fixture
def redis_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client of a port where nobody listens."""
    away = redis_py.Redis(host="127.0.0.1", port=1, socket_connect_timeout=1)
    for module in ("monitoring.hot", "portal.toolkit.cache.shared", "portal.toolkit.cache.counts"):
        monkeypatch.setattr(f"{module}.client", lambda: away)


def test_it_has_the_shape_that_programs_rely_on(cast: Cast, now: int, have: Callable[..., None]) -> None:
    have(cast.server, now, cpu=12.5, memory=40.25, disk=71.0, net_rx=100.1, net_tx=20.2)
    Server.objects.filter(pk=cast.server.pk).update(state=ServerState.WARNING)
    answer = sign_in(cast.reader).get(PATH).json()
    at = answer["servers"][0].pop("lastUpdated")
    assert at.endswith("Z")
    assert answer["servers"] == [
        {
            "id": str(cast.server.pk),
            "name": "shop-web-1",
            "status": "warning",
            "simulated": False,
            "metrics": {"cpu": 12.5, "memory": 40.25, "disk": 71.0, "network": 120.3},
        }
    ]
    assert (answer["total"], answer["cached"], set(answer)) == (
        1,
        False,
        {"servers", "total", "timestamp", "cached"},
    )


def test_what_is_not_known_is_null(cast: Cast, now: int, have: Callable[..., None]) -> None:
    have(cast.server, now, net_tx=5.0)
    Server.objects.create(name="silent", group=cast.group)
    by_name = {server["name"]: server for server in sign_in(cast.reader).get(PATH).json()["servers"]}
    assert by_name["shop-web-1"]["metrics"] == {"cpu": None, "memory": None, "disk": None, "network": 5.0}
    assert by_name["silent"]["metrics"]["network"] is None
    assert by_name["silent"]["lastUpdated"] is None


def test_the_newest_of_several_senders_counts(cast: Cast, now: int, have: Callable[..., None]) -> None:
    have(cast.server, now, cpu=2.0, memory=1.0)
    have(cast.server, now - 60_000, cpu=1.0, disk=3.0, net_rx=4.0)
    metrics = sign_in(cast.reader).get(PATH).json()["servers"][0]["metrics"]
    assert metrics == {"cpu": 2.0, "memory": 1.0, "disk": 3.0, "network": 4.0}


def test_without_servers_it_says_so(cast: Cast) -> None:
    answer = sign_in(cast.stranger).get(PATH).json()
    assert (answer["servers"], answer["total"]) == ([], 0)
    assert answer["message"] == "There is no server yet, or none that you may see."


@pytest.mark.parametrize(
    ("who", "names"),
    [
        ("stranger", ["alien"]),
        ("reader", ["shop-web-1"]),
        ("operator", ["shop-web-1"]),
        ("owner", ["shop-web-1"]),
        ("superuser", ["alien", "shop-web-1"]),
    ],
)
def test_everyone_sees_their_groups_servers(cast: Cast, who: str, names: list[str]) -> None:
    Server.objects.create(name="alien", group=cast.elsewhere)
    for _ in range(2):  # the second time from memory
        answer = sign_in(cast.by_name()[who]).get(PATH).json()
        assert sorted(server["name"] for server in answer["servers"]) == names


def test_memory_never_tells_one_audience_what_another_may_see(cast: Cast) -> None:
    assert sign_in(cast.superuser).get(PATH).json()["total"] == 1
    assert sign_in(cast.stranger).get(PATH).json()["total"] == 0
    assert sign_in(cast.reader).get(PATH).json()["total"] == 1


def test_who_loses_their_rights_sees_nothing_at_once(cast: Cast) -> None:
    browser = sign_in(cast.reader)
    assert browser.get(PATH).json()["total"] == 1
    Membership.objects.filter(user=cast.reader).delete()
    assert browser.get(PATH).json()["total"] == 0


def test_the_second_of_an_audience_is_given_what_the_first_was(cast: Cast) -> None:
    first = sign_in(cast.reader).get(PATH).json()
    second = sign_in(cast.owner).get(PATH)
    assert second.json() == {**first, "cached": True}
    assert int(second.headers["Age"]) >= 0


@pytest.mark.parametrize("count", [1, 40])
def test_it_takes_one_round_trip_and_few_queries_however_many_servers(
    cast: Cast, now: int, have: Callable[..., None], monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    for number in range(count):
        have(Server.objects.create(name=f"web-{number}", group=cast.group), now, cpu=1.0)
    browser = sign_in(cast.reader)
    browser.get(PATH)  # learns which value is which
    cache.clear()
    with redis_round_trips(monkeypatch) as sent, CaptureQueriesContext(connection) as queries:
        assert browser.get(PATH).json()["total"] == count + 1
    assert sent == ["HMGET"]
    read = [query["sql"] for query in queries if "SAVEPOINT" not in query["sql"]]
    assert len(read) == 4, read  # session, person, groups, servers


def test_from_memory_it_takes_no_round_trip(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = sign_in(cast.reader)
    browser.get(PATH)
    with redis_round_trips(monkeypatch) as sent:
        assert browser.get(PATH).json()["cached"] is True
    assert sent == []


@pytest.mark.parametrize(
    "ask", [{"path": PATH + "?refresh=1"}, {"path": PATH, "headers": {"Cache-Control": "no-cache"}}]
)
def test_a_new_answer_can_be_had_but_not_more_than_once_a_second(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, ask: dict[str, object]
) -> None:
    browser = sign_in(cast.reader)
    browser.get(PATH)
    assert browser.get(**ask).json()["cached"] is True  # type: ignore[arg-type]
    earlier = cache._clock
    monkeypatch.setattr(cache, "_clock", lambda: earlier() + 1.1)
    assert browser.get(**ask).json()["cached"] is False  # type: ignore[arg-type]


@pytest.mark.usefixtures("redis_away")
def test_without_redis_it_comes_from_postgresql(cast: Cast, now: int, have: Callable[..., None]) -> None:
    have(cast.server, now, cpu=12.5)
    assert redis.breaker.statistics().failures
    answer = sign_in(cast.reader).get(PATH).json()
    assert answer["servers"][0]["metrics"]["cpu"] == 12.5


def test_when_reading_fails_the_last_good_answer_is_given_with_its_age(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = sign_in(cast.reader)
    browser.get(PATH)
    monkeypatch.setattr(hot, "cut_blobs", _too_slow)
    earlier = cache._clock
    monkeypatch.setattr(cache, "_clock", lambda: earlier() + 100)
    answer = browser.get(PATH)
    assert (answer.status_code, answer.json()["cached"], answer.json()["total"]) == (200, True, 1)
    assert "Age" in answer.headers
    assert sign_in(cast.stranger).get(PATH).status_code == 503


def _too_slow(_ids: object) -> None:
    raise OperationalError("canceling statement due to statement timeout")
