"""Server-sent events as pages and programs meet them: the whole portal behind a real server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.utils import timezone

from alerts.models import Incident, What
from alerts.timeline import note, write
from monitoring.models import Membership, Server
from portal.accounts import tokens
from portal.accounts.models import ReadToken, User
from portal.toolkit.live import hub as hub_module
from portal.toolkit.live import recheck
from portal.toolkit.live import stream as stream_module
from portal.toolkit.live.control import recheck_user
from portal.toolkit.live.hub import Hub
from portal.toolkit.live.limits import places
from portal.toolkit.live.touch import touch
from tests.alerts.makers import critical_incident
from tests.cast import Cast, make_cast, sign_in
from tests.toolkit.live.conftest import Gauge, Portal
from tests.toolkit.live.sse import open_stream

pytestmark = pytest.mark.slow

PAGE = "format=html&topic=gauge:1"


@pytest.fixture
def gauge(gauge: Gauge, monkeypatch: pytest.MonkeyPatch) -> Gauge:
    """For programs too: the value at once, the stamp when there is time."""
    monkeypatch.setattr(Gauge, "event", "gauge_update")
    monkeypatch.setattr(Gauge, "prompt", ("value",))
    monkeypatch.setattr(Gauge, "data", data_of)
    return gauge


def data_of(gauge: Gauge, keys: Sequence[str]) -> dict[str, Any]:
    gauge.rendered.append((list(keys), "json"))
    return {key: {"id": key, "value": gauge.values.get(key, 0), "at": gauge.at_ms} for key in keys}


@pytest.fixture
def token(reader: User) -> Iterator[tuple[ReadToken, dict[str, str]]]:
    row = ReadToken(person=reader, name="script")
    text = tokens.give_text(row)
    row.save()
    yield row, {"Authorization": f"Bearer {text}"}
    tokens._known.clear()


def the_hub() -> Hub:
    return next(hub for loop, hub in list(hub_module._hubs.items()) if not loop.is_closed())


def until(holds: Any, within_s: float = 5) -> None:
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < within_s, f"not within {within_s} s"
        time.sleep(0.01)


# --- For pages --------------------------------------------------------------------------------------------------------


def test_a_stream_has_the_whole_state_first_and_then_what_changes(
    portal: Portal, browser: Client, gauge: Gauge
) -> None:
    gauge.values = {"1": "one"}
    with open_stream(portal.port, browser, PAGE) as stream:
        first = stream.next()
        assert first.name == "frame"
        assert ">one<" in first.data
        assert 'id="live-beat"' in first.data
        assert first.id.startswith(the_hub().epoch)
        gauge.values = {"1": "new"}
        touch({"gauge": ["1"]})
        assert ">new<" in stream.next("frame").data


def test_the_answer_is_as_strict_as_others_and_not_packed(portal: Portal, browser: Client, gauge: Gauge) -> None:
    with open_stream(portal.port, browser, PAGE, Accept_Encoding="gzip") as stream:
        assert stream.status == 200
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        assert stream.headers["Cache-Control"] == "no-store"
        assert stream.headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in stream.headers["Content-Security-Policy"]
        assert "camera=()" in stream.headers["Permissions-Policy"]
        assert stream.headers["Content-Encoding"] is None
        assert stream.next().name == "frame"


def test_what_may_not_be_watched_is_named_and_the_rest_works(portal: Portal, browser: Client, gauge: Gauge) -> None:
    with open_stream(portal.port, browser, f"{PAGE}&topic=gauge:secret-1&topic=nonsense:7&lang=ko") as stream:
        assert stream.next("refused").json() == {"topics": ["gauge:secret-1", "nonsense:7"]}
        assert "secret" not in stream.next("frame").data
    assert gauge.rendered == [(["1"], "ko")]


def test_a_carriage_return_in_a_value_breaks_no_event(portal: Portal, browser: Client, gauge: Gauge) -> None:
    gauge.values = {"1": "a\r\nevent: end\rb"}
    with open_stream(portal.port, browser, PAGE) as stream:
        assert ">a\nevent: end\nb<" in stream.next().data


# --- Who may ----------------------------------------------------------------------------------------------------------


def test_who_asks_wrongly_is_told_so_and_keeps_nothing_open(portal: Portal, browser: Client, gauge: Gauge) -> None:
    for who, method, query, status in (
        (None, "GET", PAGE, 401),
        (browser, "PUT", PAGE, 405),
        (browser, "DELETE", PAGE, 405),
        (browser, "GET", "format=html&topic=:", 400),
        (browser, "GET", "format=html&pace=2", 400),
        (browser, "GET", "format=xml", 400),
        (browser, "GET", "events=nonsense", 400),
        (browser, "GET", "servers=1", 404),
    ):
        with open_stream(portal.port, who, query, method) as stream:
            assert stream.status == status
            assert set(stream.body()) >= {"error", "message", "timestamp"}
            assert set((stream.headers["Allow"] or "GET, POST").split(", ")) == {"GET", "POST"}
    with open_stream(portal.port, browser, PAGE, "HEAD") as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
    assert places.taken == 0


def test_signing_out_ends_the_stream(portal: Portal, browser: Client, gauge: Gauge) -> None:
    with open_stream(portal.port, browser, PAGE) as stream:
        stream.next("frame")
        portal.hears()
        browser.post("/accounts/logout/")
        assert stream.next("end", within_s=3).json()["code"] == 4401


def test_a_session_that_ended_untold_ends_the_stream_at_the_next_look(
    portal: Portal, browser: Client, gauge: Gauge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recheck, "EVERY_S", (0.3, 0.5))
    with open_stream(portal.port, browser, PAGE) as stream:
        stream.next("frame")
        Session.objects.all().delete()
        assert stream.next("end", within_s=3).json()["code"] == 4401


def test_a_demotion_stops_what_may_not_be_watched_any_more(
    portal: Portal, browser: Client, reader: User, gauge: Gauge
) -> None:
    with open_stream(portal.port, browser, f"{PAGE}&topic=gauge:2") as stream:
        stream.next("frame")
        portal.hears()
        gauge.strangers = {reader.pk}
        recheck_user(reader.pk)
        assert stream.next("refused").json() == {"topics": ["gauge:1", "gauge:2"]}
        assert all(not watcher.watched for watcher in the_hub().watchers)


def test_a_program_reads_with_a_token(portal: Portal, gauge: Gauge, token: tuple[ReadToken, dict[str, str]]) -> None:
    gauge.values = {"": "seven"}
    with open_stream(portal.port, None, "events=gauge_update", **token[1]) as stream:
        assert stream.next("gauge_update").json() == {"id": "", "value": "seven", "at": 1}
        assert stream.next("heartbeat").json()["health"] in {"ok", "degraded"}


def test_a_token_that_was_switched_off_ends_its_streams_at_the_next_look(
    portal: Portal, gauge: Gauge, token: tuple[ReadToken, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recheck, "EVERY_S", (0.3, 0.5))
    with open_stream(portal.port, None, "events=gauge_update", **token[1]) as stream:
        stream.next("gauge_update")
        ReadToken.objects.filter(pk=token[0].pk).update(enabled=False)  # no signal here, as in another process
        assert stream.next("end", within_s=3).json()["code"] == 4401


def test_a_page_of_another_origin_comes_without_its_cookies(portal: Portal, browser: Client, gauge: Gauge) -> None:
    with open_stream(portal.port, browser, PAGE, Origin=f"http://127.0.0.1:{portal.port}") as stream:
        assert stream.next("frame")
    for origin in ("https://evil.example", "null", f"http://localhost:{portal.port}", "http://127.0.0.1:1"):
        with open_stream(portal.port, browser, PAGE, Origin=origin) as stream:
            assert stream.status == 401
            assert stream.headers["Access-Control-Allow-Origin"] is None


def test_an_allowed_origin_reads_with_a_token_and_never_with_cookies(
    portal: Portal, browser: Client, gauge: Gauge, token: tuple[ReadToken, dict[str, str]], settings: Any
) -> None:
    settings.CORS_ALLOWED_ORIGINS = ["https://status.example.org"]
    with open_stream(portal.port, browser, PAGE, Origin="https://status.example.org") as stream:
        assert stream.status == 401
    with open_stream(portal.port, None, PAGE, Origin="https://status.example.org", **token[1]) as stream:
        assert stream.headers["Access-Control-Allow-Origin"] == "https://status.example.org"
        assert stream.headers["Access-Control-Allow-Credentials"] is None
        assert stream.next("frame")


# --- How long, how many, and at what cost -----------------------------------------------------------------------------


def test_a_stream_ends_in_order_when_it_is_old(
    portal: Portal, browser: Client, gauge: Gauge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "LIFETIME_S", 0.3)
    with open_stream(portal.port, browser, PAGE) as stream:
        events = list(stream.events())
    assert events[-1].name == "end"
    assert events[-1].json()["code"] == 1000


def test_a_server_that_stops_ends_its_streams_first(portal: Portal, browser: Client, gauge: Gauge) -> None:
    with open_stream(portal.port, browser, PAGE) as stream:
        stream.next("frame")
        portal.ask_to_stop()
        assert stream.next("end", within_s=2.5).json()["code"] == 1013


def test_who_goes_leaves_nothing_behind(portal: Portal, browser: Client, gauge: Gauge) -> None:
    with open_stream(portal.port, browser, PAGE) as stream:
        stream.next("frame")
        hub = the_hub()
        assert len(hub.watchers) == places.taken == len(hub.clients._open) == 1
    until(lambda: not (hub.watchers or places.taken or hub.clients._open or hub.rechecker._sockets))


def test_an_open_stream_holds_no_thread_and_no_connection(portal: Portal, browser: Client, gauge: Gauge) -> None:
    def connections() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
            return int(cursor.fetchone()[0])

    with open_stream(portal.port, browser, PAGE) as stream:
        stream.next("frame")
    before = threading.active_count(), connections()
    with ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(open_stream(portal.port, browser, PAGE)).next("frame")
        until(lambda: connections() <= before[1] + 1)
        assert threading.active_count() <= before[0] + 2
        assert len(the_hub().watchers) >= 8


def test_a_person_has_so_many_sockets_and_streams_and_no_more(
    portal: Portal, browser: Client, gauge: Gauge, settings: Any
) -> None:
    settings.LIVE_SOCKETS_PER_PERSON = 1
    with open_stream(portal.port, browser, PAGE) as stream:
        stream.next("frame")
        with open_stream(portal.port, browser, PAGE) as refused:
            assert refused.status == 429
            assert int(refused.headers["Retry-After"]) >= 60
            assert refused.body()["error"] == "too_many_requests"
    until(lambda: places.taken == 0)
    with open_stream(portal.port, browser, PAGE) as stream:
        assert stream.next("frame")


def test_a_full_process_says_when_to_come_again(portal: Portal, browser: Client, gauge: Gauge, settings: Any) -> None:
    settings.LIVE_SOCKETS = 1
    with open_stream(portal.port, browser, PAGE) as stream:
        stream.next("frame")
        with open_stream(portal.port, browser, PAGE) as refused:
            assert refused.status == 503
            assert int(refused.headers["Retry-After"]) > 0
        assert places.taken == 1


def test_who_does_not_read_is_given_up(
    portal: Portal, browser: Client, gauge: Gauge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "STUCK_S", 0.5)
    monkeypatch.setattr(hub_module, "SLOW_S", 0.3)
    with open_stream(portal.port, browser, "format=html&topic=gauge:big") as stream:
        stream.next("frame")
        for number in range(1, 4):
            gauge.values["big"] = f"{number}" * 10_000_000
            touch({"gauge": None})
            time.sleep(1.0)  # the pace: frames must be there to be stuck
        until(lambda: not the_hub().watchers, within_s=8)


def test_a_program_is_told_at_once_of_what_matters_and_of_the_rest_later(
    portal: Portal, browser: Client, gauge: Gauge
) -> None:
    with open_stream(portal.port, browser, "events=gauge_update") as stream:
        stream.next("gauge_update")
        looks = len(gauge.rendered)
        gauge.at_ms = 2
        touch({"gauge": None})
        until(lambda: len(gauge.rendered) > looks)
        gauge.at_ms, gauge.values = 3, {"": "new"}
        touch({"gauge": None})
        assert stream.next("gauge_update").json() == {"id": "", "value": "new", "at": 3}


@pytest.mark.usefixtures("transactional_db")
def test_a_program_that_names_nothing_hears_of_all_that_it_may_see(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recheck, "EVERY_S", (0.3, 0.5))
    cast = make_cast()
    Server.objects.create(name="not-yours", group=cast.elsewhere)
    incident = an_incident(cast)
    with open_stream(portal.port, sign_in(cast.reader)) as stream:
        first = [stream.next("server_update", "system_update", "alert") for _ in range(3)]
        told = {event.name: event.json() for event in first}
        assert told["server_update"]["name"] == "shop-web-1"
        assert told["system_update"]["servers"] == 1
        assert told["alert"]["id"] == str(incident.pk)
        Server.objects.create(name="shop-web-2", group=cast.group)
        assert stream.next("server_update").json()["name"] == "shop-web-2"
        Membership.objects.filter(user=cast.reader).delete()
        until(lambda: {fragment.address.key for watcher in the_hub().watchers for fragment in watcher.watched} == {""})
    missed = next(event.id for event in first if event.name == "alert")
    Incident.objects.update(status="resolved", resolved_at=timezone.now() - timedelta(hours=1))
    write([note(incident, What.RESOLVED, timezone.now())])
    with open_stream(portal.port, sign_in(cast.owner), "events=alert", **{"Last-Event-ID": missed}) as stream:
        event = stream.next()
        assert (event.name, event.json()["state"], event.json()["id"]) == ("alert", "resolved", str(incident.pk))


def an_incident(cast: Cast) -> Incident:
    now = timezone.now()
    incident = critical_incident(cast.server, now, fired_at=now)
    write([note(incident, What.FIRED, now, level="critical")])
    return incident
