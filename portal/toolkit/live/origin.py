"""Which pages may open a socket: those of this portal. A browser sends its cookies along whoever asks it to."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import split_domain_port, validate_host

from portal.toolkit.live.limits import Application, Receive, Scope, Send


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
    PORTAL_HOSTS; or PORTAL_URL's. Another port of the same host gets the same cookies, and is another site."""
    origin = _only(scope["headers"], b"origin").lower()
    host = _only(scope["headers"], b"host").lower()
    if not origin or not validate_host(split_domain_port(host)[0], settings.ALLOWED_HOSTS):
        return False
    return origin in {f"{_scheme(scope)}://{host}", portal_origin()}


def portal_origin() -> str:
    place = urlsplit(settings.PORTAL_URL)
    return f"{place.scheme}://{place.netloc}".lower()


def _scheme(scope: Scope) -> str:
    forwarded = settings.BEHIND_PROXY and _only(scope["headers"], b"x-forwarded-proto") == "https"
    return "https" if forwarded or scope.get("scheme") in {"https", "wss"} else "http"


def _only(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str:
    """A header that came once; "" else."""
    found = [value for key, value in headers if key == name]
    return found[0].decode("latin1") if len(found) == 1 else ""
