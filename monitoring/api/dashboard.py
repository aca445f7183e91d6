"""Every server at a glance, in one answer."""

from __future__ import annotations

from functools import partial

import numpy as np
import orjson
from django.http import HttpRequest, HttpResponseBase
from django.utils.translation import gettext as _
from ninja import Query, Router

from monitoring.access import audience_of, servers_of
from monitoring.api.shapes import ERRORS, DashboardOut, RefreshQuery
from monitoring.hot_table import HEADLINE, Table, newest_of_metrics
from portal.toolkit.answers import answer, wants_new
from portal.toolkit.cache import Given, Kind, cache
from portal.toolkit.deadline import queries_in_time
from portal.toolkit.instants import at_ms

router = Router(tags=["Servers"])

KIND = Kind("dashboard", fresh_s=15, stale_s=30, kept_s=600, shared=False)
"""Not in Redis: the newest values are there already, and one round trip fetches them."""
NOTHING = b'{"servers":[]'

Row = tuple[int, str, str, bool, int]


@router.get("/dashboard", response={200: DashboardOut, **ERRORS}, by_alias=True, summary="Every server at a glance")
def dashboard(request: HttpRequest, asked: Query[RefreshQuery]) -> HttpResponseBase:
    """The newest values of every server that you may see, worst first.

    For pages that poll: an answer is shared for up to 30 s by all who may see the same.
    """
    audience = audience_of(request.user)
    given = cache.get(KIND, audience, partial(_read, audience), refresh=asked.refresh or wants_new(request))
    return answer(request, KIND, given, **message_of(given))


def message_of(given: Given) -> dict[str, str]:
    """Why there are no servers, where there are none."""
    if given.entry.data.startswith(NOTHING):
        return {"message": _("There is no server yet, or none that you may see.")}
    return {}


def _read(audience: str) -> bytes:
    """One query, one Redis round trip, however many servers."""
    with queries_in_time():
        servers = servers_of(audience).order_by("state_rank", "simulated", "name")
        rows = list(servers.values_list("pk", "name", "state", "simulated", "seen_at"))
        table = newest_of_metrics([row[0] for row in rows], HEADLINE)
    seen = [at_ms(row[4]) or 0 for row in rows]
    updated = stamps(np.maximum(table.at_ms, np.array(seen, np.int64)) if rows else table.at_ms)
    cards = [
        {
            "id": str(pk),
            "name": name,
            "status": state,
            "simulated": simulated,
            "metrics": {"cpu": cpu, "memory": memory, "disk": disk, "network": network},
            "lastUpdated": at,
        }
        for (pk, name, state, simulated, _seen), (cpu, memory, disk), network, at in zip(
            rows, table.values[:, :3].tolist(), _network(table).tolist(), updated, strict=True
        )
    ]
    return orjson.dumps({"servers": cards, "total": len(cards)})


def _network(table: Table) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """In and out together; what is known of both."""
    both = table.values[:, 3:5]
    known = ~np.isnan(both)
    return np.where(known.any(axis=1), np.round(np.where(known, both, 0.0).sum(axis=1), 3), np.nan)


def stamps(at: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[str | None]:
    """Epoch ms as ISO 8601 in UTC; None for 0."""
    texts = np.datetime_as_string(at.astype("datetime64[ms]"), timezone="UTC").tolist()
    return [text if known else None for text, known in zip(texts, at.tolist(), strict=True)]
