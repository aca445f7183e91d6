"""Samples of one series gathered into buckets of equal length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from monitoring.history.codec import Ints
from monitoring.history.frame import Floats


@dataclass(frozen=True, slots=True)
class Buckets:
    """Buckets that have samples, ascending: the instant at which each begins (epoch ms), and of its samples how many,
    the lowest, the highest, the sum and the newest.
    """

    at_ms: Ints
    count: Ints
    least: Floats
    most: Floats
    total: Floats
    last: Floats

    def between(self, start_ms: int, end_ms: int) -> Buckets:
        if len(self.at_ms) and start_ms <= self.at_ms[0] and self.at_ms[-1] < end_ms:
            return self
        rows = slice(*np.searchsorted(self.at_ms, (start_ms, end_ms)))
        numbers = (self.least[rows], self.most[rows], self.total[rows], self.last[rows])
        return Buckets(self.at_ms[rows], self.count[rows], *numbers)

    def onto(self, step_ms: int) -> Buckets:
        """These buckets, or samples, gathered into buckets of `step_ms`."""
        if not len(self.at_ms):
            return self
        at_ms = self.at_ms // step_ms * step_ms
        first = np.flatnonzero(np.append(True, np.diff(at_ms) != 0))
        with np.errstate(over="ignore", invalid="ignore"):  # a sum may be more than a float64 holds
            return Buckets(
                at_ms[first],
                np.add.reduceat(self.count, first),
                np.minimum.reduceat(self.least, first),
                np.maximum.reduceat(self.most, first),
                np.add.reduceat(self.total, first),
                self.last[np.append(first[1:], len(at_ms)) - 1],
            )


_NO_INTS, _NO_FLOATS = np.empty(0, np.int64), np.empty(0, np.float64)
NOTHING = Buckets(_NO_INTS, _NO_INTS, _NO_FLOATS, _NO_FLOATS, _NO_FLOATS, _NO_FLOATS)


def of_samples(at_ms: Ints, values: Floats) -> Buckets:
    """Each sample as a bucket of its own."""
    return Buckets(at_ms, np.ones(len(at_ms), np.int64), values, values, values, values)


def joined(parts: Sequence[Buckets]) -> Buckets:
    """Parts that follow each other in time as one."""
    if len(parts) == 1:
        return parts[0]
    return Buckets(
        np.concatenate([part.at_ms for part in parts]),
        np.concatenate([part.count for part in parts]),
        np.concatenate([part.least for part in parts]),
        np.concatenate([part.most for part in parts]),
        np.concatenate([part.total for part in parts]),
        np.concatenate([part.last for part in parts]),
    )


def numbers_of(values: Floats, first: Ints) -> list[Floats]:
    """Lowest, highest, sum and newest of each group of `values`, which begin at the places `first`."""
    with np.errstate(over="ignore", invalid="ignore"):  # a sum may be more than a float64 holds
        total = np.add.reduceat(values, first)
    last = values[np.append(first[1:], len(values)) - 1]
    return [np.minimum.reduceat(values, first), np.maximum.reduceat(values, first), total, last]


class Grid:
    """Buckets of several series in cells of `step_ms`, a row for each series: filled as one, whatever they come from.

    Cell j begins at `first_ms` + j · `step_ms`. Where `count` is 0 there is nothing, whatever the other columns hold.
    """

    def __init__(self, series: int, first_ms: int, end_ms: int, step_ms: int) -> None:
        self.first_ms = first_ms // step_ms * step_ms
        self.step_ms = step_ms
        self.cells = max(0, -(-(end_ms - self.first_ms) // step_ms))
        self.count = np.zeros((series, self.cells), np.int64)
        self.numbers = [np.empty((series, self.cells)) for _ in range(4)]
        """Lowest, highest, sum, newest."""

    def cells_of(self, at_ms: Ints) -> Ints:
        return (at_ms - self.first_ms) // self.step_ms

    def put(self, rows: Ints, at_ms: Ints, count: Ints, numbers: Sequence[Floats]) -> None:
        """Buckets of which no cell has two; those outside are left out."""
        cells = self.cells_of(at_ms)
        inside = (cells >= 0) & (cells < self.cells)
        where = rows[inside], cells[inside]
        self.count[where] = count[inside]
        for column, values in zip(self.numbers, numbers, strict=True):
            column[where] = values[inside]

    def put_samples(self, rows: Ints, at_ms: Ints, values: Floats) -> None:
        """Samples in the order of rows and instants, into cells that are empty."""
        if not len(rows):
            return
        keys = rows * self.cells + self.cells_of(at_ms)
        first = np.flatnonzero(np.append(True, np.diff(keys) != 0))
        self.put(rows[first], at_ms[first], np.diff(np.append(first, len(keys))), numbers_of(values, first))

    def buckets(self) -> list[Buckets]:
        """Those of each row."""
        at_ms = self.first_ms + np.arange(self.cells) * self.step_ms
        there = self.count > 0
        full = np.logical_and.reduce(there, axis=1)
        return [self._row(row, at_ms, slice(None) if full[row] else there[row]) for row in range(len(there))]

    def _row(self, row: int, at_ms: Ints, there: Any) -> Buckets:
        return Buckets(at_ms[there], self.count[row][there], *(column[row][there] for column in self.numbers))
