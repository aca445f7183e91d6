"""Where a stream leaves Django: Django decides who gets one and with which headers, and is then done with it.

An asynchronous view would keep a thread and, until its end, a connection to the database for every open stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse

from portal.toolkit.live.events import event
from portal.toolkit.live.limits import TRY_AGAIN_LATER, Application, Receive, Scope, Send
from portal.toolkit.live.origin import header, is_own_page
from portal.toolkit.live.stream import LiveStream, Ticket

CONTENT_TYPE = "text/event-stream"
_SLOT = "live.slot"


@dataclass(slots=True)
class _Slot:
    ticket: Ticket | None = None
    headers: list[tuple[bytes, bytes]] | None = None


def hand_over(request: HttpRequest, ticket: Ticket) -> HttpResponse:
    """The answer of a view that lets a stream in: its headers go out, and the door streams what the ticket says.

    Where there is no door, as for HEAD, the stream ends at once, and is asked for again later.
    """
    slot: _Slot | None = getattr(request, "scope", {}).get(_SLOT)
    if slot is None:
        ticket.place.leave()
        body = event("end", f'{{"code": {TRY_AGAIN_LATER}, "reason": "no streams here"}}', "0.0")
    else:
        slot.ticket = ticket
        body = ""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return HttpResponse(body, content_type=CONTENT_TYPE, headers=headers)


class StreamDoor:
    """Wraps Django's application. What a page of another origin asks for at `path` comes without its cookies: only a
    token can say who that is."""

    def __init__(self, application: Application, path: str) -> None:
        self._application = application
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != self._path or scope["method"] != "GET":
            await self._application(scope, receive, send)
            return
        slot = _Slot()
        try:
            await self._application({**_of_own_page(scope), _SLOT: slot}, receive, _held(slot, send))
            if slot.ticket is not None and slot.headers is not None:
                await LiveStream(slot.ticket, receive, send).run(slot.headers)
        finally:
            if slot.ticket is not None:
                slot.ticket.place.leave()


def _held(slot: _Slot, send: Send) -> Send:
    """Keeps back the answer that hands over a stream; others go out as they are."""

    async def held(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start" and slot.ticket is not None and message["status"] == 200:
            slot.headers = [pair for pair in message["headers"] if pair[0].lower() != b"content-length"]
        if slot.headers is None:
            await send(message)

    return held


def _of_own_page(scope: Scope) -> Scope:
    headers = scope["headers"]
    if not header(headers, b"origin") or is_own_page(scope):
        return scope
    return {**scope, "headers": [pair for pair in headers if pair[0] != b"cookie"]}
