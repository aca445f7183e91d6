"""Which blocks may have lines that are looked for, in the order in which they are looked at."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import reduce
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from django.db import connection
from numpy.typing import NDArray

from monitoring.logs import sieve

Keys = Sequence[Sequence[Sequence[int]]]
"""Of each group one alternative, and of that all keys (at least one), are in every block that has such a line."""

FIRST_SIEVES, MOST_SIEVES = 2, 128
"""Sieves that are asked in one query: few at first, four times as many each time."""
_ALL = 2**64 - 1
_FIRST_KEY = 3
"""Of the columns of what sieves are asked, the one of the first key."""


class Header(NamedTuple):
    """A block, without its lines; both instants are inclusive."""

    id: int
    day: date
    first_ns: int
    last_ns: int


@dataclass(frozen=True, slots=True)
class Span:
    """Instants, both inclusive."""

    start_ns: int
    end_ns: int

    @property
    def days(self) -> list[date]:
        """The first day and the last (UTC)."""
        return [_day(self.start_ns), _day(self.end_ns)]


class Candidates:
    """Blocks that overlap `span`: newest first by their last instant, or oldest first by their first.

    To be used within one snapshot: blocks that are merged meanwhile would be seen twice, or not at all.
    """

    def __init__(self, span: Span, keys: Keys, *, newest_first: bool) -> None:
        self._span = span
        self._keys = keys
        self._is_newest_first = newest_first
        self._sieves = _Sieves(span, keys, newest_first=newest_first)
        self._waiting = self._in_order(_loose(span))

    @property
    def is_over(self) -> bool:
        return not self._waiting and self._sieves.frontier_ns is None

    @property
    def reach_ns(self) -> int | None:
        """The lines of no block that was not taken yet are newer (older, if oldest first); None: all were taken."""
        edges = [self._edge(self._waiting[-1])] if self._waiting else []
        if self._sieves.frontier_ns is not None:
            edges.append(self._sieves.frontier_ns)
        if not edges:
            return None
        return max(edges) if self._is_newest_first else min(edges)

    def take(self, count: int) -> list[Header]:
        """The next blocks, at most `count`; maybe none while there are more."""
        if self._must_ask():
            self._waiting = self._in_order([*self._waiting, *self._sieves.ask()])
        taken: list[Header] = []
        while self._waiting and len(taken) < count and not self._must_ask():
            taken.append(self._waiting.pop())
        return taken

    def _must_ask(self) -> bool:
        """Whether blocks that were not heard of may come before the next."""
        frontier_ns = self._sieves.frontier_ns
        if frontier_ns is None or not self._waiting:
            return frontier_ns is not None
        edge = self._edge(self._waiting[-1])
        return edge < frontier_ns if self._is_newest_first else edge > frontier_ns

    def _edge(self, header: Header) -> int:
        return header.last_ns if self._is_newest_first else header.first_ns

    def _in_order(self, headers: list[Header]) -> list[Header]:
        """The next one last."""
        return sorted(headers, key=self._edge, reverse=not self._is_newest_first)


class _Sieves:
    """Asks the sieves, some at a time."""

    def __init__(self, span: Span, keys: Keys, *, newest_first: bool) -> None:
        self._span = span
        self._groups = keys
        self._keys = list(dict.fromkeys(key for group in keys for some in group for key in some))
        self._is_newest_first = newest_first
        self._last_id = 2**63 - 1 if newest_first else 0
        self._count = FIRST_SIEVES
        self.frontier_ns: int | None = 2**63 - 1 if newest_first else 0
        """Sieves that were not asked have no block beyond; None: all were asked."""

    def ask(self) -> list[Header]:
        """Blocks of the next sieves that may have the keys. Three queries at most."""
        rows = self._rows()
        if len(rows) < self._count:
            self.frontier_ns = None
        else:
            self._last_id, self.frontier_ns = rows[-1][0], rows[-1][2]
        self._count = min(4 * self._count, MOST_SIEVES)
        hits = zip(rows, self._blocks(rows).tolist(), strict=True)
        return _headers({row[0]: (row[1], blocks) for row, blocks in hits if blocks}, self._span)

    def _rows(self) -> list[tuple[Any, ...]]:
        """(id, day, where its frontier is, the bucket of each key)."""
        frontier, beyond, order = ("last_ns", "<", "DESC") if self._is_newest_first else ("first_ns", ">", "ASC")
        buckets = ", substring(bits, 1 + (%s %% buckets) * %s, %s)" * len(self._keys)
        places = ((sieve.bucket_number(key), sieve.BUCKET_BYTES, sieve.BUCKET_BYTES) for key in self._keys)
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                SELECT id, day, {frontier}{buckets} FROM (
                    SELECT * FROM monitoring_logsieve
                    WHERE day BETWEEN %s AND %s AND last_ns >= %s AND first_ns <= %s
                        AND ({frontier}, id) {beyond} (%s, %s)
                    ORDER BY {frontier} {order}, id {order} LIMIT %s
                ) AS next ORDER BY {frontier} {order}, id {order}
                """,  # noqa: S608
                [
                    *chain.from_iterable(places),
                    *self._span.days,
                    self._span.start_ns,
                    self._span.end_ns,
                    self.frontier_ns,
                    self._last_id,
                    self._count,
                ],
            )
            return list(cursor.fetchall())

    def _blocks(self, rows: Sequence[Sequence[Any]]) -> NDArray[np.uint64]:
        """Of each row the bits of the blocks that may have one alternative of each group."""
        has = {
            key: sieve.blocks_with(key, [row[place] for row in rows])
            for place, key in enumerate(self._keys, _FIRST_KEY)
        }
        blocks = np.full(len(rows), _ALL, np.uint64)
        for group in self._groups:
            alternatives = [reduce(np.bitwise_and, [has[key] for key in some]) for some in group]
            blocks = blocks & reduce(np.bitwise_or, alternatives)
        return blocks


def _loose(span: Span) -> list[Header]:
    """Blocks that no sieve knows."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id, day, first_ns, last_ns FROM monitoring_logblock
            WHERE sieve_id IS NULL AND day BETWEEN %s AND %s AND last_ns >= %s AND first_ns <= %s
            """,
            [*span.days, span.start_ns, span.end_ns],
        )
        return [Header(*row) for row in cursor.fetchall()]


def _headers(hits: dict[int, tuple[date, int]], span: Span) -> list[Header]:
    """The chosen blocks of these sieves, by the sieve's id: (its day, the bits)."""
    if not hits:
        return []
    days = sorted({day for day, _ in hits.values()})
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, block_ids FROM monitoring_logsieve WHERE day = ANY(%s) AND id = ANY(%s)", [days, list(hits)]
        )
        ids = [
            block_id
            for sieve_id, block_ids in cursor.fetchall()
            for place, block_id in enumerate(block_ids)
            if hits[sieve_id][1] >> place & 1
        ]
        cursor.execute(
            """
            SELECT id, day, first_ns, last_ns FROM monitoring_logblock
            WHERE tier > 0 AND day = ANY(%s) AND id = ANY(%s) AND last_ns >= %s AND first_ns <= %s
            """,
            [days, ids, span.start_ns, span.end_ns],
        )
        return [Header(*row) for row in cursor.fetchall()]


def keys_fit(groups: Collection[Collection[Sequence[int]]]) -> Keys:
    """Without empty groups, and those of which an alternative has no key: these say nothing about blocks."""
    return [list(group) for group in groups if group and all(group)]


def _day(at_ns: int) -> date:
    return datetime.fromtimestamp(min(max(at_ns, 0), _LAST_NS) // 1_000_000_000, UTC).date()


_LAST_NS = 253_402_300_799 * 1_000_000_000
