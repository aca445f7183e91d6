"""Probes for machines, and what is answered when something breaks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooSlow
from functools import cache

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError, OperationalError, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from redis import RedisError

from portal.toolkit import redis

DEADLINE_S = 0.9
_probers = ThreadPoolExecutor(max_workers=4, thread_name_prefix="probe")


@login_not_required
@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """This process answers. No I/O: a database that is away is no reason to restart the web."""
    return HttpResponse("ok", content_type="text/plain")


@login_not_required
@never_cache
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """Whether this process can serve: 200 or 503 within 2 s, as {"status", "process", "checks": {name: word}}.

    `process` is its name under `up`, "" else.

    Redis is reported but does not make the portal unready: pages are rendered from PostgreSQL without it.
    """
    checks = {"postgresql": _within(DEADLINE_S, _postgresql), "redis": _within(DEADLINE_S, _redis)}
    ready = checks["postgresql"] == "ok"
    return JsonResponse(
        {"status": "ready" if ready else "unready", "process": settings.PROCESS, "checks": checks},
        status=200 if ready else 503,
    )


def _within(seconds: float, check: Callable[[], str]) -> str:
    """`check`'s word, or "away" when it takes longer; a driver that hangs holds one of our threads, not the answer."""
    running = _probers.submit(check)
    try:
        return running.result(seconds)
    except TooSlow:
        running.cancel()
        return "away"


def _postgresql() -> str:
    try:
        applied = MigrationRecorder(connection).applied_migrations()
    except DatabaseError:
        return "away"
    finally:
        connection.close()
    return "ok" if _newest_migrations() <= applied.keys() else "migrations missing"


@cache
def _newest_migrations() -> set[tuple[str, str]]:
    """The last migration of each app on disk; that one applied means all before it are."""
    return set(MigrationLoader(None).graph.leaf_nodes())


def _redis() -> str:
    try:
        redis.client().ping()
    except (RedisError, OSError):
        return "away"
    return "ok"


def server_error(request: HttpRequest) -> HttpResponse:
    """An unexpected error; a database that is away is told apart: 503, and come back soon.

    Rendered without the request: the usual context would ask the database who is signed in.
    """
    away = isinstance(sys.exc_info()[1], OperationalError)
    status = 503 if away else 500
    response = HttpResponse(render_to_string("500.html", {"away": away, "status": status}), status=status)
    if away:
        response.headers["Retry-After"] = "5"
    return response


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form that was sent from elsewhere, or from a page older than the sign-in."""
    return render(request, "403_csrf.html", status=403)
