"""What a decoder could not take of a body, bounded: the first ones one by one, the rest counted by reason."""

from __future__ import annotations

from collections import Counter

import numpy as np

from monitoring.ingest.points import Points, Rejected

TOLD = 100
INFINITE = "infinity is not a measurement"


class Refusals:
    def __init__(self) -> None:
        self._first: list[Rejected] = []
        self._others: Counter[str] = Counter()

    def add(self, where: str, reason: str, count: int = 1) -> None:
        """`reason` is one of a few texts: what differs belongs into `where`."""
        if len(self._first) < TOLD:
            self._first.append(Rejected(where[:500], reason, count))
        else:
            self._others[reason] += count

    def rejected(self) -> list[Rejected]:
        return self._first + [Rejected("others", reason, count) for reason, count in self._others.items()]


def without_what_is_no_number(points: Points, refusals: Refusals) -> None:
    """NaN, Prometheus' stale markers among them, leave `points` as gaps; infinities go to `refusals` by name."""
    real = np.isfinite(points.values)
    if real.all():
        return
    for index in np.flatnonzero(np.isinf(points.values)).tolist():
        host, name = points.series[points.which[index]]
        refusals.add(f"{host}: {name.metric}{name.labels} at {points.at_ms[index] / 1000:.3f}", INFINITE)
    points.gaps += int(np.isnan(points.values).sum())
    points.which, points.at_ms, points.values = points.which[real], points.at_ms[real], points.values[real]
