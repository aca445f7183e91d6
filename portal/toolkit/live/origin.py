"""Which pages may open a socket: those of this portal. A browser sends its cookies along whoever asks it to."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import split_domain_port, validate_host

from portal.toolkit.live.limits import Application, Receive, Scope, Send

DEFAULT_PORTS = {"http": "80", "https": "443"}
OWN_PAGE = "live.own_page"
"""In a scope: somebody has looked already, and what its headers say now is not what the browser said."""


def own_pages_only(application: Application) -> Application:
    """Wrap the sockets: what a page of another origin asks for is answered with 403."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if is_own_page(scope):
            await application(scope, receive, send)
            return
        await receive()
        await send({"type": "websocket.close"})  # before it was accepted: the server answers 403

    return guarded


def is_own_page(scope: Scope) -> bool:
    """By the rule for forms: the origin is the very one that was asked, scheme and port included, under one of
    PORTAL_HOSTS; or PORTAL_URL's. Another port of the same host gets the same cookies, and is another site: only from
    PORTAL_LIVE_PORT, where there are no pages, to the one that the pages are on it is the same."""
    if scope.get(OWN_PAGE):
        return True
    origin = header(scope["headers"], b"origin").lower()
    host = header(scope["headers"], b"host").lower()
    if not origin or not validate_host(split_domain_port(host)[0], settings.ALLOWED_HOSTS):
        return False
    scheme = scheme_of(scope)
    return origin in {f"{scheme}://{_host_of_pages(host, scheme)}", portal_origin()}


def _host_of_pages(host: str, scheme: str) -> str:
    """Where the pages are when `host` was asked: there, unless its port is that of the live processes."""
    name, port = split_domain_port(host)
    if not settings.LIVE_PORT or (port or DEFAULT_PORTS[scheme]) != str(settings.LIVE_PORT):
        return host
    page_port = urlsplit(settings.PORTAL_URL).port
    return f"{name}:{page_port}" if page_port else name


def portal_origin() -> str:
    place = urlsplit(settings.PORTAL_URL)
    return f"{place.scheme}://{place.netloc}".lower()


def scheme_of(scope: Scope) -> str:
    forwarded = settings.BEHIND_PROXY and header(scope["headers"], b"x-forwarded-proto") == "https"
    return "https" if forwarded or scope.get("scheme") in {"https", "wss"} else "http"


def header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str:
    """A header that came once; "" else."""
    found = [value for key, value in headers if key == name]
    return found[0].decode("latin1") if len(found) == 1 else ""


def address_of(scope: Scope) -> str:
    """The address of the other side; behind a proxy what that saw."""
    forwarded = header(scope["headers"], b"x-forwarded-for") if settings.BEHIND_PROXY else ""
    client = scope.get("client")
    return (forwarded.rpartition(",")[2].strip() or (str(client[0]) if client else ""))[:64]
