"""What the page of one server shows: its head, and samples for its charts. Times inside are epoch ms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import isfinite
from typing import Any

import numpy as np
import orjson
from django.utils.safestring import SafeString
from numpy.typing import NDArray

from monitoring import hot
from monitoring.catalogue import BY_NAME
from monitoring.history.frame import Floats, SeriesName
from monitoring.history.read import Tracks, places_by_name, read
from monitoring.models import Metric, Server, ServerKind, ServerState, Source
from monitoring.panels import metric_label, series_label
from monitoring.queries.cards import KIND_ICONS, STATE_ICONS, Gauge, gauge
from monitoring.queries.rates import rates
from monitoring.queries.readings import short_label
from portal.toolkit.instants import at_ms, from_ms, time_tag
from portal.toolkit.quantity import quantity
from portal.toolkit.sentence import say
from portal.toolkit.templatetags.icons import icon

GAUGES = ("cpu", "memory", "disk", "swap", "db_connections_share", "cache_memory_share")
RATIOS = ("db_cache_hit", "cache_hit")
"""Best when they are full, so no bar of theirs is ever drawn as too full."""
FACTS: tuple[str, ...] = (
    *("net_rx", "net_tx", "load1", "response_p95", "throughput", "error_rate", "active_users", "db_connections"),
    *("check_time", "check_status", "certificate_days", "job_overdue", "job_duration"),
    *("query_time", "db_transactions", "db_longest", "db_locks", "replication_lag", "db_size"),
    *("cache_latency", "cache_ops", "cache_memory", "evictions", "cache_clients", "cache_keys"),
    *("queue_depth", "connections", "processes", "uptime", "cpu_cores", "memory_total"),
)
FACTS_SHOWN = 7
RANGES_S = {"15m": 900, "1h": 3600, "6h": 21_600, "24h": 86_400}
MOST_POINTS = 20_000
USUAL_POINTS = 2000
MOST_SERIES = 200
MOST_VALUES = 400_000
"""Of one answer: a server may have thousands of series, and 24 hours of all of them would fill the memory."""


@dataclass(frozen=True, slots=True)
class SourceLine:
    """How one source of the server does: `state` is "ok", "complaining" (it was read, and says what is
    wrong), "failing", "paused" or "waiting"."""

    name: str
    url: str
    state: str
    interval_s: int
    ok_at: datetime | None
    error: str
    error_at: datetime | None
    failures: int
    took: str
    samples: int | None


@dataclass(frozen=True, slots=True)
class Vitals:
    """The head of a server's page."""

    id: int
    name: str
    description: str
    state: str
    state_word: str
    state_icon: SafeString
    state_since: datetime
    reason: str
    kind_icon: SafeString
    kind: str
    group: str
    simulated: bool
    at_ms: int
    seen: SafeString
    gauges: list[tuple[str, Gauge]]
    facts: list[tuple[str, str]]
    sources: list[SourceLine]


def vitals(server_ids: Sequence[int]) -> dict[int, Vitals]:
    """The heads of the servers that still exist. Two queries and one Redis round trip, however many."""
    servers = Server.objects.select_related("group").prefetch_related("sources").order_by().in_bulk(server_ids)
    newest = hot.newest(list(servers))
    return {pk: _vitals(server, newest[pk]) for pk, server in servers.items()}


def _vitals(server: Server, newest: hot.Newest) -> Vitals:
    state, kind = ServerState(server.state), ServerKind(server.kind)
    newest_ms = max((at for at, _value in newest.values()), default=0)
    seen_ms = newest_ms or at_ms(server.seen_at) or 0
    return Vitals(
        id=server.pk,
        name=server.name,
        description=server.description,
        state=state.value,
        state_word=str(state.label),
        state_icon=icon(STATE_ICONS[state], 18),
        state_since=server.state_since,
        reason=say(server.state_reason),
        kind_icon=icon(KIND_ICONS[kind]),
        kind=str(kind.label),
        group=server.group.name,
        simulated=server.simulated,
        at_ms=seen_ms,
        seen=time_tag(from_ms(seen_ms)) if seen_ms else SafeString(""),
        gauges=[
            *((short_label(m), gauge(_value_of(newest, m))) for m in GAUGES if SeriesName(m) in newest),
            *(
                (short_label(m), replace(gauge(_value_of(newest, m)), level=""))
                for m in RATIOS
                if SeriesName(m) in newest
            ),
        ],
        facts=_facts(newest),
        sources=[_source_line(source) for source in sorted(server.sources.all(), key=lambda source: source.pk)],
    )


def _value_of(newest: hot.Newest, metric: str) -> float | None:
    found = newest.get(SeriesName(metric))
    return found[1] if found and isfinite(found[1]) else None


def _facts(newest: hot.Newest) -> list[tuple[str, str]]:
    had = [metric for metric in FACTS if SeriesName(metric) in newest][:FACTS_SHOWN]
    return [(metric_label(metric), quantity(_value_of(newest, metric), BY_NAME[metric].unit)) for metric in had]


def _source_line(source: Source) -> SourceLine:
    if source.paused:
        state = "paused"
    elif source.failures:
        state = "failing"
    elif source.error:
        state = "complaining"
    else:
        state = "ok" if source.ok_at else "waiting"
    return SourceLine(
        name=source.get_collector_display(),
        url=source.url,
        state=state,
        interval_s=source.interval_s,
        ok_at=source.ok_at,
        error=say(source.error),
        error_at=source.error_at,
        failures=source.failures,
        took="" if source.duration_ms is None else quantity(source.duration_ms, "ms"),
        samples=source.samples,
    )


# --- Samples for charts -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SamplesAsked:
    """Samples with start_ms <= instant < end_ms of the named metrics (all when empty), thinned to `points`."""

    start_ms: int
    end_ms: int
    metrics: frozenset[str]
    points: int


def samples_json(server_id: int, asked: SamplesAsked) -> bytes:
    """{"at": [ms], "step": ms, "left_out": n, "series": [{"metric", "labels", "unit", "label", "values": [… null]}]}.

    At most MOST_SERIES series, the first in the catalogue's order; `left_out` counts the others. At most MOST_VALUES
    values: of many series fewer points than asked for. Numbers are written as exactly as a float32 has them, seven
    significant digits: more than a screen has. A counter is shown as its increase per second and has "counter": true.
    Three queries; one more with names outside the catalogue, and two to seven more with counters among them.
    """
    places = places_by_name(server_id)
    wanted = [name for name in places if not asked.metrics or name.metric in asked.metrics]
    names, left_out = wanted[:MOST_SERIES], len(wanted[MOST_SERIES:])
    points = min(asked.points, MOST_VALUES // max(1, len(names)))
    tracks = read(server_id, names, asked.start_ms, asked.end_ms, points=points, places=places)
    counters = _counters(names)
    if counters:
        grown = [names[row] for row in counters]
        tracks.values[counters] = rates(server_id, grown, tracks, asked.start_ms, asked.end_ms, places)
    series = [_series_json(name, tracks, row, row in counters) for row, name in enumerate(names)]
    answer = {"at": tracks.at_ms, "step": tracks.step_ms, "left_out": left_out, "series": series}
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def _counters(names: Sequence[SeriesName]) -> list[int]:
    """The places of those that only grow. One query; none where all are of the catalogue."""
    foreign = {name.metric for name in names} - BY_NAME.keys()
    if not foreign:
        return []
    growing = set(Metric.objects.filter(name__in=foreign, is_counter=True).order_by().values_list("name", flat=True))
    return [row for row, name in enumerate(names) if name.metric in growing]


def _series_json(name: SeriesName, tracks: Tracks, row: int, is_counter: bool) -> dict[str, Any]:
    known = BY_NAME.get(name.metric)
    unit = known.unit if known else ""
    said = {
        "metric": name.metric,
        "labels": orjson.Fragment(name.labels) if name.labels else {},
        "unit": f"{unit or 1}/s" if is_counter else unit,
        "label": series_label(name),
        "values": _short(tracks.values[row]),
    }
    return {**said, "counter": True} if is_counter else said


def _short(values: Floats) -> Floats | NDArray[np.float32]:
    """The same numbers with fewer digits, unless there is one that only a float64 holds. NaN is written as null."""
    with np.errstate(over="ignore"):
        short = values.astype(np.float32)
    return values if np.isinf(short).any() else short
