"""What the fleet page shows: totals, and a page of the list of cards. Times inside are epoch ms."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from math import ceil

import numpy as np
from django.contrib.postgres.aggregates import BitXor
from django.db.models import BigIntegerField, Count, F, Func, Q, QuerySet, TextField, Value
from django.db.models.functions import Concat
from django.utils import timezone
from django.utils.safestring import SafeString

from monitoring.access import servers_of
from monitoring.fleet_filter import FleetFilter
from monitoring.hot_table import HEADLINE, newest_of_metrics
from monitoring.models import Server, ServerGroup, ServerState, Simulation
from monitoring.queries.cards import STATE_ICONS, Gauge, ServerCard, gauge, server_cards
from portal.toolkit.instants import from_ms, time_tag
from portal.toolkit.quantity import quantity
from portal.toolkit.templatetags.icons import icon

CARDS_PER_PAGE = 60
NOT_MEASURING = (ServerState.OFFLINE, ServerState.UNKNOWN, ServerState.PAUSED)


@dataclass(frozen=True, slots=True)
class StateCount:
    state: str
    word: str
    icon: SafeString
    count: int
    url: str


@dataclass(frozen=True, slots=True)
class FleetCounts:
    """How many servers there are; `digest` changes with their set, names, kinds, groups or states."""

    by_state: dict[str, int]
    servers: int
    simulated: int
    digest: str


@dataclass(frozen=True, slots=True)
class FleetTotals:
    """All that an audience may see, in numbers. `digest` is that of the counts."""

    states: list[StateCount]
    servers: int
    simulated: int
    measuring: int
    cpu: Gauge
    memory: Gauge
    net_in: str
    net_out: str
    at_ms: int
    newest: SafeString
    simulation_paused: bool
    digest: str


@dataclass(frozen=True, slots=True)
class PageLink:
    """A number in the pager; 0 stands for the pages left out."""

    number: int
    url: str
    current: bool


@dataclass(frozen=True, slots=True)
class FleetPage:
    """One page of the list; `matched` servers of `servers` pass the filter. An old `digest` means an old list."""

    cards: list[ServerCard]
    wanted: FleetFilter
    matched: int
    servers: int
    digest: str
    pages: int
    links: list[PageLink]
    previous: str
    following: str
    made_at: datetime

    @property
    def first(self) -> int:
        return (self.wanted.page - 1) * CARDS_PER_PAGE + 1

    @property
    def last(self) -> int:
        return self.first + len(self.cards) - 1


# --- Totals -----------------------------------------------------------------------------------------------------------


def fleet_totals(audience: str, counts: FleetCounts | None = None) -> FleetTotals:
    """The totals of what `audience` may see. Three queries (two with `counts`), one Redis round trip."""
    counts = counts or fleet_counts(audience)
    measuring = list(servers_of(audience).exclude(state__in=NOT_MEASURING).order_by().values_list("pk", flat=True))
    table = newest_of_metrics(measuring, HEADLINE)
    known = {metric: values[np.isfinite(values)] for metric, values in zip(HEADLINE, table.values.T, strict=True)}
    seen_ms = int(table.at_ms.max(initial=0))
    paused = bool(counts.simulated) and Simulation.objects.filter(paused=True).exists()
    return FleetTotals(
        states=[_state_count(state, counts.by_state.get(state.value, 0)) for state in ServerState],
        servers=counts.servers,
        simulated=counts.simulated,
        measuring=len(measuring),
        cpu=gauge(float(known["cpu"].mean()) if known["cpu"].size else None),
        memory=gauge(float(known["memory"].mean()) if known["memory"].size else None),
        net_in=quantity(float(known["net_rx"].sum()) if known["net_rx"].size else None, "KB/s"),
        net_out=quantity(float(known["net_tx"].sum()) if known["net_tx"].size else None, "KB/s"),
        at_ms=seen_ms,
        newest=time_tag(from_ms(seen_ms)) if seen_ms else SafeString(""),
        simulation_paused=paused,
        digest=counts.digest,
    )


def fleet_counts(audience: str) -> FleetCounts:
    """How many servers `audience` may see; one query."""
    parts = [part for name in ("pk", "state", "kind", "group_id", "name") for part in (F(name), Value("/"))]
    fingerprint = Func(
        Concat(*parts, output_field=TextField()), Value(0), function="hashtextextended", output_field=BigIntegerField()
    )
    rows = (
        servers_of(audience)
        .order_by()
        .values("state")
        .annotate(count=Count("pk"), pretended=Count("pk", filter=Q(simulated=True)), mark=BitXor(fingerprint))
    )
    found = {row["state"]: row for row in rows}
    marks = repr(sorted((state, row["count"], row["mark"]) for state, row in found.items()))
    digest = blake2b(marks.encode(), digest_size=8).hexdigest()
    by_state = {state: row["count"] for state, row in found.items()}
    return FleetCounts(by_state, sum(by_state.values()), sum(row["pretended"] for row in found.values()), digest)


def _state_count(state: ServerState, count: int) -> StateCount:
    url = FleetFilter(state=state.value).address()
    return StateCount(state.value, str(state.label), icon(STATE_ICONS[state]), count, url)


# --- A page of the list -----------------------------------------------------------------------------------------------


def fleet_page(audience: str, wanted: FleetFilter, counts: FleetCounts) -> FleetPage:
    """The asked page, or the last one when there are fewer. Three queries, and Redis for the cards and for a sort."""
    matching = wanted.apply(servers_of(audience))
    matched = matching.count() if wanted.narrows else counts.servers
    pages = max(1, ceil(matched / CARDS_PER_PAGE))
    page = min(wanted.page, pages)
    start = (page - 1) * CARDS_PER_PAGE
    ids = _ordered(matching, wanted.sort, start, start + CARDS_PER_PAGE)
    return FleetPage(
        cards=list(server_cards(ids).values()),
        wanted=FleetFilter(wanted.state, wanted.kind, wanted.group, wanted.text, wanted.sort, page),
        matched=matched,
        servers=counts.servers,
        digest=counts.digest,
        pages=pages,
        links=[PageLink(n, wanted.address(n) if n else "", n == page) for n in _pager(page, pages)],
        previous=wanted.address(page - 1) if page > 1 else "",
        following=wanted.address(page + 1) if page < pages else "",
        made_at=timezone.now(),
    )


def _ordered(matching: QuerySet[Server], sort: str, start: int, stop: int) -> list[int]:
    """Ids of the matching servers from `start` to `stop` in that order; what is not measured comes last."""
    if sort in ("worst", "name"):
        order = ("state_rank", "simulated", "name") if sort == "worst" else ("name",)
        return list(matching.order_by(*order).values_list("pk", flat=True)[start:stop])
    ids = list(matching.order_by("name").values_list("pk", flat=True))
    values = newest_of_metrics(ids, (sort,)).values[:, 0]
    return [ids[place] for place in np.argsort(-values, kind="stable")[start:stop].tolist()]


def _pager(page: int, pages: int) -> list[int]:
    """First, last and the neighbours of `page`; 0 where pages are left out."""
    shown = sorted({1, pages, *(n for n in range(page - 2, page + 3) if 1 <= n <= pages)})
    numbers: list[int] = []
    for number in shown:
        if numbers and number - numbers[-1] == 2:
            numbers.append(number - 1)
        elif numbers and number - numbers[-1] > 2:
            numbers.append(0)
        numbers.append(number)
    return numbers


def visible_groups(audience: str) -> list[ServerGroup]:
    """The groups that have servers which `audience` may see, by name."""
    return list(ServerGroup.objects.filter(pk__in=servers_of(audience).order_by().values("group_id")))
