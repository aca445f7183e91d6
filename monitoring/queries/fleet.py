"""What the fleet page shows: cards, totals, and a page of the list. Times inside are epoch ms."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from hashlib import blake2b
from math import ceil, inf, isfinite, nan
from statistics import fmean
from typing import NamedTuple, Self

import numpy as np
from django.contrib.postgres.aggregates import BitXor
from django.db import connection
from django.db.models import BigIntegerField, Count, F, Func, Q, QuerySet, TextField, Value
from django.db.models.functions import Concat
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from monitoring import hot, hot_lines
from monitoring.access import servers_of
from monitoring.fleet_filter import FleetFilter
from monitoring.history.frame import SeriesName
from monitoring.models import CHECKS, Server, ServerGroup, ServerKind, ServerState, Simulation
from monitoring.queries.readings import Reading, bar_level, bar_width, readings
from portal.toolkit.instants import at_ms, from_ms, time_tag
from portal.toolkit.quantity import quantity
from portal.toolkit.sentence import say
from portal.toolkit.sparkline import sparklines
from portal.toolkit.templatetags.icons import icon

CARDS_PER_PAGE = 60
STATE_ICONS: dict[str, str] = {
    ServerState.CRITICAL: "octagon-alert",
    ServerState.OFFLINE: "unplug",
    ServerState.WARNING: "triangle-alert",
    ServerState.UNKNOWN: "circle-question-mark",
    ServerState.PAUSED: "circle-pause",
    ServerState.HEALTHY: "circle-check",
}
KIND_ICONS: dict[str, str] = {
    ServerKind.HOST: "server",
    ServerKind.WEB: "globe",
    ServerKind.APP: "app-window",
    ServerKind.DATABASE: "database",
    ServerKind.CACHE: "zap",
    ServerKind.QUEUE: "list-ordered",
    ServerKind.STORAGE: "hard-drive",
    ServerKind.LOAD_BALANCER: "network",
    ServerKind.CONTAINER: "container",
    ServerKind.POD: "box",
    ServerKind.SERVICE: "activity",
}
NOT_MEASURING = (ServerState.OFFLINE, ServerState.UNKNOWN, ServerState.PAUSED)
NUMBERED = re.compile(r"(.{12,}?)([-_.]?[0-9]{1,6})")


@dataclass(frozen=True, slots=True)
class Gauge:
    """A share of 100. `text` is shown, `width` ("0" to "100") draws the bar, `level` is "", "high" or "full"."""

    text: str
    width: str
    level: str


@dataclass(frozen=True, slots=True)
class CardWords:
    """The words that all cards share, in the active language: looked up once for many cards."""

    cpu: str
    memory: str
    disk: str
    net_in: str
    net_out: str
    line: str
    simulated: str
    simulated_says: str
    reading_fails: str
    check_failed: str
    states: dict[str, str]
    kinds: dict[str, str]
    url: str

    @classmethod
    def now(cls) -> Self:
        return cls(
            cpu=_("CPU"),
            memory=_("Mem"),
            disk=_("Disk"),
            net_in=_("Network in"),
            net_out=_("Network out"),
            line=_("CPU, the last 5 minutes"),
            simulated=_("simulated"),
            simulated_says=_("Simulated: the numbers are generated"),
            reading_fails=_("Reading fails:"),
            check_failed=_("Check failed:"),
            states={state.value: str(state.label) for state in ServerState},
            kinds={kind.value: str(kind.label) for kind in ServerKind},
            url=reverse("monitoring:server", args=[0]),
        )


@dataclass(slots=True)  # made by the hundred every second: frozen takes three times as long to make
class ServerCard:
    """One server as its card shows it; text is in the language that was active when it was made.

    `key` is the server's id and `stamp` the epoch ms of its newest sample, both as text. A long name that ends in a
    number is also there as `head` and `tail`: where there is no room, its end tells it from its neighbours.
    """

    words: CardWords
    key: str
    url: str
    name: str
    head: str
    tail: str
    state: str
    state_word: str
    state_icon: SafeString
    kind_icon: SafeString
    facts: str
    reason: str
    problem: str
    problem_says: str
    simulated_word: str
    stamp: str
    seen: SafeString
    readings: list[Reading]
    cpu: Gauge
    memory: Gauge
    disk: Gauge
    net_in: str
    net_out: str
    line: SafeString


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


# --- Cards ------------------------------------------------------------------------------------------------------------


class _Facts(NamedTuple):
    """What PostgreSQL knows of a server that its card shows. `every_s` is None when nothing reads it."""

    pk: int
    name: str
    kind: str
    group: str
    state: str
    state_reason: str
    seen_at: datetime | None
    simulated: bool
    problem: str | None
    failures: int | None
    every_s: int | None


def server_cards(server_ids: Sequence[int]) -> dict[int, ServerCard]:
    """The cards of the servers that still exist, in the order asked. One query, two Redis round trips."""
    facts = {one.pk: one for one in _facts_of(server_ids)}
    kept = [server_id for server_id in server_ids if server_id in facts]
    newest, recent = hot.newest(kept), hot_lines.recent(kept, "cpu")
    lines = sparklines(recent, bridged=np.array([_bridged(facts[pk].every_s) for pk in kept], np.int64))
    words = CardWords.now()
    return {pk: _card(words, facts[pk], newest[pk], line) for pk, line in zip(kept, lines, strict=True)}


# In words of its own: to have Django write it takes longer than PostgreSQL needs to answer.
_FACTS = """
    SELECT server.id, server.name, server.kind, "group".name, server.state, server.state_reason, server.seen_at,
           server.simulated, problem.error, problem.failures, pace.every_s
    FROM monitoring_server server
    JOIN monitoring_servergroup "group" ON "group".id = server.group_id
    LEFT JOIN LATERAL (
        SELECT error, failures FROM monitoring_source source
        WHERE source.server_id = server.id AND NOT paused AND (failures > 0 OR collector = ANY(%s) AND error <> '')
        ORDER BY failures DESC, error_at DESC LIMIT 1
    ) problem ON true
    LEFT JOIN LATERAL (
        SELECT min(interval_s) AS every_s FROM monitoring_source source
        WHERE source.server_id = server.id AND NOT paused
    ) pace ON true
    WHERE server.id = ANY(%s)
"""


def _facts_of(server_ids: Sequence[int]) -> Iterable[_Facts]:
    with connection.cursor() as cursor:
        cursor.execute(_FACTS, [[str(check) for check in CHECKS], list(server_ids)])
        return map(_Facts._make, cursor.fetchall())


@lru_cache(4_000)
def _cut(name: str) -> tuple[str, str]:
    found = NUMBERED.fullmatch(name)
    return (found[1], found[2]) if found else ("", "")


def _card(words: CardWords, server: _Facts, newest: hot.Newest, line: SafeString) -> ServerCard:
    seen_ms = newest_ms(newest) or at_ms(server.seen_at) or 0
    head, tail = _cut(server.name)
    return ServerCard(
        words=words,
        key=str(server.pk),
        url=words.url.replace("/0/", f"/{server.pk}/"),
        name=server.name,
        head=head,
        tail=tail,
        state=server.state,
        state_word=words.states[server.state],
        state_icon=icon(STATE_ICONS[server.state]),
        kind_icon=icon(KIND_ICONS[server.kind], 14),
        facts=f"{words.kinds[server.kind]} · {server.group}",
        reason=_reason(server, seen_ms),
        problem=say(server.problem or ""),
        problem_says=words.reading_fails if server.failures else words.check_failed,
        simulated_word=words.simulated if server.simulated else "",
        stamp=str(seen_ms),
        seen=_seen(seen_ms),
        readings=readings(newest),
        cpu=gauge(value_of(newest, "cpu")),
        memory=gauge(value_of(newest, "memory")),
        disk=gauge(value_of(newest, "disk")),
        net_in=quantity(value_of(newest, "net_rx"), "KB/s"),
        net_out=quantity(value_of(newest, "net_tx"), "KB/s"),
        line=line,
    )


@lru_cache(1_000)
def _seen(seen_ms: int) -> SafeString:
    """Servers that are read in one tick have it in common."""
    return time_tag(from_ms(seen_ms)) if seen_ms else SafeString("")


def _reason(server: _Facts, seen_ms: int) -> str:
    """Why the state is what it is, where the state alone does not say it."""
    if server.state == ServerState.PAUSED:
        return ""
    if not (seen_ms or server.simulated or server.every_s):
        return _("No source: nothing is read")
    return say(server.state_reason)


def _bridged(every_s: int | None) -> int:
    """How many empty slots in a row are no gap: readings come up to half an interval late."""
    return ceil(1.5 * (every_s or hot_lines.SLOT_MS / 1000) * 1000 / hot_lines.SLOT_MS) - 1


def newest_ms(newest: hot.Newest) -> int:
    return max([at for at, _value in newest.values()], default=0)


_named = cache(SeriesName)


def value_of(newest: hot.Newest, metric: str) -> float | None:
    found = newest.get(_named(metric))
    return found[1] if found and isfinite(found[1]) else None


def gauge(value: float | None) -> Gauge:
    """Tenths are shown, so tenths decide the level too."""
    return _gauge(round(value, 1) if value is not None and isfinite(value) else None)


@lru_cache(2_000)
def _gauge(value: float | None) -> Gauge:
    """Few values are many servers': a percentage looks the same in every language."""
    if value is None:
        return Gauge(quantity(None, "%"), "0", "")
    return Gauge(quantity(value, "%"), bar_width(value), bar_level(value))


# --- Totals -----------------------------------------------------------------------------------------------------------


def fleet_totals(audience: str, counts: FleetCounts | None = None) -> FleetTotals:
    """The totals of what `audience` may see. Three queries (two with `counts`), one Redis round trip."""
    counts = counts or fleet_counts(audience)
    measuring = list(servers_of(audience).exclude(state__in=NOT_MEASURING).order_by().values_list("pk", flat=True))
    headlines = list(hot.headlines(measuring).values())
    known = {metric: [v for one in headlines if isfinite(v := getattr(one, metric))] for metric in hot_lines.HEADLINE}
    seen_ms = max((one.at_ms for one in headlines), default=0)
    paused = bool(counts.simulated) and Simulation.objects.filter(paused=True).exists()
    return FleetTotals(
        states=[_state_count(state, counts.by_state.get(state.value, 0)) for state in ServerState],
        servers=counts.servers,
        simulated=counts.simulated,
        measuring=len(measuring),
        cpu=gauge(fmean(known["cpu"]) if known["cpu"] else None),
        memory=gauge(fmean(known["memory"]) if known["memory"] else None),
        net_in=quantity(sum(known["net_rx"]) if known["net_rx"] else None, "KB/s"),
        net_out=quantity(sum(known["net_tx"]) if known["net_tx"] else None, "KB/s"),
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
    known = hot.headlines(ids)
    values = {server_id: getattr(known[server_id], sort) if server_id in known else nan for server_id in ids}
    return sorted(ids, key=lambda server_id: -v if isfinite(v := values[server_id]) else inf)[start:stop]


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
