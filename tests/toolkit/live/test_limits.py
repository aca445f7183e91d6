"""Who may open a socket at all: by the page's origin, by how many are open, and by what the settings say."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from websockets.exceptions import InvalidStatus

from portal.checks import check_settings
from portal.toolkit.live.limits import HTTP_ANSWER, Places, seated
from portal.toolkit.live.origin import address_of, is_own_page
from tests.toolkit.live.conftest import Gauge, Portal
from tests.toolkit.live.test_socket import close_code

OWN, OTHER = "https://monitor.example.org", "https://monitor.example.org:8443"


def asked(host: str = "monitor.example.org", scheme: str = "wss", **headers: str | None) -> dict[str, Any]:
    given = {"host": host, **headers}
    encoded = [(name.replace("_", "-").encode(), value.encode()) for name, value in given.items() if value is not None]
    return {"type": "websocket", "scheme": scheme, "headers": encoded, "client": ("10.0.0.7", 5)}


@pytest.fixture(autouse=True)
def hosts(settings: Any) -> Any:
    settings.ALLOWED_HOSTS = ["monitor.example.org", "second.example.org", "127.0.0.1"]
    settings.PORTAL_URL = OWN
    settings.BEHIND_PROXY = False
    settings.LIVE_PORT = 0
    return settings


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [
        (asked(origin=OWN), True),
        (asked(origin=OWN.upper()), True),
        (asked(host="monitor.example.org:8443", origin=OTHER), True),
        (asked(host="second.example.org", origin="https://second.example.org"), True),
        (asked(scheme="ws", origin=OWN), True),  # PORTAL_URL's, behind a proxy that ends TLS
        (asked(origin=None), False),
        (asked(origin="null"), False),
        (asked(origin=""), False),
        (asked(origin="https://evil.example"), False),
        (asked(origin="https://monitor.example.org.evil.example"), False),
        (asked(origin="https://evil.monitor.example.org"), False),
        (asked(origin="https://example.org"), False),
        (asked(origin=OTHER), False),
        (asked(origin="http://monitor.example.org"), False),
        (asked(host="127.0.0.1:8000", scheme="ws", origin="http://127.0.0.1:3000"), False),
        (asked(host="second.example.org", origin="https://monitor.example.org"), True),
        (asked(host="second.example.org", origin="https://second.example.org:1"), False),
        (asked(host="evil.example", origin="https://evil.example"), False),
        (asked(origin="monitor.example.org"), False),
        (asked(origin=f"{OWN}/"), False),
        (asked(origin=f"{OWN} https://evil.example"), False),
    ],
)
def test_a_socket_is_for_pages_of_this_portal(scope: dict[str, Any], allowed: bool) -> None:
    assert is_own_page(scope) is allowed


def test_two_origins_are_none() -> None:
    scope = asked(origin=OWN)
    scope["headers"].append((b"origin", OWN.encode()))
    assert not is_own_page(scope)


def test_behind_a_proxy_its_word_counts_for_scheme_and_address(settings: Any) -> None:
    settings.PORTAL_URL = "http://127.0.0.1:8000"
    scope = asked(scheme="ws", origin=OWN, x_forwarded_proto="https", x_forwarded_for="1.2.3.4, 192.0.2.9")
    assert not is_own_page(scope)
    assert address_of(scope) == "10.0.0.7"
    settings.BEHIND_PROXY = True
    assert is_own_page(scope)
    assert address_of(scope) == "192.0.2.9"


def test_places_are_counted_by_person_and_in_all(settings: Any) -> None:
    settings.LIVE_SOCKETS, settings.LIVE_SOCKETS_PER_PERSON = 3, 2
    places = Places()
    first, second, third = places.take(), places.take(), places.take()
    assert first
    assert second
    assert third
    assert places.take() is None
    assert [first.sit(7), second.sit(7), third.sit(7), third.sit(8)] == [True, True, False, True]
    first.leave()
    first.leave()
    assert (places.taken, places.of(7), places.of(8)) == (2, 1, 1)
    fourth = places.take()
    assert fourth
    assert fourth.sit(7)


async def test_a_server_that_cannot_answer_a_handshake_closes_with_1013(settings: Any) -> None:
    settings.LIVE_SOCKETS = 0
    assert await _messages({}) == ["websocket.accept", "websocket.close"]
    assert await _messages({"extensions": {HTTP_ANSWER: {}}}) == [f"{HTTP_ANSWER}.start", f"{HTTP_ANSWER}.body"]


async def _messages(more: dict[str, Any]) -> list[str]:
    sent: list[str] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message["type"])

    async def application(*_: Any) -> None:
        raise AssertionError("there is no place")

    await seated(application)({"type": "websocket", **more}, receive, send)
    return sent


def test_settings_that_make_no_sense_together_are_named(settings: Any) -> None:
    settings.LIVE_SOCKETS, settings.LIVE_SOCKETS_PER_PERSON = 10, 11
    assert "portal.W005" in {message.id for message in check_settings()}
    settings.LIVE_SOCKETS = 1 << 40
    messages = {message.id: message for message in check_settings()}
    assert "portal.W005" not in messages
    assert "portal.W004" in messages


@pytest.mark.slow
def test_a_real_handshake_is_refused_in_all_these_ways(
    portal: Portal, browser: Client, gauge: Gauge, settings: Any
) -> None:
    for origin in ("https://evil.example", "null", f"http://localhost:{portal.port}", "http://127.0.0.1:1"):
        with pytest.raises(InvalidStatus) as refused, portal.socket(browser, origin=origin):
            pass
        assert refused.value.response.status_code == 403
    settings.LIVE_SOCKETS_PER_PERSON = 1
    with portal.socket(browser, "gauge:1") as first:
        first.frame()
        with portal.socket(browser, "gauge:1") as second:
            assert close_code(second) == 4429
        settings.LIVE_SOCKETS = 1
        with pytest.raises(InvalidStatus) as full, portal.socket(browser, "gauge:1"):
            pass
    assert full.value.response.status_code == 503
    assert int(full.value.response.headers["Retry-After"]) > 0
