"""Polling and questions to the live layer: what is asked for equals what is pushed and what a page shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, transaction
from django.test import Client
from django.utils import timezone, translation

from alerts.models import Incident, What
from alerts.timeline import announce, note, write
from alerts.topics import AlertsTopic
from monitoring.history.frame import Frame
from monitoring.history.record import record
from monitoring.models import Server, ServerState
from monitoring.states import Change, set_states
from portal.toolkit import redis as toolkit_redis
from portal.toolkit.live import clients, timing
from portal.toolkit.live.polling import tag_of
from portal.toolkit.live.programs import lines_of
from portal.toolkit.live.topic import topics
from portal.toolkit.live.touch import TOUCHED
from tests.alerts.makers import critical_incident
from tests.cast import Cast, sign_in
from tests.doors import TOPICS
from tests.portal.api.conftest import program, token_of

STATE, STREAM = "/api/monitoring/state", "/api/monitoring/stream"
PAGES = {
    "server": "/",
    "fleet": "/",
    "vitals": "/servers/{server}/",
    "samples": "/servers/{server}/",
    "alerts": "/",
    "incidents": "/alerts/",
    "incident": "/alerts/{incident}/",
    "logs": "/logs/",
}


@pytest.fixture
def ids(cast: Cast, now: int, have: Callable[..., None]) -> dict[str, str]:
    """A critical server with an open incident."""
    have(cast.server, now - 1_000, cpu=97.0, memory=40.0)
    began_at = timezone.now() - timedelta(minutes=1)
    set_states({cast.server.pk: Change(ServerState.CRITICAL, "CPU is high.")}, began_at)
    incident = critical_incident(cast.server, began_at, fired_at=began_at)
    write([note(incident, What.FIRED, began_at, level="critical")])
    return {"server": str(cast.server.pk), "incident": str(incident.pk), "group": str(cast.group.pk)}


def address_of(topic: str, ids: dict[str, str]) -> str:
    key = TOPICS[topic][0].format(**ids)
    return f"{topic}:{key}" if key else topic


def without_beat(html: str) -> str:
    return re.sub(r'\n<div id="live-beat".*?</div>', "", html)


@pytest.fixture
def no_redis(ids: dict[str, str], settings: Any) -> Iterator[None]:
    """Away after there was something to be known."""
    toolkit_redis.client.cache_clear()
    settings.REDIS_URL = "redis://127.0.0.1:1"
    yield
    toolkit_redis.client.cache_clear()


# --- The same everywhere ----------------------------------------------------------------------------------------------


def test_every_topic_has_a_page_here() -> None:
    assert set(PAGES) == set(topics())


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("name", PAGES)
def test_what_is_pushed_is_what_is_polled_and_what_a_page_shows(
    cast: Cast, ids: dict[str, str], name: str, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    instant = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: instant)  # lines move on with the time
    browser, topic = sign_in(cast.reader), topics()[name]
    key = topic.admit(cast.reader, TOPICS[name][0].format(**ids))
    assert key is not None
    with translation.override(language):
        pushed = topic.render([key], language)[key]
    polled = browser.get(STATE, {"topic": address_of(name, ids), "lang": language}).content.decode()
    page = browser.get(PAGES[name].format(**ids), headers={"Accept-Language": language}).content.decode()
    assert without_beat(polled) == pushed
    assert pushed.strip() in page


@pytest.fixture
def published() -> Iterator[Callable[[], list[Any]]]:
    subscription = toolkit_redis.client().pubsub(ignore_subscribe_messages=True)
    subscription.subscribe(TOUCHED)
    subscription.get_message(timeout=2)

    def heard() -> list[Any]:
        toolkit_redis.client().publish(TOUCHED, "end")
        found = []
        while (message := subscription.get_message(timeout=2)) is None or message["data"] != b"end":
            found += [message["data"]] if message else []
        return found

    yield heard
    subscription.close()


@pytest.mark.usefixtures("transactional_db")
def test_nothing_is_pushed_on_rollback_and_after_the_commit_it_is(
    cast: Cast, ids: dict[str, str], published: Callable[[], list[Any]]
) -> None:
    now = timezone.now()

    def change() -> None:
        set_states({cast.server.pk: Change(ServerState.OFFLINE, "No data.")}, now)
        announce([int(ids["incident"])])

    published()
    with transaction.atomic():
        change()
        transaction.set_rollback(True)
    assert published() == []
    with transaction.atomic():
        change()
        assert published() == []
    told = b"".join(published())
    assert all(
        f'"{name}"'.encode() in told for name in ("server", "vitals", "fleet", "alerts", "incidents", "incident")
    )


@pytest.mark.usefixtures("transactional_db")
def test_samples_are_told_of_only_when_they_are_kept(
    cast: Cast, now: int, published: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitoring.history.record._commit_once", _refuses)
    with pytest.raises(OperationalError):
        record([Frame.of(cast.server.pk, now, {"cpu": 1.0})], origin="test")
    assert published() == []


def _refuses(*_: object) -> int:
    raise OperationalError("the disk is full")


# --- Polling ----------------------------------------------------------------------------------------------------------


def test_all_topics_in_one_answer_with_a_beat_and_what_is_refused(cast: Cast, ids: dict[str, str]) -> None:
    wanted = [*(address_of(name, ids) for name in PAGES), "server:999999", "nonsense"]
    answer = sign_in(cast.reader).get(STATE, {"topic": wanted})
    html = answer.content.decode()
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert '<template data-refused="server:999999 nonsense"></template>' in html
    assert re.search(r'<div id="live-beat" hidden data-epoch="\w+" data-at="\d{13}"', html)
    for element in ("fleet-totals", f"server-{ids['server']}", f"vitals-{ids['server']}", "incidents-cursor", "alerts"):
        assert f'id="{element}"' in html


def test_a_stranger_gets_nothing_of_others(cast: Cast, ids: dict[str, str]) -> None:
    html = sign_in(cast.stranger).get(STATE, {"topic": [address_of(name, ids) for name in PAGES]}).content.decode()
    assert "shop-web-1" not in html
    assert f"server:{ids['server']}" in re.findall(r'data-refused="([^"]*)"', html)[0].split()


def test_unchanged_is_304_with_nothing_in_it(cast: Cast, ids: dict[str, str]) -> None:
    browser, asked = sign_in(cast.reader), {"topic": "vitals:" + ids["server"]}
    tag = browser.get(STATE, asked).headers["ETag"]
    answer = browser.get(STATE, asked, headers={"If-None-Match": tag})
    assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", tag)
    set_states({cast.server.pk: Change(ServerState.WARNING, "Less so.")}, timezone.now())
    assert browser.get(STATE, asked, headers={"If-None-Match": tag}).status_code == 200


def test_the_tag_is_that_of_what_is_shown_without_its_stamps() -> None:
    assert tag_of('<b data-at="1">x</b>') == tag_of('<b data-at="2">x</b>') != tag_of('<b data-at="1">y</b>')


@pytest.mark.usefixtures("no_redis")
def test_without_redis_postgresql_is_read_and_the_beat_says_so(cast: Cast, ids: dict[str, str]) -> None:
    browser = sign_in(cast.reader)
    for _ in range(3):
        html = browser.get(STATE, {"topic": ["server:" + ids["server"], "fleet"]}).content.decode()
    assert "97" in html
    assert 'data-health="degraded"' in html


@pytest.mark.parametrize("asked", [[":"], ["server:" + "1" * 300], [f"server:{n}" for n in range(501)]])
def test_topics_that_are_none_or_too_many_are_said_to_be(cast: Cast, asked: list[str]) -> None:
    answer = sign_in(cast.reader).get(STATE, {"topic": asked})
    assert (answer.status_code, answer.json()["error"]) == (400, "bad_request")


def test_many_topics_cost_as_many_queries_as_one(cast: Cast, django_assert_max_num_queries: Any) -> None:
    keys = [Server.objects.create(name=f"node-{number}", group=cast.group).pk for number in range(30)]
    browser = sign_in(cast.reader)
    browser.get(STATE, {"topic": [f"server:{key}" for key in keys]})
    with django_assert_max_num_queries(7):
        assert browser.get(STATE, {"topic": [f"server:{key}" for key in keys]}).content.count(b"<article") == 30


# --- Questions --------------------------------------------------------------------------------------------------------


def ask(client: Client, said: object, headers: dict[str, str] | None = None) -> Any:
    return client.post(STREAM, said, content_type="application/json", headers=headers or {})


def test_a_ping_is_answered_with_pong(cast: Cast) -> None:
    assert ask(sign_in(cast.reader), {"type": "ping"}).json().keys() == {"type", "at"}


def test_a_program_asks_for_updates_of_servers_that_it_may_see(cast: Cast, ids: dict[str, str]) -> None:
    _, headers = token_of(cast.reader)
    answer = ask(program(), {"type": "update", "servers": [ids["server"]]}, headers).json()
    assert answer["servers"][0]["status"] == "critical"
    assert answer["servers"][0]["cpu"] == 97.0
    assert ask(sign_in(cast.stranger), {"type": "update", "servers": [ids["server"]]}).status_code == 404


@pytest.mark.parametrize("said", [{}, {"type": "x"}, {"type": "update"}, {"type": "update", "servers": "1"}, [], "x"])
def test_what_cannot_be_understood_is_400(cast: Cast, said: object) -> None:
    answer = ask(sign_in(cast.reader), said)
    assert (answer.status_code, answer.json()["error"]) == (400, "bad_request")


def test_a_session_needs_its_csrf_token_and_a_program_none(cast: Cast) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(cast.reader)
    assert ask(browser, {"type": "ping"}).status_code == 403
    _, headers = token_of(cast.reader)
    assert ask(Client(enforce_csrf_checks=True), {"type": "ping"}, headers).status_code == 200


def test_the_health_is_that_of_all_processes(cast: Cast) -> None:
    counts = [0] * (len(timing.BOUNDS_S) + 1)
    counts[2] = 10
    for process, health in (("a:1:x", "ok"), ("b:2:y", "degraded")):
        _told(process, health=health, sockets=3, streams=1, delays=counts)
    _told("c:3:z", health="ok", sockets=9, streams=9, delays=counts, at=0)
    answer = ask(sign_in(cast.reader), {"type": "health"}).json()
    assert (answer["status"], answer["processes"], answer["sockets"], answer["streams"]) == ("degraded", 2, 6, 2)
    assert answer["commitToSend"]["frames"] == 20
    assert 10 < answer["commitToSend"]["p50_ms"] <= 20


def _told(process: str, **facts: Any) -> None:
    import orjson

    told = {"at": timezone.now().timestamp(), "host": process, "pid": 1, "clients": [], **facts}
    toolkit_redis.client().hset(clients.KEY, process, orjson.dumps(told))


@pytest.mark.usefixtures("no_redis")
def test_without_redis_the_health_says_so(cast: Cast) -> None:
    answer = ask(sign_in(cast.reader), {"type": "health"}).json()
    assert (answer["status"], answer["redis"]) == ("degraded", False)


# --- What programs hear -----------------------------------------------------------------------------------------------


def test_the_events_of_the_topics(cast: Cast, ids: dict[str, str]) -> None:
    names = {"server": ids["server"], "fleet": ids["group"], "alerts": ids["group"]}
    text = {name: lines_of(topics()[name], [key])[key][0] for name, key in names.items()}
    assert text["server"].startswith('server_update {"id":"')
    assert '"status":"critical","simulated":false,"cpu":97.0,"memory":40.0,"disk":null' in text["server"]
    assert text["fleet"].startswith('system_update {"health":"critical","servers":1,"measuring":1,"states":{')
    head, one = text["alerts"].split("\n")
    assert head == f"*alert alerts:{ids['group']}"
    assert '"state":"firing","level":"critical"' in one


def test_a_server_that_is_gone_has_no_data(cast: Cast) -> None:
    assert lines_of(topics()["server"], ["999999"]) == {}


def test_all_servers_are_those_that_one_may_see(cast: Cast) -> None:
    assert topics()["server"].every_key(cast.reader) == [str(cast.server.pk)]
    assert topics()["server"].every_key(cast.stranger) == []
    assert topics()["alerts"].every_key(cast.reader) == [str(cast.group.pk)]


def test_what_was_missed_is_what_turned_since_or_is_named_and_of_ones_own_audience(
    cast: Cast, ids: dict[str, str]
) -> None:
    alerts = topics()["alerts"]
    assert isinstance(alerts, AlertsTopic)
    newest = alerts.data(["*"])["*"][0]["entry"]  # type: ignore[index]
    Incident.objects.update(status="resolved", resolved_at=timezone.now() - timedelta(hours=1))
    assert alerts.data(["*"])["*"] == []
    assert [one["id"] for one in alerts.missed("*", 0, [ids["incident"]])] == [ids["incident"]]
    assert alerts.missed("*", 0, []) == []
    assert [one["state"] for one in alerts.missed(ids["group"], newest - 1, [])] == ["resolved"]
    assert alerts.missed(str(cast.elsewhere.pk), newest - 1, [ids["incident"]]) == []
