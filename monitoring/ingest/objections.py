"""What the door refuses of a push that could be read: hosts, series and instants, with how many samples each had."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from monitoring.ingest.desk import Spots
from monitoring.ingest.points import Points, PointSeries, Rejected
from monitoring.ingest.refusals import Refusals
from monitoring.ingest.shelves import over_budget


class Objections:
    """Collects what is refused of a body; samples are counted only when something is."""

    def __init__(self, points: Points, spots: Spots) -> None:
        self._points = points
        self._spots = spots
        self._instants: dict[tuple[int, int], str] = {}

    def instant(self, server_id: int, at_ms: int, reason: str) -> None:
        """All samples of the server at that instant."""
        self._instants[server_id, at_ms] = reason

    def over_budget(self, most: int) -> str:
        """A series that the budget had no room for, "" when there is none."""
        used_up = over_budget(most)
        return next((_said(self._points.series[i]) for i, why in self._spots.objections.items() if why == used_up), "")

    def rejected(self) -> list[Rejected]:
        refusals = Refusals()
        for where, reason, count in (*self._series(), *self._late()):
            refusals.add(where, reason, count)
        return refusals.rejected()

    def _series(self) -> Iterator[tuple[str, str, int]]:
        if self._spots.objections:
            counts = np.bincount(self._points.which, minlength=len(self._points.series)).tolist()
            for index, reason in self._spots.objections.items():
                yield _said(self._points.series[index]), reason, counts[index]

    def _late(self) -> Iterator[tuple[str, str, int]]:
        if not self._instants:
            return
        hosts = {server_id: host for server_id, _, _, host in self._spots.blocks}
        group = self._spots.group[self._points.which]
        placed = group >= 0
        servers = np.array([block[0] for block in self._spots.blocks], np.int64)[group[placed]]
        pairs, counts = np.unique(np.stack([servers, self._points.at_ms[placed]]), axis=1, return_counts=True)
        for server_id, at_ms, count in zip(*pairs.tolist(), counts.tolist(), strict=True):
            reason = self._instants.get((server_id, at_ms))
            if reason is not None:
                yield f"{hosts[server_id]} at {at_ms / 1000:.3f}", reason, count


def _said(series: PointSeries) -> str:
    host, name = series
    return f"{host[:200]}: {name.metric[:200]}{name.labels[:200]}" if name.metric else host[:200]
