"""What each server has and how it does now, with sizes in MB."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import orjson
from django.http import HttpRequest, HttpResponseBase
from ninja import Field, Query, Router

from monitoring.access import audience_of, servers_of
from monitoring.api.asked import one_server
from monitoring.api.dashboard import message_of, stamps
from monitoring.api.shapes import ERRORS, ErrorOut, RefreshQuery, ServersOut
from monitoring.hot_table import newest_of_metrics
from portal.toolkit.answers import answer, wants_new
from portal.toolkit.cache import Kind, cache
from portal.toolkit.deadline import queries_in_time
from portal.toolkit.instants import at_ms

router = Router(tags=["Servers"])

KIND = Kind("servers", fresh_s=15, stale_s=30, kept_s=600, shared=False)
METRICS = (
    *("cpu", "cpu_cores", "memory_total", "memory_used", "memory", "disk_total", "disk_used", "disk"),
    *("net_rx", "net_tx", "connections", "uptime"),
)


class ServersQuery(RefreshQuery):
    server_id: str = Field("", alias="serverId", description="An id or a name; empty: all")


@router.get(
    "/monitoring/servers",
    response={200: ServersOut, **ERRORS, 404: ErrorOut},
    by_alias=True,
    summary="Servers with their sizes",
)
def servers(request: HttpRequest, asked: Query[ServersQuery]) -> HttpResponseBase:
    """One server or all that you may see, with the newest values of what they have and use."""
    audience = audience_of(request.user)
    only = one_server(request.user, asked.server_id).pk if asked.server_id else None
    make = partial(_read, audience, only)
    given = cache.get(KIND, f"{audience} {only}", make, refresh=asked.refresh or wants_new(request))
    return answer(request, KIND, given, **message_of(given))


def _read(audience: str, only: int | None) -> bytes:
    """One query, one Redis round trip, however many servers."""
    with queries_in_time():
        wanted = servers_of(audience).order_by("state_rank", "simulated", "name")
        if only is not None:
            wanted = wanted.filter(pk=only)
        rows = list(wanted.values_list("pk", "name", "state", "seen_at"))
        table = newest_of_metrics([row[0] for row in rows], METRICS)
    seen = np.array([at_ms(row[3]) or 0 for row in rows], np.int64)
    checked = stamps(np.maximum(table.at_ms, seen))
    found = [_server(row, values, at) for row, values, at in zip(rows, table.values.tolist(), checked, strict=True)]
    return orjson.dumps({"servers": found, "total": len(found)})


def _server(row: tuple[Any, ...], values: list[float], checked: str | None) -> dict[str, Any]:
    pk, name, state, _seen = row
    now = dict(zip(METRICS, values, strict=True))
    return {
        "id": str(pk),
        "name": name,
        "status": state,
        "cpu": {"usage": now["cpu"], "cores": now["cpu_cores"]},
        "memory": {"total": now["memory_total"], "used": now["memory_used"], "usage": now["memory"]},
        "disk": {"total": now["disk_total"], "used": now["disk_used"], "usage": now["disk"]},
        "network": {"rx": now["net_rx"], "tx": now["net_tx"], "connections": now["connections"]},
        "uptime": now["uptime"],
        "lastChecked": checked,
    }
