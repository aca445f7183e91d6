"""The one door for what is pushed: from samples in columns to frames that are kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from monitoring.history.codec import Ints
from monitoring.history.frame import Floats, Frame
from monitoring.history.record import record
from monitoring.ingest import desk, pace, shelves, tokens
from monitoring.ingest.desk import Spots
from monitoring.ingest.objections import Objections
from monitoring.ingest.points import Points, Rejected
from monitoring.models import PushToken

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
    spots = desk.spots_for(points, token)
    if points.counters:
        shelves.flag_counters(points.counters)
    told = Objections(points, spots)
    for frames in _frames(points, spots):
        recorded = record(frames, origin=origin)
        taken.kept += recorded.kept
        for refusal in recorded.refused:
            told.instant(refusal.server_id, refusal.at_ms, refusal.reason)
    taken.rejected += told.rejected()
    told_s = {pk: points.intervals_s[host] for pk, _, _, host in spots.blocks if host in points.intervals_s}
    pace.learn(pace.Seen(spots.blocks, spots.group, spots.column, points.which, points.at_ms), told_s)
    tokens.count(token.pk, taken.kept, taken.refused, told.over_budget(token.series_budget))
    return taken


def _frames(points: Points, spots: Spots) -> Iterator[list[Frame]]:
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
    widths = np.array([len(layout) for _, _, layout, _ in spots.blocks], np.int64)[group[starts]]
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
