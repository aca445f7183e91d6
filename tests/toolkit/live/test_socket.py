"""The socket as a browser meets it: the whole portal behind a real server."""

from __future__ import annotations

import json
import re
import time
from contextlib import ExitStack
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.db import OperationalError
from django.test import Client
from websockets.exceptions import ConnectionClosed, InvalidStatus

from portal.accounts.models import User
from portal.toolkit.live import recheck
from portal.toolkit.live.control import close_session, recheck_user
from portal.toolkit.live.limits import Receive, Scope, Send
from portal.toolkit.live.socket import later_when_database_is_away
from portal.toolkit.live.touch import touch
from tests.toolkit.live.conftest import Gauge, LiveClient, Portal

pytestmark = pytest.mark.slow


def close_code(socket: LiveClient, within_s: float = 5) -> int:
    """The code with which the server closed; whatever came before is skipped."""
    with pytest.raises(ConnectionClosed) as closed:  # noqa: PT012
        while True:
            socket.text(within_s)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


def test_the_first_frame_is_the_whole_state_of_what_is_watched(portal: Portal, browser: Client, gauge: Gauge) -> None:
    gauge.values = {"1": "one", "2": "two"}
    with portal.socket(browser, "gauge:1", "gauge:2") as socket:
        frame = socket.frame()
    assert ">one<" in frame
    assert ">two<" in frame
    assert 'id="live-beat"' in frame


def test_a_touch_reaches_the_browser(portal: Portal, browser: Client, gauge: Gauge) -> None:
    with portal.socket(browser, "gauge:1") as socket:
        socket.frame()
        gauge.values["1"] = "new"
        touch({"gauge": ["1"]})
        assert ">new<" in socket.frame()


def test_watching_more_and_less_later(portal: Portal, browser: Client, gauge: Gauge) -> None:
    with portal.socket(browser, "gauge:1") as socket:
        socket.frame()
        socket.say(watch=["gauge:2"], unwatch=["gauge:1"])
        assert 'id="gauge-2"' in socket.frame()
        gauge.values = {"1": "x", "2": "y"}
        touch({"gauge": None})
        frame = socket.frame()
        assert ">y<" in frame
        assert ">x<" not in frame


def test_who_is_not_signed_in_is_told_so_with_4401(portal: Portal, gauge: Gauge) -> None:
    with portal.socket(Client(), "gauge:1") as socket:
        assert close_code(socket) == 4401


def test_an_inactive_person_is_signed_out(portal: Portal, browser: Client, reader: User, gauge: Gauge) -> None:
    User.objects.filter(pk=reader.pk).update(is_active=False)
    with portal.socket(browser, "gauge:1") as socket:
        assert close_code(socket) == 4401


def test_signing_out_closes_every_socket_of_the_session(portal: Portal, browser: Client, gauge: Gauge) -> None:
    with portal.socket(browser, "gauge:1") as one, portal.socket(browser, "gauge:1") as two:
        one.frame(), two.frame()
        portal.hears()
        browser.post("/accounts/logout/")
        assert close_code(one, 2) == 4401
        assert close_code(two, 2) == 4401


def test_signing_out_elsewhere_leaves_this_session_alone(
    portal: Portal, browser: Client, reader: User, gauge: Gauge
) -> None:
    elsewhere = Client()
    elsewhere.force_login(reader, backend="allauth.account.auth_backends.AuthenticationBackend")
    with portal.socket(browser, "gauge:1") as socket:
        socket.frame()
        portal.hears()
        close_session(elsewhere.session.session_key or "")
        socket.say(ping=1)
        assert socket.answer() == {"pong": 1}


def test_a_deactivated_person_loses_the_socket_at_once_when_told(
    portal: Portal, browser: Client, reader: User, gauge: Gauge
) -> None:
    with portal.socket(browser, "gauge:1") as socket:
        socket.frame()
        portal.hears()
        User.objects.filter(pk=reader.pk).update(is_active=False)
        recheck_user(reader.pk)
        assert close_code(socket, 2) == 4401


def test_a_session_that_ended_untold_closes_the_socket_at_the_next_look(
    portal: Portal, browser: Client, gauge: Gauge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recheck, "EVERY_S", (0.3, 0.5))
    with portal.socket(browser, "gauge:1") as socket:
        socket.frame()
        Session.objects.all().delete()
        assert close_code(socket, 2) == 4401


def test_a_demotion_stops_what_may_not_be_watched_any_more_and_a_promotion_brings_it_back(
    portal: Portal, browser: Client, reader: User, gauge: Gauge
) -> None:
    with portal.socket(browser, "gauge:1") as socket:
        socket.frame()
        portal.hears()
        gauge.strangers = {reader.pk}
        recheck_user(reader.pk)
        assert socket.answer() == {"refused": ["gauge:1"]}
        gauge.values["1"] = "not for you"
        touch({"gauge": None})
        with pytest.raises(TimeoutError):
            socket.frame(1.5)
        gauge.strangers = set()
        recheck_user(reader.pk)
        assert ">not for you<" in socket.frame()


def test_every_open_socket_is_looked_at_within_a_minute() -> None:
    assert max(recheck.EVERY_S) + recheck.ROUND_S < 60


def test_a_topic_that_may_not_be_watched_or_is_unknown_is_refused_and_the_rest_works(
    portal: Portal, browser: Client, gauge: Gauge
) -> None:
    with portal.socket(browser, "gauge:secret-1", "nonsense:7", "gauge:1") as socket:
        assert socket.answer() == {"refused": ["gauge:secret-1", "nonsense:7"]}
        frame = socket.frame()
    assert 'id="gauge-1"' in frame
    assert "secret" not in frame


RUBBISH = [
    *("", "{", "null", "7", "[]", "{}", "[" * 30_000),
    *('{"drop": 1}', '{"watch": "gauge:1"}', '{"watch": [1]}', '{"watch": [":"]}', '{"unwatch": {"a": 1}}'),
    *('{"pace": 2}', '{"pace": []}'),
]


def test_rubbish_is_answered_with_an_error_and_the_socket_lives(portal: Portal, browser: Client, gauge: Gauge) -> None:
    with portal.socket(browser, "gauge:1") as socket:
        for rubbish in RUBBISH:
            socket.socket.send(rubbish)
            assert "error" in socket.answer(), rubbish
        socket.say(ping=3)
        assert socket.answer() == {"pong": 3}


def test_a_binary_message_is_answered_with_an_error(portal: Portal, browser: Client, gauge: Gauge) -> None:
    with portal.socket(browser) as socket:
        socket.socket.send(b"\x00\xff")
        assert "error" in socket.answer()


def test_too_big_a_message_closes_with_1009(portal: Portal, browser: Client, gauge: Gauge) -> None:
    with portal.socket(browser) as socket:
        socket.socket.send(json.dumps({"watch": ["gauge:1" * 20_000]}))
        assert close_code(socket) == 1009


def test_a_socket_watches_at_most_500_topics(portal: Portal, browser: Client, gauge: Gauge) -> None:
    with portal.socket(browser) as socket:
        socket.say(watch=[f"gauge:{number}" for number in range(500)])
        came: set[str] = set()
        while len(came) < 500:  # whole state in more than one frame, and the beat may come first
            came.update(re.findall(r'id="(gauge-\d+)"', socket.frame()))
        socket.say(watch=["gauge:0", "gauge:499"])
        socket.say(watch=["gauge:500"])
        assert "500" in socket.answer()["error"]


def test_a_page_of_another_site_is_refused(portal: Portal, browser: Client) -> None:
    for origin in ("https://evil.example", "null", "http://127.0.0.1.evil.example"):
        with pytest.raises(InvalidStatus) as refused, portal.socket(browser, origin=origin):
            pass
        assert refused.value.response.status_code == 403


def test_the_page_says_in_which_language_it_is(portal: Portal, browser: Client, gauge: Gauge) -> None:
    with portal.socket(browser, "gauge:1", query="lang=ko") as socket:
        socket.frame()
    assert gauge.rendered == [(["1"], "ko")]


def test_without_a_language_the_browsers_own_is_taken(portal: Portal, browser: Client, gauge: Gauge) -> None:
    with portal.socket(browser, "gauge:1", query="lang=tlh", **{"Accept-Language": "fr, ko;q=0.8"}) as socket:
        socket.frame()
    assert gauge.rendered == [(["1"], "ko")]


def test_sockets_that_never_read_hold_nobody_else(portal: Portal, browser: Client, gauge: Gauge) -> None:
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(portal.deaf_socket(browser, "gauge:big", "gauge:1"))
        alive = stack.enter_context(portal.socket(browser, "gauge:1"))
        alive.frame()
        for number in range(1, 6):
            gauge.values |= {"big": f"{number}" * 5_000_000, "1": f"n{number}"}
            started = time.monotonic()
            touch({"gauge": None})
            while f">n{number}<" not in alive.frame():
                pass
            assert time.monotonic() - started < 1.8


async def test_without_a_database_a_browser_is_asked_to_come_back_soon() -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        raise OperationalError("the database is away")

    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await later_when_database_is_away(application)({"type": "websocket"}, receive, send)
    assert sent == [{"type": "websocket.accept"}, {"type": "websocket.close", "code": 1013}]
