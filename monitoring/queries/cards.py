"""What the cards of servers show. Times inside are epoch ms."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from math import ceil, isfinite
from typing import Any, NamedTuple

import numpy as np
from django.db import connection
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from monitoring import hot, hot_lines
from monitoring.history.frame import Floats
from monitoring.hot_table import HEADLINE, newest_of_metrics
from monitoring.models import CHECKS, ServerKind, ServerState
from monitoring.queries.readings import Reading, bar_level, bar_width, readings
from portal.toolkit.any_of import array_of
from portal.toolkit.instants import at_ms, from_ms, time_tag
from portal.toolkit.quantity import quantity
from portal.toolkit.sentence import say
from portal.toolkit.sparkline import sparklines
from portal.toolkit.templatetags.icons import icon

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
NUMBERED = re.compile(r"(.{12,}?)([-_.]?[0-9]{1,6})")
KEPT = 2_000
"""So many servers' facts are remembered: those of a large fleet in one language."""


@dataclass(frozen=True, slots=True)
class Gauge:
    """A share of 100. `text` is shown, `width` ("0" to "100") draws the bar, `level` is "", "high" or "full"."""

    text: str
    width: str
    level: str


@dataclass(frozen=True, slots=True, eq=False)
class CardWords:
    """The words that all cards share, in one language."""

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


@lru_cache
def card_words(_language: str) -> CardWords:
    """Those of the language, which must be the active one."""
    return CardWords(
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


@dataclass(frozen=True, slots=True, eq=False)
class CardFacts:
    """What a card shows of its server but numbers, in one language. The same object for as long as it is the same.

    `key` is the server's id as text. A long name that ends in a number is also there as `head` and `tail`: where there
    is no room, its end tells it from its neighbours. In its line so many slots without a value, `bridged`, are no gap.
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
    about: str
    reason: str
    problem: str
    problem_says: str
    simulated_word: str
    bridged: int


@dataclass(slots=True)  # made by the hundred every second: frozen takes three times as long to make
class ServerCard:
    """One server as its card shows it; `stamp` is the epoch ms of its newest sample as text, "0" while it has none."""

    facts: CardFacts
    stamp: str
    seen: SafeString
    readings: list[Reading]
    cpu: Gauge
    memory: Gauge
    disk: Gauge
    net_in: str
    net_out: str
    line: SafeString


def server_cards(server_ids: Sequence[int]) -> dict[int, ServerCard]:
    """The cards of the servers that still exist, in the order asked. One query, two Redis round trips; three where one
    of them is no machine."""
    rows = _rows_of(server_ids)
    kept = [pk for pk in server_ids if pk in rows]
    table = newest_of_metrics(kept, HEADLINE)
    seen = [newest or at_ms(rows[pk].seen_at) or 0 for pk, newest in zip(kept, table.at_ms.tolist(), strict=True)]
    words = card_words(get_language())
    facts = [_facts(words, rows[pk].told, bool(seen_ms)) for pk, seen_ms in zip(kept, seen, strict=True)]
    lines = sparklines(hot_lines.recent(kept), bridged=np.array([one.bridged for one in facts], np.int64))
    others = _readings_of_others(kept, table.values)
    known = zip(kept, facts, seen, table.values.tolist(), lines, strict=True)
    return {pk: _card(one, seen_ms, row, line, others.get(pk, [])) for pk, one, seen_ms, row, line in known}


def _card(
    facts: CardFacts, seen_ms: int, values: Sequence[float], line: SafeString, others: list[Reading]
) -> ServerCard:
    """`values` are the HEADLINE metrics."""
    cpu, memory, disk, net_in, net_out = values
    return ServerCard(
        facts,
        str(seen_ms),
        _seen(seen_ms),
        others,
        gauge(cpu),
        gauge(memory),
        gauge(disk),
        quantity(net_in, "KB/s"),
        quantity(net_out, "KB/s"),
        line,
    )


def _readings_of_others(server_ids: Sequence[int], values: Floats) -> dict[int, list[Reading]]:
    """Of those that are no machines, whose card shows something else than gauges."""
    others = [server_ids[row] for row in np.flatnonzero(np.isnan(values[:, :2]).all(axis=1)).tolist()]
    return {pk: readings(newest) for pk, newest in hot.newest(others).items()} if others else {}


@lru_cache(1_000)
def _seen(seen_ms: int) -> SafeString:
    """Servers that are read in one tick have it in common."""
    return time_tag(from_ms(seen_ms), "lately") if seen_ms else SafeString("")


def gauge(value: float | None) -> Gauge:
    """Tenths are shown, so tenths decide the level too."""
    return _gauge(round(value, 1) if value is not None and isfinite(value) else None)


@lru_cache(2_000)
def _gauge(value: float | None) -> Gauge:
    """Few values are many servers': a percentage looks the same in every language."""
    if value is None:
        return Gauge(quantity(None, "%"), "0", "")
    return Gauge(quantity(value, "%"), bar_width(value), bar_level(value))


# --- What PostgreSQL knows --------------------------------------------------------------------------------------------


class _Row(NamedTuple):
    seen_at: datetime | None
    told: tuple[Any, ...]
    """As _Told has it."""


class _Told(NamedTuple):
    """`every_s` is None when nothing reads it."""

    pk: int
    name: str
    kind: str
    group: str
    state: str
    state_reason: str
    simulated: bool
    problem: str | None
    failures: int | None
    every_s: int | None


# In words of its own: to have Django write it takes longer than PostgreSQL needs to answer.
_ROWS = """
    SELECT server.seen_at, server.id, server.name, server.kind, "group".name, server.state, server.state_reason,
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
    WHERE server.id = ANY(%s::bigint[])
"""


def _rows_of(server_ids: Sequence[int]) -> dict[int, _Row]:
    with connection.cursor() as cursor:
        cursor.execute(_ROWS, [[str(check) for check in CHECKS], array_of(server_ids)])
        return {row[1]: _Row(row[0], row[1:]) for row in cursor.fetchall()}


@lru_cache(KEPT)
def _facts(words: CardWords, told: tuple[Any, ...], has_data: bool) -> CardFacts:
    server = _Told._make(told)
    found = NUMBERED.fullmatch(server.name)
    return CardFacts(
        words=words,
        key=str(server.pk),
        url=words.url.replace("/0/", f"/{server.pk}/"),
        name=server.name,
        head=found[1] if found else "",
        tail=found[2] if found else "",
        state=server.state,
        state_word=words.states[server.state],
        state_icon=icon(STATE_ICONS[server.state]),
        kind_icon=icon(KIND_ICONS[server.kind], 14),
        about=f"{words.kinds[server.kind]} · {server.group}",
        reason=_reason(server, has_data=has_data),
        problem=say(server.problem or ""),
        problem_says=words.reading_fails if server.failures else words.check_failed,
        simulated_word=words.simulated if server.simulated else "",
        bridged=_bridged(server.every_s),
    )


def _reason(server: _Told, *, has_data: bool) -> str:
    """Why the state is what it is, where the state alone does not say it."""
    if server.state == ServerState.PAUSED:
        return ""
    if not (has_data or server.simulated or server.every_s):
        return _("No source: nothing is read")
    return say(server.state_reason)


def _bridged(every_s: int | None) -> int:
    """How many empty slots in a row are no gap: readings come up to half an interval late."""
    return ceil(1.5 * (every_s or hot_lines.SLOT_MS / 1000) * 1000 / hot_lines.SLOT_MS) - 1
