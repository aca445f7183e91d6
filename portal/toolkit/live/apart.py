"""The live layer in processes of its own, on another port of the host that the page came from (PORTAL_LIVE_PORT).

A browser sends the page's cookies to that port too, as cookies know no ports, but takes it for another origin: so the
page is told where it is, its policy permits exactly that, and the live processes let exactly that page read.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.http.request import split_domain_port

from portal.toolkit.live.limits import Application, Receive, Scope, Send
from portal.toolkit.live.origin import OWN_PAGE, header, is_own_page, scheme_of

PATHS = frozenset({"/healthz", "/readyz", "/api/monitoring/stream", "/api/monitoring/state"})
"""Beside the socket."""
ASKED_FIRST_S = 600
NOT_HERE = b"Pages are served by the portal's other processes.\n"


def live_url(request: HttpRequest) -> str:
    """scheme://host:port of the live processes for the page of `request`; "" when they are where the page is from.

    Raises DisallowedHost.
    """
    if not settings.LIVE_PORT:
        return ""
    host = split_domain_port(request.get_host())[0]
    return f"{request.scheme}://{host}:{settings.LIVE_PORT}"


def live_only(application: Application) -> Application:
    """Of `application` what is live; the portal's own pages may read it from the port that they are on."""

    async def apart(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
        elif scope["path"] not in PATHS:
            await _answer(send, 404, {"content-type": "text/plain"}, NOT_HERE)
        elif not is_own_page(scope):
            await application(scope, receive, send)
        elif scope["method"] == "OPTIONS":
            await _answer(send, 204, _readable_for(scope) | _permitted())
        else:
            await application(_as_if_from_here(scope), receive, _with(_readable_for(scope), send))

    return apart


def _as_if_from_here(scope: Scope) -> Scope:
    """The page was looked at: to Django's own rule for forms it is of the origin that it asked."""
    host = header(scope["headers"], b"host")
    own = (b"origin", f"{scheme_of(scope)}://{host}".encode("latin1"))
    headers = [own if name == b"origin" else (name, value) for name, value in scope["headers"]]
    return {**scope, OWN_PAGE: True, "headers": headers}


def _readable_for(scope: Scope) -> dict[str, str]:
    return {
        "access-control-allow-origin": header(scope["headers"], b"origin"),
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "ETag, Retry-After",
        "vary": "Origin",
    }


def _permitted() -> dict[str, str]:
    return {
        "access-control-allow-methods": "GET, POST",
        "access-control-allow-headers": "content-type, if-none-match, last-event-id, x-csrftoken",
        "access-control-max-age": str(ASKED_FIRST_S),
    }


def _with(more: dict[str, str], send: Send) -> Send:
    added = _encoded(more)
    replaced = {name for name, _ in added} - {b"vary"}

    async def wrapped(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            kept = [pair for pair in message.get("headers", []) if bytes(pair[0]).lower() not in replaced]
            message = {**message, "headers": [*kept, *added]}
        await send(message)

    return wrapped


async def _answer(send: Send, status: int, headers: dict[str, str], body: bytes = b"") -> None:
    await send({"type": "http.response.start", "status": status, "headers": _encoded(headers)})
    await send({"type": "http.response.body", "body": body})


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin1")) for name, value in headers.items()]
