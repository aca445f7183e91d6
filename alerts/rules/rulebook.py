"""The rulebook: every threshold laid out as watches, ready for the evaluator. Compiled when something changed."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import inf

import numpy as np
from django.db import connection
from numpy.typing import NDArray

from alerts.models import Condition, Direction, Scope, Threshold
from alerts.rules.evaluate import CRITICAL, WARNING, Flags, Floats, Ints, Rules
from alerts.rules.observation import Phase
from alerts.rules.scope import WIDEST_FIRST
from monitoring import states
from monitoring.models import SLOTS_PER_BLOCK, Series, Server
from monitoring.queries import samples

Indexes = NDArray[np.intp]

PLACE_BITS = 24
"""A key is a server's id and, in its lowest bits, a place."""
GAP_INTERVALS = states.SILENT_AFTER_INTERVALS
GAP_AT_LEAST_S = states.SILENT_AFTER_AT_LEAST_S


@dataclass(frozen=True, slots=True)
class Rulebook:
    """n watches in the order of (server, block, slot, sign): each a series that has a threshold, in one direction.

    `threshold_ids[n]` won. `no_data_ms[n]` is the silence that alerts, 0 for none, as `no_data_phase[n]`.
    The u watched series in the same order: `series_ids[u]`, `keys[u]`, the first watch of each `first[u]`.
    The b blocks to read: `block_servers[b]`, `blocks[b]`, after how long a sample of it is late: `late_ms[b]`.
    """

    rules: Rules
    threshold_ids: Ints
    no_data_ms: Ints
    no_data_phase: Ints
    series_of: Indexes
    series_ids: Ints
    keys: Ints
    first: Indexes
    block_servers: Ints
    blocks: Ints
    late_ms: Ints

    @property
    def server_ids(self) -> Ints:
        """Of each series."""
        return self.keys >> PLACE_BITS

    @property
    def places(self) -> Ints:
        """Of each series."""
        return self.keys & (1 << PLACE_BITS) - 1

    def condition(self, watch: int) -> Condition:
        return Condition.ABOVE if self.rules.sign[watch] > 0 else Condition.BELOW

    def find_series(self, series_ids: Ints) -> Indexes:
        """The index of each series, -1 where it is not watched."""
        order = np.argsort(self.series_ids)
        return _find(self.series_ids[order], series_ids, order)

    def find_places(self, server_ids: Ints, places: Ints) -> Indexes:
        """The index of the series in each place, -1 where there is none that is watched."""
        return _find(self.keys, keys_of(server_ids, places), np.arange(len(self.keys)))

    def watches_of(self, series: Indexes) -> tuple[Indexes, Indexes]:
        """The watches of each of these series: (positions in `series`, watches); one or two for each."""
        counts = np.diff(np.append(self.first, len(self.series_of)))[series]
        positions = np.repeat(np.arange(len(series)), counts)
        nth = np.arange(len(positions)) - np.repeat(np.cumsum(counts) - counts, counts)
        return positions, self.first[series][positions] + nth


def keys_of(server_ids: Ints, places: Ints) -> Ints:
    return (server_ids << PLACE_BITS) | places


def _find(ascending: Ints, wanted: Ints, index_of: Indexes) -> Indexes:
    if not len(ascending):
        return np.full(len(wanted), -1, np.intp)
    at = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    return np.where(ascending[at] == wanted, index_of[at], -1)


# --- Kept until something changes -------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Kept:
    """A rulebook, what it was compiled from, and for which instants: `since` <= now < `until`.

    `census` is kept until it is proven that no series was overlooked.
    """

    book: Rulebook
    version: tuple[object, ...]
    since: datetime
    until: datetime | None
    census: samples.Census | None

    def is_good(self, version: tuple[object, ...], now: datetime) -> bool:
        if version != self.version or now < self.since or (self.until is not None and now >= self.until):
            return False
        if self.census is not None:
            later = samples.census()
            if later.series != self.census.series:
                return False
            if later.oldest_running >= self.census.next_to_come:
                self.census = None
        return True


_kept: _Kept | None = None
_compiling = threading.Lock()


def rulebook(now: datetime) -> Rulebook:
    """The watches as they are at `now`. Two small queries when nothing changed since the last call of this process."""
    global _kept
    with _compiling:
        version = (_thresholds_digest(), *samples.fingerprint())
        if _kept is None or not _kept.is_good(version, now):
            _kept = _compile(version, now)
        return _kept.book


def _thresholds_digest() -> object:
    with connection.cursor() as cursor:
        cursor.execute("SELECT md5(string_agg(rule::text, '/' ORDER BY id)) FROM alerts_threshold rule")
        return cursor.fetchone()


# --- Compiling --------------------------------------------------------------------------------------------------------


def _compile(version: tuple[object, ...], now: datetime) -> _Kept:
    """About 200 ms for 20,000 series; six queries."""
    census = samples.census()
    thresholds = list(Threshold.objects.filter(enabled=True).order_by("pk"))
    servers = _servers()
    series = _series({one.metric_id for one in thresholds})
    until = min(
        (one.override_until for one in thresholds if one.is_overridden(now) and one.override_until), default=None
    )
    return _Kept(_book(thresholds, servers, series, now), version, now, until, census)


@dataclass(frozen=True, slots=True)
class _Servers:
    """The servers that are not paused, in the order of their ids."""

    ids: Ints
    kinds: NDArray[np.str_]
    groups: Ints
    interval_s: Ints

    def covered_by(self, threshold: Threshold) -> Flags:
        """As `alerts.rules.scope.covers`, of all at once."""
        covered: Flags = np.ones(len(self.ids), np.bool_)
        if threshold.scope == Scope.KIND:
            covered = self.kinds == threshold.kind
        elif threshold.scope == Scope.GROUP:
            covered = self.groups == threshold.group_id
        elif threshold.scope == Scope.SERVER:
            covered = self.ids == threshold.server_id
        return covered


@dataclass(frozen=True, slots=True)
class _SeriesTable:
    ids: Ints
    server_ids: Ints
    metric_ids: Ints
    places: Ints


def _servers() -> _Servers:
    paused, intervals = states.pauses(), samples.intervals()
    rows = [row for row in Server.objects.order_by("pk").values_list("pk", "kind", "group_id") if row[0] not in paused]
    ids = np.array([row[0] for row in rows], np.int64)
    interval_s = np.array([intervals.get(row[0], states.DEFAULT_INTERVAL_S) for row in rows], np.int64)
    return _Servers(
        ids, np.array([row[1] for row in rows], np.str_), np.array([row[2] for row in rows], np.int64), interval_s
    )


def _series(metric_ids: Iterable[int]) -> _SeriesTable:
    rows = Series.objects.filter(metric_id__in=list(metric_ids)).order_by("server_id", "block", "slot")
    found = rows.values_list("pk", "server_id", "metric_id", "block", "slot")
    table = np.array(list(found), np.int64).reshape(-1, 5)
    return _SeriesTable(table[:, 0], table[:, 1], table[:, 2], table[:, 3] * SLOTS_PER_BLOCK + table[:, 4])


def _book(thresholds: Sequence[Threshold], servers: _Servers, series: _SeriesTable, now: datetime) -> Rulebook:
    terms = [_Terms.of(threshold, now) for threshold in thresholds]
    watches, winners = _watches(thresholds, servers, series)
    alerting = np.array([one.alerts for one in terms], np.bool_)
    chosen = np.flatnonzero(alerting[winners]) if len(winners) else np.empty(0, np.intp)
    watches, winners = watches[chosen], winners[chosen]
    sign = np.array([one.sign for one in terms], np.float64)[winners] if len(winners) else np.empty(0)
    order = np.lexsort((sign, watches))
    return _laid_out(terms, thresholds, servers, series, watches[order], winners[order])


def _watches(thresholds: Sequence[Threshold], servers: _Servers, series: _SeriesTable) -> tuple[Indexes, Indexes]:
    """(index of the series, index of the threshold that won) of each series and direction that one is for."""
    server_of = _find(servers.ids, series.server_ids, np.arange(len(servers.ids)))
    found = [(np.empty(0, np.intp), np.empty(0, np.intp))]
    for (metric_id, _direction), winner in _winners(thresholds, servers).items():
        members = np.flatnonzero((series.metric_ids == metric_id) & (server_of >= 0))
        won = winner[server_of[members]]
        found.append((members[won >= 0], won[won >= 0]))
    return np.concatenate([one for one, _ in found]), np.concatenate([one for _, one in found])


def _winners(thresholds: Sequence[Threshold], servers: _Servers) -> dict[tuple[int, str], Indexes]:
    """For each (metric, direction) and server the index of the narrowest threshold, -1 for none."""
    winners: dict[tuple[int, str], Indexes] = {}
    for index in sorted(range(len(thresholds)), key=lambda i: WIDEST_FIRST.index(Scope(thresholds[i].scope))):
        one = thresholds[index]
        winner = winners.setdefault((one.metric_id, one.direction), np.full(len(servers.ids), -1, np.intp))
        winner[servers.covered_by(one)] = index
    return winners


@dataclass(frozen=True, slots=True)
class _Terms:
    """A threshold as the evaluator wants it; limits and clearing values multiplied by `sign`."""

    sign: float
    limits: tuple[float, float]
    clears: tuple[float, float]
    alerts: bool
    no_data_phase: Phase

    @classmethod
    def of(cls, threshold: Threshold, now: datetime) -> _Terms:
        sign = 1.0 if threshold.direction == Direction.ABOVE else -1.0
        warning, critical = (inf if limit is None else sign * limit for limit in threshold.limits(now))
        silenced = threshold.is_overridden(now) and warning == critical == inf
        return cls(
            sign,
            (warning, critical),
            _clears(warning, critical, None if threshold.clear is None else sign * threshold.clear),
            not silenced and (min(warning, critical) < inf or threshold.no_data_after_s is not None),
            Phase.of(threshold.no_data_level),
        )


def _clears(warning: float, critical: float, clear: float | None) -> tuple[float, float]:
    """Where each latch is let go: the lower limit's at `clear`, the other as far below its limit."""
    lower = min(warning, critical)
    if clear is None or clear > lower or lower == inf:
        return warning, critical
    margin = lower - clear
    return (clear if warning == lower else warning - margin), (clear if critical == lower else critical - margin)


def _laid_out(
    terms: Sequence[_Terms],
    thresholds: Sequence[Threshold],
    servers: _Servers,
    series: _SeriesTable,
    watches: Indexes,
    winners: Indexes,
) -> Rulebook:
    """`watches` are indexes of series, ascending; `winners` of their thresholds."""
    number = np.float64
    members, first, series_of = np.unique(watches, return_index=True, return_inverse=True)
    server_ids, places = series.server_ids[members], series.places[members]
    interval_s = servers.interval_s[np.searchsorted(servers.ids, server_ids)]
    gap_ms = 1000 * np.maximum(GAP_INTERVALS * interval_s, GAP_AT_LEAST_S)
    late_ms = 1000 * (samples.LATE_AFTER_INTERVALS * interval_s + samples.LATE_AFTER_S)
    blocks, one_of = np.unique(keys_of(server_ids, places // SLOTS_PER_BLOCK), return_index=True)

    def of_winner(column: Sequence[float]) -> Floats:
        return np.array(column, number)[winners]

    return Rulebook(
        rules=Rules(
            sign=of_winner([one.sign for one in terms]),
            limits=np.stack([of_winner([one.limits[latch] for one in terms]) for latch in (WARNING, CRITICAL)]),
            clears=np.stack([of_winner([one.clears[latch] for one in terms]) for latch in (WARNING, CRITICAL)]),
            for_ms=of_winner([1000 * one.for_s for one in thresholds]).astype(np.int64),
            gap_ms=gap_ms[series_of],
        ),
        threshold_ids=of_winner([one.pk for one in thresholds]).astype(np.int64),
        no_data_ms=of_winner([1000 * (one.no_data_after_s or 0) for one in thresholds]).astype(np.int64),
        no_data_phase=of_winner([one.no_data_phase for one in terms]).astype(np.int64),
        series_of=series_of,
        series_ids=series.ids[members],
        keys=keys_of(server_ids, places),
        first=first,
        block_servers=blocks >> PLACE_BITS,
        blocks=blocks & (1 << PLACE_BITS) - 1,
        late_ms=late_ms[one_of],
    )
