"""The live layer over plain HTTP: streams for pages and programs, whole state for pages that ask, a few questions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal, NamedTuple

import orjson
from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils import timezone, translation
from django.utils.cache import get_conditional_response, patch_vary_headers
from django.utils.translation import gettext as _
from ninja import Field, Query, Router, Schema

from monitoring.api.shapes import ERRORS, ErrorOut
from portal.toolkit.api import ApiError
from portal.toolkit.audit import person_of
from portal.toolkit.deadline import queries_in_time
from portal.toolkit.instants import iso
from portal.toolkit.live import polling
from portal.toolkit.live.admission import Credential, admit
from portal.toolkit.live.clients import everywhere
from portal.toolkit.live.door import CONTENT_TYPE, hand_over
from portal.toolkit.live.limits import RETRY_FULL_S, RETRY_PERSON_S, Place, places
from portal.toolkit.live.programs import JSON
from portal.toolkit.live.socket import MOST_WATCHED
from portal.toolkit.live.stream import Ticket
from portal.toolkit.live.timing import quantiles
from portal.toolkit.live.topic import Address, topics
from portal.toolkit.live.watcher import PACES_S
from portal.toolkit.redis import AWAY

router = Router(tags=["Live"])

STREAM = "/api/monitoring/stream"
SERVER = "server"
EVENTS_S = 1.0
"""How often a program may be told something; of what may wait the topics themselves say that."""


class StreamQuery(Schema):
    format: Literal["json", "html"] = Field("json", description="html: the frames of pages")
    servers: str = Field("", max_length=8000, description="Ids with commas between them; none: all that you may see")
    events: str = Field("", max_length=200, description="Names with commas between them; none: all. Heartbeats come")
    topic: list[str] = Field([], description="For format=html: name or name:key, repeated")
    lang: str = Field("", max_length=20, description="For format=html")
    pace: str = Field("high", max_length=10, description="For format=html: high, 5, 15, 30 or 60 (seconds)")


class StateQuery(Schema):
    topic: list[str] = Field([], description="name or name:key, repeated")
    lang: str = Field("", max_length=20)


class AskedIn(Schema):
    type: Literal["ping", "update", "health"]
    servers: list[Annotated[str, Field(max_length=18)]] = Field([], max_length=MOST_WATCHED, description="For update")


STREAMED = {"responses": {200: {"description": "Server-sent events", "content": {CONTENT_TYPE: {}}}}}
ASKED_LATER: dict[Any, Any] = {429: ErrorOut, **ERRORS}


@router.get(
    "/monitoring/stream",
    response={**ASKED_LATER, 404: ErrorOut},
    openapi_extra=STREAMED,
    summary="What changes, as server-sent events",
)
def stream(request: HttpRequest, asked: Query[StreamQuery]) -> HttpResponse:
    """`server_update` (a server's newest values: at once when its state changes, else every 15 s), `system_update`,
    `alert` (an incident as it is now; with `Last-Event-ID` also what was missed), `heartbeat` every 30 s, `end`.

    Whole state first. It ends after ten minutes: come again. 429 and 503 say when.
    """
    user = person_of(request)
    with queries_in_time():
        wish = (_wish_of_page if asked.format == "html" else _wish_of_program)(user, asked)
    return hand_over(request, _ticket(request, user, wish))


class _Wish(NamedTuple):
    """As in a Ticket."""

    language: str
    asked: list[Address]
    admitted: Mapping[Address, Address]
    every: Mapping[str, list[str]]
    pace_s: float


def _wish_of_page(user: AbstractBaseUser, asked: StreamQuery) -> _Wish:
    wanted = _addresses(asked.topic)
    pace_s = PACES_S.get(asked.pace)
    if pace_s is None:
        raise ApiError(400, _("“%(name)s” is one of %(words)s.") % {"name": "pace", "words": ", ".join(PACES_S)})
    return _Wish(_language(asked.lang), wanted, admit(user, wanted), {}, pace_s)


def _wish_of_program(user: AbstractBaseUser, asked: StreamQuery) -> _Wish:
    """Servers that were named are asked for like topics of a page; else all that there are now and later."""
    names = _event_topics(asked.events)
    ids = [word for word in asked.servers.split(",") if word]
    admitted = admit(user, [Address(name) for name in names if name != SERVER])
    every = {}
    if SERVER in names:
        if ids:
            admitted |= _server_addresses(user, ids)
        else:
            every[SERVER] = topics()[SERVER].every_key(user)
    return _Wish(JSON, list(admitted), admitted, every, EVENTS_S)


def _event_topics(events: str) -> list[str]:
    known = {topic.event: name for name, topic in topics().items() if topic.event}
    asked = [word for word in events.split(",") if word] or list(known)
    unknown = [word for word in asked if word not in known]
    if unknown:
        raise ApiError(400, _("“%(name)s” is one of %(words)s.") % {"name": "events", "words": ", ".join(known)})
    return [known[word] for word in dict.fromkeys(asked)]


def _server_addresses(user: AbstractBaseUser, ids: Iterable[str]) -> dict[Address, Address]:
    """Raises ApiError unless `user` may see all of them."""
    wanted = _addresses(f"{SERVER}:{word.strip()}" for word in ids)
    admitted = admit(user, wanted)
    if len(admitted) < len(wanted):
        raise ApiError(404, _("There is no such server."))
    return admitted


def _ticket(request: HttpRequest, user: AbstractBaseUser, wish: _Wish) -> Ticket:
    """Raises ApiError when there is no place."""
    last = request.headers.get("Last-Event-ID", "")[:64]
    return Ticket(user, _credential(request), *wish, place=_place(user), client=_client(request), last_event_id=last)


def _place(user: AbstractBaseUser) -> Place:
    place = places.take()
    if place is None:
        text = _("As many sockets and streams are open as may be. Come back in a moment.")
        raise ApiError(503, text, {"Retry-After": str(RETRY_FULL_S)})
    if not place.sit(user.pk):
        place.leave()
        text = _("You have as many sockets and streams open as one person may.")
        raise ApiError(429, text, {"Retry-After": str(RETRY_PERSON_S)})
    return place


def _credential(request: HttpRequest) -> Credential:
    again: Credential = getattr(request, "person_again", None)
    return again or request.session.session_key


def _client(request: HttpRequest) -> str:
    forwarded = request.headers.get("X-Forwarded-For", "") if settings.BEHIND_PROXY else ""
    return (forwarded.rpartition(",")[2].strip() or request.META.get("REMOTE_ADDR") or "")[:64]


def _addresses(texts: Iterable[str]) -> list[Address]:
    parsed = [Address.parse(text) for text in dict.fromkeys(texts)]
    found = [address for address in parsed if address]
    if len(found) < len(parsed):
        raise ApiError(400, _("A topic is “name” or “name:key”."))
    if len(found) > MOST_WATCHED:
        raise ApiError(400, _("At most %(most)s topics at once.") % {"most": MOST_WATCHED})
    return found


def _language(asked: str) -> str:
    try:
        return translation.get_supported_language_variant(asked)
    except LookupError:
        return translation.get_language() or settings.LANGUAGE_CODE


@router.get(
    "/monitoring/state",
    response=ERRORS,
    openapi_extra={"responses": {200: {"description": "HTML", "content": {"text/html": {}}}, 304: {"description": ""}}},
    summary="What pages show, as it is now",
)
def state(request: HttpRequest, asked: Query[StateQuery]) -> HttpResponseBase:
    """One frame of the live socket with the whole state of the topics, for pages that can only ask.

    The `ETag` changes with what is shown, not with its stamps.
    """
    with queries_in_time():
        shown = polling.whole_state(person_of(request), _addresses(asked.topic), _language(asked.lang))
    response = HttpResponse(f"{shown}\n{polling.beat()}", content_type="text/html; charset=utf-8")
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers["ETag"] = tag = polling.tag_of(shown)
    patch_vary_headers(response, ("Authorization", "Cookie", "Accept-Encoding", "Accept-Language"))
    return get_conditional_response(request, etag=tag, response=response) or response


@router.post(
    "/monitoring/stream",
    response={200: dict[str, Any], **ERRORS, 404: ErrorOut},
    summary="Ask something now",
    url_name="stream",
)
def ask(request: HttpRequest, asked: AskedIn) -> HttpResponse:
    """`ping` is answered with `pong`; `update` with the `server_update` of each of `servers`; `health` with how the
    live layer does."""
    answer = {"ping": _pong, "update": _updates, "health": _health}[asked.type](request, asked)
    response = HttpResponse(orjson.dumps(answer), content_type="application/json")
    response.headers["Cache-Control"] = "private, no-cache"
    return response


def _pong(request: HttpRequest, asked: AskedIn) -> dict[str, Any]:
    return {"type": "pong", "at": iso(timezone.now())}


def _updates(request: HttpRequest, asked: AskedIn) -> dict[str, Any]:
    if not asked.servers:
        raise ApiError(400, _("“%(name)s” is missing.") % {"name": "servers"})
    with queries_in_time():
        addresses = _server_addresses(person_of(request), asked.servers)
        updates = topics()[SERVER].data([address.key for address in addresses.values()])
    return {"type": "update", "at": iso(timezone.now()), "servers": list(updates.values())}


def _health(request: HttpRequest, asked: AskedIn) -> dict[str, Any]:
    """Of all processes together; the counts are those that they told some seconds ago."""
    try:
        told = everywhere()
    except AWAY:
        return {"type": "health", "at": iso(timezone.now()), "status": "degraded", "redis": False}
    delays = quantiles([sum(counts) for counts in zip(*(one["delays"] for one in told), strict=True)])
    return {
        "type": "health",
        "at": iso(timezone.now()),
        "status": "ok" if all(one["health"] == "ok" for one in told) else "degraded",
        "redis": True,
        "processes": len(told),
        "sockets": sum(one["sockets"] for one in told),
        "streams": sum(one["streams"] for one in told),
        "commitToSend": asdict(delays),
    }
