"""Live processes on a port of their own: whom they let read, and what a page is told and permitted."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from portal.toolkit.live.apart import live_only
from portal.toolkit.live.origin import is_own_page
from tests.asgi import Answered, ask
from tests.cast import person

PAGE = "http://127.0.0.1:8000"
LIVE = "127.0.0.1:8002"
STATE = "/api/monitoring/state"


@pytest.fixture(autouse=True)
def with_a_port_of_its_own(settings: Any) -> None:
    settings.PORTAL_URL, settings.LIVE_PORT = PAGE, 8002
    settings.ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]", "monitor.example.org"]


def scope(host: str, *origins: str, scheme: str = "ws") -> dict[str, Any]:
    headers = [(b"host", host.encode()), *((b"origin", origin.encode()) for origin in origins)]
    return {"type": "websocket", "scheme": scheme, "headers": headers}


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        (LIVE, PAGE),
        ("localhost:8002", "http://localhost:8000"),  # by whatever name the page was opened
        ("[::1]:8002", "http://[::1]:8000"),
        ("LOCALHOST:8002", "http://Localhost:8000"),
        ("127.0.0.1:8000", PAGE),  # the web processes do it too
        ("localhost:8000", "http://localhost:8000"),
    ],
)
def test_the_page_itself_is_let_in(host: str, origin: str) -> None:
    assert is_own_page(scope(host, origin))


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        (LIVE, "http://127.0.0.1:8002"),  # no page is there
        (LIVE, "http://127.0.0.1:9999"),
        (LIVE, "http://127.0.0.1"),
        (LIVE, "https://127.0.0.1:8000"),
        (LIVE, "http://localhost:8000"),  # another name, another session
        (LIVE, "http://evil.example:8000"),
        ("evil.example:8002", "http://evil.example:8000"),
        (LIVE, "null"),
        (LIVE, ""),
        ("127.0.0.1:8001", "http://127.0.0.1:8002"),
    ],
)
def test_every_other_page_is_not(host: str, origin: str) -> None:
    assert not is_own_page(scope(host, origin))


def test_a_handshake_without_an_origin_or_with_two_is_no_page() -> None:
    assert not is_own_page(scope(LIVE))
    assert not is_own_page(scope(LIVE, PAGE, PAGE))


def test_over_tls_the_page_is_on_the_port_that_people_type(settings: Any) -> None:
    settings.PORTAL_URL, settings.LIVE_PORT = "https://monitor.example.org", 8443
    assert is_own_page(scope("monitor.example.org:8443", "https://monitor.example.org", scheme="wss"))
    assert not is_own_page(scope("monitor.example.org:8443", "http://monitor.example.org", scheme="wss"))


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the origin that it sees, and whether that is one of our own pages."""
    origin = dict(scope["headers"]).get(b"origin", b"")
    headers = [(b"access-control-allow-origin", b"*"), (b"vary", b"Cookie")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": origin + (b" own" if is_own_page(scope) else b"")})


def asked(method: str, path: str, **headers: str) -> Answered:
    return ask(live_only(echo), method, path, headers={"Host": LIVE, **headers})


def test_the_page_may_read_with_its_session() -> None:
    answer = asked("GET", STATE, Origin=PAGE)
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.body == f"http://{LIVE} own".encode(), "to the rule for forms it is of the same origin"


def test_another_page_is_answered_as_without_a_port_of_its_own() -> None:
    answer = asked("GET", STATE, Origin="https://evil.example")
    assert "access-control-allow-credentials" not in answer.headers
    assert answer.body == b"https://evil.example"


def test_a_browser_that_asks_first_is_told_what_a_page_may_send() -> None:
    answer = asked("OPTIONS", STATE, Origin=PAGE)
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "if-none-match" in answer.headers["access-control-allow-headers"]


def test_pages_are_not_there() -> None:
    assert asked("GET", "/accounts/login/").status == 404
    assert asked("GET", "/readyz").status == 200


@pytest.mark.django_db
def test_a_page_is_told_where_it_is_and_may_connect_there_and_nowhere_else(client: Client) -> None:
    client.force_login(person("jane"))
    page = client.get("/", headers={"host": "localhost:8000"})
    assert 'data-live-url="http://localhost:8002"' in page.content.decode()
    policy = {part.split()[0]: part.split()[1:] for part in page["Content-Security-Policy"].split("; ")}
    assert policy["connect-src"] == ["'self'", "http://localhost:8002", "ws://localhost:8002"]
    assert policy["default-src"] == ["'self'"]


@pytest.mark.django_db
def test_without_such_a_port_a_page_may_connect_to_the_portal_alone(client: Client, settings: Any) -> None:
    settings.LIVE_PORT = 0
    client.force_login(person("jane"))
    page = client.get("/")
    assert "data-live-url" not in page.content.decode()
    assert "connect-src" not in page["Content-Security-Policy"]


@pytest.mark.django_db
def test_a_host_that_is_not_ours_stays_a_bad_request() -> None:
    assert Client(raise_request_exception=False).get("/", headers={"host": "evil.example"}).status_code == 400
