"""How one server did over a while: samples as they are, or their means over steps."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Literal

import numpy as np
import orjson
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone
from django.utils.translation import gettext as _
from ninja import Field, Query, Router

from monitoring.access import audience_of
from monitoring.api.asked import Instant, ServerId, one_server
from monitoring.api.dashboard import stamps
from monitoring.api.shapes import ERRORS, ErrorOut, PerformanceOut, RefreshQuery
from monitoring.history.codec import Ints
from monitoring.history.frame import Floats, SeriesName
from monitoring.history.read import read, read_buckets
from monitoring.history.rollup import TIERS
from portal.toolkit import deadline
from portal.toolkit.answers import answer, wants_new
from portal.toolkit.api import ApiError
from portal.toolkit.cache import Kind, cache
from portal.toolkit.instants import from_ms, iso

router = Router(tags=["History"])

NEWEST = Kind("performance", fresh_s=15, stale_s=30, kept_s=600)
RANGE = Kind("performance_range", fresh_s=60, stale_s=120, kept_s=600, shared=False)
"""Of a range that somebody chose: hardly ever asked for twice, so it is not put into everybody's Redis."""
USUAL = timedelta(hours=1)
MOST_MOMENTS = 2_000
EXACT_UP_TO_MS = 2 * 3_600_000
STEPS_S = (60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 86_400, 604_800, 2_592_000)
FIRST_MS = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp() * 1000)
METRICS = {"cpu": ("cpu",), "memory": ("memory",), "disk": ("disk",), "network": ("net_rx", "net_tx")}


class PerformanceQuery(RefreshQuery):
    server_id: ServerId
    start: Instant | None = Field(
        None, alias="from", description="ISO 8601, UTC without a zone; else an hour before `to`"
    )
    end: Instant | None = Field(None, alias="to", description="ISO 8601, UTC without a zone; else now")
    metric: Literal["", "cpu", "memory", "disk", "network"] = Field("", description="Only this one; empty: all")


@router.get(
    "/monitoring/performance",
    response={200: PerformanceOut, **ERRORS, 404: ErrorOut},
    by_alias=True,
    summary="One server over a while",
)
def performance(request: HttpRequest, asked: Query[PerformanceQuery]) -> HttpResponseBase:
    """At most 2,000 entries: the samples as they are where so few are there, else means over equal steps."""
    server = one_server(request.user, asked.server_id)
    span = _span(asked.start, asked.end)
    metrics = [asked.metric] if asked.metric else list(METRICS)
    chosen = asked.start is not None or asked.end is not None
    kind, wanted = (RANGE, span) if chosen else (NEWEST, None)
    key = f"{audience_of(request.user)} {server.pk} {asked.metric} {wanted}"
    make = partial(_read, server.pk, metrics, wanted)
    return answer(request, kind, cache.get(kind, key, make, refresh=asked.refresh or wants_new(request)))


def _span(start: datetime | None, end: datetime | None) -> tuple[int, int]:
    """Epoch ms; what is not given is the last hour. Raises ApiError."""
    now = timezone.now()
    end = end or now
    start = start or end - USUAL
    if start >= end:
        raise ApiError(400, _("“from” must be before “to”."))
    latest_ms = int((now + timedelta(days=1)).timestamp() * 1000)
    first, last = (min(max(int(at.timestamp() * 1000), FIRST_MS), latest_ms) for at in (start, end))
    return first, last


def _read(server_id: int, metrics: Sequence[str], span: tuple[int, int] | None) -> bytes:
    """Of the last hour when there is no `span`. At most nine queries."""
    start_ms, end_ms = span or _span(None, None)
    names = [SeriesName(name) for metric in metrics for name in METRICS[metric]]
    with deadline.queries_in_time():
        step_s, at_ms, values = _moments(server_id, names, start_ms, end_ms)
    deadline.check()
    return orjson.dumps(
        {
            "serverId": str(server_id),
            "from": iso(from_ms(start_ms)),
            "to": iso(from_ms(end_ms)),
            "step": step_s,
            "metrics": _entries(metrics, stamps(at_ms), values.tolist()),
        }
    )


def _moments(server_id: int, names: Sequence[SeriesName], start_ms: int, end_ms: int) -> tuple[int, Ints, Floats]:
    """(step in s, instants, values[series, instant]); instants at which nothing is known are left out."""
    if end_ms - start_ms <= EXACT_UP_TO_MS:
        tracks = read(server_id, names, start_ms, end_ms)
        known = ~np.isnan(tracks.values).all(axis=0)
        if 0 < np.count_nonzero(known) <= MOST_MOMENTS:
            return 0, tracks.at_ms[known], tracks.values[:, known]
        deadline.check()
    step_s = next((step for step in STEPS_S if (end_ms - start_ms) / 1000 / step < MOST_MOMENTS), STEPS_S[-1])
    found = read_buckets([(server_id, name) for name in names], start_ms, end_ms, step_s * 1000)
    at_ms = np.unique(np.concatenate([some.at_ms for some in found]))
    values = np.full((len(names), len(at_ms)), np.nan)
    for row, some in zip(values, found, strict=True):
        with np.errstate(over="ignore", invalid="ignore"):
            row[np.searchsorted(at_ms, some.at_ms)] = some.total / some.count
    return _step_of(at_ms, step_s), at_ms, values


def _step_of(at_ms: Ints, asked_s: int) -> int:
    """The step asked for, or that of the roll-ups where nothing finer is left."""
    coarser = [tier.step_ms // 1000 for tier in TIERS if tier.step_ms // 1000 > asked_s]
    return next((step_s for step_s in reversed(coarser) if len(at_ms) and not (at_ms % (step_s * 1000)).any()), asked_s)


def _entries(metrics: Sequence[str], times: Sequence[str | None], values: list[list[float]]) -> list[dict[str, Any]]:
    rows = iter(values)
    columns: dict[str, list[Any]] = {}
    for metric in metrics:
        columns[metric] = next(rows)
        if metric == "network":
            columns[metric] = [{"rx": rx, "tx": tx} for rx, tx in zip(columns[metric], next(rows), strict=True)]
    return [
        {"timestamp": at, **dict(zip(columns, moment, strict=True))}
        for at, *moment in zip(times, *columns.values(), strict=True)
    ]
