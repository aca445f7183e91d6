"""How Redis does, as this process sees it: the speed of the portal, never its memory."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import orjson
import redis as redis_errors
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from ninja import Field, Router, Schema

from monitoring.api.shapes import ErrorOut
from portal.accounts.models import User
from portal.toolkit.api import error
from portal.toolkit.cache.counts import statistics
from portal.toolkit.instants import iso
from portal.toolkit.redis import AWAY, breaker, client

router = Router(tags=["The portal itself"])

TARGET_MS = 10.0
Status = Literal["connected", "disconnected", "reconnecting", "error"]


class HitRateOut(Schema):
    cache: float | None = Field(description="Of the portal's cache, 0 to 1: answers that nothing had to be read for")
    keyspace: float | None = Field(description="Of all reads of keys in Redis, 0 to 1")


class MemoryOut(Schema):
    used: float = Field(description="MB")
    limit: float | None = Field(description="MB; null: none")


class RedisOut(Schema):
    status: Status
    response_time: float = Field(alias="responseTime", description="ms, of a PING")
    target: float = Field(description="ms")
    rating: Literal["optimal", "degraded"] = Field(description="Whether the target is kept")
    timestamp: datetime
    version: str | None = Field(None, description="Staff only, like what follows")
    uptime: int | None = Field(None, description="s")
    last_error: str | None = Field(None, alias="lastError", description="null: none since this process began")
    last_error_at: datetime | None = Field(None, alias="lastErrorAt")
    hit_rate: HitRateOut | None = Field(None, alias="hitRate")
    memory: MemoryOut | None = None
    clients: int | None = None
    times_opened: int | None = Field(
        None, alias="timesOpened", description="How often this process stopped asking for a while"
    )


class RedisAwayOut(ErrorOut):
    status: Status
    last_error: str | None = Field(None, alias="lastError", description="Staff only")


@dataclass(slots=True)
class _Seen:
    """Whether this process ever had an answer: the first connection is made, later ones are made again."""

    connected: bool = False


_seen = _Seen()


@router.get(
    "/system/redis",
    response={200: RedisOut, 401: ErrorOut, 503: RedisAwayOut},
    by_alias=True,
    summary="Redis: whether it answers, and how fast",
)
def redis_status(request: HttpRequest) -> HttpResponse:
    """Everyone who is signed in sees whether it answers and how fast; staff sees the rest."""
    is_staff = isinstance(request.user, User) and request.user.is_staff
    try:
        with breaker:
            took_ms = _ping()
            facts = _details(client().info()) if is_staff else {}
    except AWAY as failure:
        more: dict[str, str] = {"status": _status_of(failure)}
        if is_staff:
            more["lastError"] = breaker.statistics().last_error or str(failure)
        message = _("Redis does not answer. Pages are made from PostgreSQL meanwhile, and are slower.")
        return error(503, message, more=more)
    _seen.connected = True
    body = {
        "status": "connected",
        "responseTime": round(took_ms, 3),
        "target": TARGET_MS,
        "rating": "optimal" if took_ms < TARGET_MS else "degraded",
        "timestamp": iso(timezone.now()),
        **facts,
    }
    return HttpResponse(orjson.dumps(body), content_type="application/json", headers={"Cache-Control": "no-cache"})


def _ping() -> float:
    """How long an answer takes, in ms. A connection that is not there yet is made before."""
    client().ping()
    began = time.perf_counter()
    client().ping()
    return 1000 * (time.perf_counter() - began)


def _status_of(failure: Exception) -> Status:
    """No connection, for the first time or again; or one on which Redis says no or nothing."""
    away = (redis_errors.ConnectionError, OSError)
    refused = (redis_errors.AuthenticationError, redis_errors.BusyLoadingError)
    if not isinstance(failure, away) or isinstance(failure, refused):
        return "error"
    return "reconnecting" if _seen.connected else "disconnected"


def _details(info: Any) -> dict[str, Any]:
    hits, misses = info["keyspace_hits"], info["keyspace_misses"]
    failures = breaker.statistics()
    last_at = failures.last_error_at
    limit = info.get("maxmemory", 0)
    return {
        "version": info["redis_version"],
        "uptime": info["uptime_in_seconds"],
        "lastError": failures.last_error or None,
        "lastErrorAt": iso(datetime.fromtimestamp(last_at, UTC)) if last_at else None,
        "hitRate": {"cache": statistics().cached_share, "keyspace": hits / (hits + misses) if hits + misses else None},
        "memory": {"used": _megabytes(info["used_memory"]), "limit": _megabytes(limit) if limit else None},
        "clients": info["connected_clients"],
        "timesOpened": failures.times_opened,
    }


def _megabytes(size: int) -> float:
    return round(size / 1_000_000, 3)
