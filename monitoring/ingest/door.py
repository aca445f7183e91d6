"""The one door for what is pushed: from samples in columns to frames that are kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.history.codec import Ints
from monitoring.history.frame import Floats, Frame, Layout, SeriesName
from monitoring.history.record import record
from monitoring.history.series import SeriesBudget
from monitoring.ingest import hosts, pace, shelves, tokens
from monitoring.ingest.points import Points, PointSeries, Rejected
from monitoring.models import PushToken

TOLD = 100
"""How many refusals are told one by one; the rest is counted by reason."""
CELLS_AT_ONCE = 8_000_000
"""Numbers that are laid out in memory at once: a body may touch many blocks, each in one series."""


@dataclass(slots=True)
class Taken:
    """What came of a push: samples kept and committed, gaps, and what was refused, `count` samples each.

    `rejected` has the decoder's refusals too.
    """

    kept: int = 0
    gaps: int = 0
    rejected: list[Rejected] = field(default_factory=list)

    @property
    def refused(self) -> int:
        return sum(each.count for each in self.rejected)


def take(points: Points, token: PushToken, *, origin: str) -> Taken:
    """Keep what `token` may send of `points`; the rest is refused, part by part.

    Committed when it returns, and safe to repeat: a (series, instant) that is already kept keeps its first value. Costs
    no query but `record`'s while hosts and series are known. Raises OperationalError when PostgreSQL is away; then some
    may be kept, and the same again does no harm. Must not be called inside a transaction.
    """
    taken = Taken(gaps=points.gaps, rejected=list(points.rejected))
    told = _Refusals(points)
    spots = _spots(points, token, told)
    if points.counters:
        shelves.flag_counters(points.counters)
    for frames in _frames(points, spots):
        recorded = record(frames, origin=origin)
        taken.kept += recorded.kept
        for refusal in recorded.refused:
            told.instant(spots.hosts_of[refusal.server_id], refusal.server_id, refusal.at_ms, refusal.reason)
    taken.rejected += told.rejected(spots)
    told_s = {pk: points.intervals_s[host] for pk, host in spots.hosts_of.items() if host in points.intervals_s}
    pace.learn(pace.Seen(spots.blocks, spots.group, spots.column, points.which, points.at_ms), told_s)
    tokens.count(token.pk, taken.kept, taken.refused, told.over_budget(token.series_budget))
    return taken


@dataclass(slots=True)
class _Spots:
    """Where the samples of each series of a body go: `group[i]` numbers a block of a server, -1 nowhere; `column[i]` is
    the place among the block's values. `blocks[group]` is the server's id, the block's number and the layout.
    """

    group: NDArray[np.intp]
    column: NDArray[np.intp]
    blocks: list[tuple[int, int, Layout]] = field(default_factory=list)
    hosts_of: dict[int, str] = field(default_factory=dict)


def _spots(points: Points, token: PushToken, told: _Refusals) -> _Spots:
    known = hosts.servers_of(token, dict.fromkeys(series.host for series in points.series), points.hosts)
    shelf_of, objections = _stock(points.series, known, token)
    count = len(points.series)
    spots = _Spots(np.full(count, -1, np.intp), np.zeros(count, np.intp))
    numbers: dict[tuple[int, int], int] = {}
    for index, (host, name) in enumerate(points.series):
        server_id = known[host]
        if isinstance(server_id, str):
            told.series(index, server_id)
            continue
        shelf = shelf_of[server_id]
        spot = shelf.spots.get(name)
        if spot is None:
            told.series(index, objections[server_id, name])
            continue
        number = numbers.get((server_id, spot.block))
        if number is None:
            number = numbers[server_id, spot.block] = len(spots.blocks)
            spots.blocks.append((server_id, spot.block, shelf.layouts[spot.block]))
            spots.hosts_of[server_id] = host
        spots.group[index], spots.column[index] = number, spot.column
    return spots


def _stock(series: Sequence[PointSeries], known: hosts.Known, token: PushToken) -> shelves.Stocked:
    """The shelves of the body's servers, with the series that are new; and why some of these got no place."""
    shelf_of = {pk: shelves.shelf(pk) for pk in known.values() if isinstance(pk, int)}
    wanted: dict[int, dict[SeriesName, None]] = defaultdict(dict)
    for host, name in series:
        server_id = known[host]
        if isinstance(server_id, int) and name not in shelf_of[server_id].spots:
            wanted[server_id][name] = None
    stocked = shelves.stock(wanted, SeriesBudget(token.pk, token.series_budget))
    return shelves.Stocked(shelf_of | stocked.shelves, stocked.objections)


def _frames(points: Points, spots: _Spots) -> Iterator[list[Frame]]:
    """The samples that have a place, as frames of one block and instant each, in portions that fit into memory.

    Of samples of the same series and instant the first counts.
    """
    group = spots.group[points.which]
    placed = np.flatnonzero(group >= 0)
    if not placed.size:
        return
    order = placed[np.lexsort((points.at_ms[placed], group[placed]))]
    group, at_ms = group[order], points.at_ms[order]
    starts = np.flatnonzero(np.append(True, (np.diff(group) != 0) | (np.diff(at_ms) != 0)))
    widths = np.array([len(layout) for _, _, layout in spots.blocks], np.int64)[group[starts]]
    ends = np.append(starts[1:], group.size)
    portion = (np.cumsum(widths) - 1) // CELLS_AT_ONCE
    for number in range(int(portion[-1]) + 1):
        chosen = np.flatnonzero(portion == number)
        first, last = int(starts[chosen[0]]), int(ends[chosen[-1]])
        samples = order[first:last]
        lengths = (ends - starts)[chosen]
        cells = _lay_out(widths[chosen], lengths, spots.column[points.which[samples]], points.values[samples])
        rows = zip(group[starts[chosen]].tolist(), at_ms[starts[chosen]].tolist(), cells, strict=True)
        yield [Frame(spots.blocks[row][0], at, spots.blocks[row][2], values) for row, at, values in rows]


def _lay_out(widths: Ints, lengths: Ints, columns: NDArray[np.intp], values: Floats) -> list[Floats]:
    """Rows of the given widths, NaN where nothing is; the next `lengths[i]` samples go into row i."""
    ends = np.cumsum(widths)
    cells = np.full(int(ends[-1]), np.nan)
    places = np.repeat(ends - widths, lengths) + columns
    cells[places[::-1]] = values[::-1]  # of two for one place the first is written last
    return [cells[end - width : end] for end, width in zip(ends.tolist(), widths.tolist(), strict=True)]


class _Refusals:
    """Collects what is refused of a body; samples are counted only when something is."""

    def __init__(self, points: Points) -> None:
        self._points = points
        self._series: dict[int, str] = {}
        self._instants: dict[tuple[int, int], tuple[str, str]] = {}

    def series(self, index: int, reason: str) -> None:
        self._series[index] = reason

    def instant(self, host: str, server_id: int, at_ms: int, reason: str) -> None:
        self._instants[server_id, at_ms] = (host, reason)

    def over_budget(self, most: int) -> str:
        """A series that the budget had no room for, "" when there is none."""
        used_up = shelves.over_budget(most)
        return next((_said(self._points.series[i]) for i, reason in self._series.items() if reason == used_up), "")

    def rejected(self, spots: _Spots) -> list[Rejected]:
        counts = np.bincount(self._points.which, minlength=len(self._points.series)) if self._series else np.empty(0)
        entries = [
            Rejected(_said(self._points.series[index]), reason, int(counts[index]))
            for index, reason in self._series.items()
        ]
        return _shortened([*entries, *self._late(spots)])

    def _late(self, spots: _Spots) -> Iterator[Rejected]:
        if not self._instants:
            return
        group = spots.group[self._points.which]
        placed = group >= 0
        servers = np.array([block[0] for block in spots.blocks], np.int64)[group[placed]]
        pairs, counts = np.unique(np.stack([servers, self._points.at_ms[placed]]), axis=1, return_counts=True)
        for server_id, at_ms, count in zip(*pairs.tolist(), counts.tolist(), strict=True):
            if (server_id, at_ms) in self._instants:
                host, reason = self._instants[server_id, at_ms]
                yield Rejected(f"{host} at {at_ms / 1000:.3f}", reason, count)


def _said(series: PointSeries) -> str:
    host, name = series
    return f"{host[:200]}: {name.metric[:200]}{name.labels[:200]}" if name.metric else host[:200]


def _shortened(entries: list[Rejected]) -> list[Rejected]:
    if len(entries) <= TOLD:
        return entries
    rest: dict[str, Any] = defaultdict(int)
    for entry in entries[TOLD:]:
        rest[entry.reason] += entry.count
    return entries[:TOLD] + [Rejected("others", reason, count) for reason, count in rest.items()]
