"""The portal watching itself: a page for staff."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from portal.accounts.models import User
from portal.toolkit.live.clients import everywhere
from portal.toolkit.live.timing import Quantiles, quantiles
from portal.toolkit.redis import AWAY

MOST_SHOWN = 200


@dataclass(frozen=True, slots=True)
class WebProcess:
    """One process that serves sockets or streams. `named` is its name under `up`, else its host and number."""

    named: str
    is_well: bool
    sockets: int
    streams: int
    limit: int
    delays: Quantiles


@dataclass(frozen=True, slots=True)
class OpenClient:
    """One open socket or stream; `more` topics are not listed."""

    person: str
    transport: str
    address: str
    since: datetime
    topics: list[str]
    more: int
    frames: int
    unsent: int
    process: str


@dataclass(frozen=True, slots=True)
class Live:
    processes: list[WebProcess]
    delays: Quantiles
    clients: list[OpenClient]
    open: int


@never_cache
@require_safe
def system(request: HttpRequest) -> HttpResponse:
    """Who watches live, in all processes, and how long the way from a commit to them takes. One Redis round trip."""
    if not (isinstance(request.user, User) and request.user.is_staff):
        raise PermissionDenied
    try:
        live = _live(everywhere())
    except AWAY:
        live = None
    return render(request, "system/system.html", {"live": live, "now": timezone.now()})


def _live(told: list[dict[str, Any]]) -> Live:
    every = [(client, process) for process in told for client in process["clients"]]
    worst_first = sorted(every, key=lambda one: (-one[0]["unsent"], one[0]["since"]))
    return Live(
        processes=[_process(process) for process in told],
        delays=quantiles([sum(counts) for counts in zip(*(one["delays"] for one in told), strict=True)]),
        clients=[_client(client, process) for client, process in islice(worst_first, MOST_SHOWN)],
        open=sum(process["sockets"] + process["streams"] for process in told),
    )


def _named(process: dict[str, Any]) -> str:
    place = f"{process['host']} {process['pid']}"
    return f"{process['process']} ({place})" if process["process"] else place


def _process(process: dict[str, Any]) -> WebProcess:
    return WebProcess(
        named=_named(process),
        is_well=process["health"] == "ok",
        sockets=process["sockets"],
        streams=process["streams"],
        limit=process["limit"],
        delays=quantiles(process["delays"]),
    )


def _client(client: dict[str, Any], process: dict[str, Any]) -> OpenClient:
    return OpenClient(
        person=client["person"],
        transport=client["transport"],
        address=client["address"],
        since=datetime.fromtimestamp(client["since"], UTC),
        topics=client["topics"],
        more=max(0, client["watched"] - len(client["topics"])),
        frames=client["frames"],
        unsent=client["unsent"],
        process=_named(process),
    )
