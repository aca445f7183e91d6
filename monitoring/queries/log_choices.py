"""What the page of logs offers to choose: the servers and sources with the most lines in its time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from typing import TypeVar

from django.utils.translation import gettext as _

from monitoring.log_filter import LogFilter
from monitoring.logs.counts import servers_counted, sources
from monitoring.queries.log_chart import counted_bounds
from monitoring.queries.log_rows import Place
from monitoring.queries.names import server_names

MOST = 200

T = TypeVar("T", int, str)


@dataclass(frozen=True, slots=True)
class Choice:
    """`count` lines of it in the time that is counted."""

    value: str
    label: str
    count: int
    is_on: bool


@dataclass(frozen=True, slots=True)
class Chip:
    """Something that is chosen; `address` is without it."""

    kind: str
    label: str
    address: str


def chips(wanted: LogFilter, servers: Iterable[tuple[int, str]]) -> list[Chip]:
    """For the chosen servers (id, name) and sources."""
    of_servers = [
        Chip(_("server"), name, Place(replace(wanted, servers=wanted.servers - {pk})).page()) for pk, name in servers
    ]
    of_sources = [
        Chip(_("source"), name, Place(replace(wanted, sources=wanted.sources - {name})).page())
        for name in sorted(wanted.sources)
    ]
    return of_servers + of_sources


def source_choices(wanted: LogFilter, servers: frozenset[int], now: datetime) -> list[Choice]:
    """Those of the chosen servers, and what is chosen. One look at the counts."""
    start_ms, end_ms = counted_bounds(wanted, now)
    ask = replace(wanted, sources=frozenset()).ask(now)
    found = dict(sources(ask, servers=servers, start_ms=start_ms, end_ms=end_ms)[:MOST])
    return [
        Choice(name, name, found.get(name, 0), name in wanted.sources) for name in _all(found, sorted(wanted.sources))
    ]


def server_choices(wanted: LogFilter, servers: frozenset[int], now: datetime) -> list[Choice]:
    """One look at the counts, and one query for the names."""
    start_ms, end_ms = counted_bounds(wanted, now)
    ask = replace(wanted, servers=frozenset()).ask(now)
    counts = servers_counted(ask, servers=servers, start_ms=start_ms, end_ms=end_ms)
    found = dict(sorted(counts.items(), key=lambda one: -one[1])[:MOST])
    ids = [pk for pk in _all(found, sorted(wanted.servers)) if pk in servers]
    names = server_names(ids)
    return [Choice(str(pk), names[pk], found.get(pk, 0), pk in wanted.servers) for pk in ids if pk in names]


def _all(counted: Iterable[T], chosen: Iterable[T]) -> list[T]:
    """Those that are chosen first."""
    return list(dict.fromkeys(chain(chosen, counted)))
