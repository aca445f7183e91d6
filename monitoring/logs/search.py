"""Finds lines: a page of them, one, those around it, those that came since.

Blocks are looked at in the order of their instants until nothing that was not looked at can be nearer. Each call sees
one snapshot, so what the merger does meanwhile changes nothing, and a line is on one page exactly.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from django.db import connection, transaction

from monitoring.logs import read
from monitoring.logs.ask import Ask, Page, Tail
from monitoring.logs.candidates import Candidates, Header, Keys, Span
from monitoring.logs.codec import Block
from monitoring.logs.cursor import arrived_since, is_cursor
from monitoring.logs.line import KeptLine, Position
from monitoring.logs.match import Matcher
from monitoring.logs.wanted import LAST_NUMBER, Servers, Wanted

FIRST_BLOCKS, MOST_BLOCKS = 2, 32
"""Blocks that are fetched in one query: twice as many each time, as many as seem to be needed at most."""


def search(
    ask: Ask,
    *,
    servers: Servers,
    older_than: Position | None = None,
    newer_than: Position | None = None,
    limit: int = 50,
    deadline_s: float = 2.0,
) -> Page:
    """The newest lines that fit `ask`, of these servers (None: all); older than a position, or newer than one: then
    those next to it. Newest first, always.

    With `searched_to` the time was over: the page has what there is up to there, and `older_than` (`newer_than`) of it
    goes on. Raises QueryError. A snapshot of its own; about one query for each doubling of the blocks looked at.
    """
    began = time.monotonic()
    is_newest_first = newer_than is None or older_than is not None
    wanted = Wanted.of(ask, servers)
    span = wanted.span(older_than, newer_than)
    page = Page(has_newer=older_than is not None, has_older=newer_than is not None)
    if span is None or not wanted.may_fit:
        return page
    with _snapshot():
        walk = _Walk(wanted.matcher(span), wanted.keys, span, is_newest_first, limit, older_than, newer_than)
        is_whole = walk.go(began + deadline_s)
        found = walk.settled()
        lines = [block.line(index) for _, (block, index) in found[:limit]]
    has_more = len(found) > limit or not is_whole
    if is_newest_first:
        page.lines, page.has_older = lines, has_more
    else:
        page.lines, page.has_newer = lines[::-1], has_more
    if not is_whole and len(found) <= limit:
        page.searched_to = walk.searched_to()
    return page


def line_at(position: Position, *, servers: Servers) -> KeptLine | None:
    """The line that stands there, if it is of these servers (None: of any) and still shown."""
    wanted = Wanted.of(Ask(start_ns=position.at_ns, end_ns=position.at_ns + 1), servers)
    span = wanted.span(None, None)
    if span is None:
        return None
    with _snapshot():
        matcher = wanted.matcher(span)
        for block in _blocks(Candidates(span, wanted.keys, newest_first=True)):
            for index in matcher.lines(block).tolist():
                if block.number(index) == position.number:
                    return block.line(index)
    return None


def context(
    position: Position, *, servers: Servers, before: int = 20, after: int = 20, same_source: bool = False
) -> Page:
    """The line that stands there with the lines of its server before and after it, of its source alone if so asked;
    without lines when it is not there for these servers."""
    line = line_at(position, servers=servers)
    if line is None:
        return Page()
    ask = Ask(servers=frozenset({line.server_id}), sources=frozenset({line.source} if same_source else ()))
    older = search(ask, servers=servers, older_than=position, limit=before)
    newer = search(ask, servers=servers, newer_than=position, limit=after)
    return Page([*newer.lines, line, *older.lines], has_older=older.has_older, has_newer=newer.has_newer)


def tail(ask: Ask, *, servers: Servers, cursor: str, limit: int = 200) -> Tail:
    """The lines that were committed since `cursor` ("": none, only where to begin) and fit; nothing that is committed
    late is missed. Raises QueryError. Its cost is what arrived since."""
    wanted = Wanted.of(ask, servers)
    span = wanted.span(None, None)
    with _snapshot():
        since = arrived_since(cursor if is_cursor(cursor) else "")
        found = Tail(since.cursor, is_gap=since.is_gap or bool(cursor and not is_cursor(cursor)))
        if span is None or not wanted.may_fit or found.is_gap:
            return found
        matcher = wanted.matcher(span)
        fitting = [(block, matcher.lines(block)) for block in read.blocks(since.blocks).values()]
        nearest = heapq.nlargest(limit, (at for block, some in fitting for at in block.at_ns[some].tolist()))
        lines = {
            block.position(index): (block, index)
            for block, some in fitting
            for index in some[block.at_ns[some] >= (nearest or [0])[-1]].tolist()
        }
        chosen = [lines[position] for position in sorted(lines, reverse=True)[:limit]]
        found.lines = [block.line(index) for block, index in chosen]
        found.left_out = max(0, sum(len(some) for _, some in fitting) - limit)
    return found


@contextmanager
def _snapshot() -> Iterator[None]:
    """Every query inside sees the same. Who is in a transaction already has what it has."""
    if connection.in_atomic_block:
        yield
        return
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


@dataclass
class _Walk:
    """Looks at blocks until `limit` lines and one more are settled: nothing unseen can come before them."""

    matcher: Matcher
    keys: Keys
    span: Span
    is_newest_first: bool
    limit: int
    older_than: Position | None
    newer_than: Position | None
    found: dict[Position, tuple[Block, int]] = field(default_factory=dict)
    looked_at: int = 0

    def __post_init__(self) -> None:
        self.candidates = Candidates(self.span, self.keys, newest_first=self.is_newest_first)

    def go(self, until: float) -> bool:
        """Whether it came to an end before time.monotonic() was `until`."""
        count = FIRST_BLOCKS
        while not self.candidates.is_over:
            headers = self.candidates.take(count)
            for block in _read(headers):
                self._look(block)
            self.looked_at += len(headers)
            settled = len(self.settled())
            if settled > self.limit:
                return True
            if time.monotonic() > until and self._has_come_on():
                return False
            count = self._next_count(count if not headers else 2 * count)
        return True

    def _has_come_on(self) -> bool:
        """Whether something is settled, and something left to look at: who goes on from there must not stand still."""
        reach_ns = self.candidates.reach_ns
        if reach_ns is None:
            return False
        return reach_ns < self.span.end_ns if self.is_newest_first else reach_ns > self.span.start_ns

    def _next_count(self, most: int) -> int:
        """As many as the lines that were found so far let expect."""
        missing = self.limit + 1 - len(self.found)
        if self.found and missing > 0:
            most = min(most, 1 + missing * self.looked_at * 5 // (4 * len(self.found)))
        return min(max(most, 1), MOST_BLOCKS)

    def _look(self, block: Block) -> None:
        """Keep the lines of a block that are nearest, and those of the same instant as the last of them."""
        indexes = self.matcher.lines(block)
        nearest = indexes[::-1] if self.is_newest_first else indexes
        mine: set[Position] = set()
        last_ns = -1
        for index in nearest.tolist():
            at_ns = int(block.at_ns[index])
            if len(mine) > self.limit and at_ns != last_ns:
                break
            position = Position(at_ns, block.number(index))
            if self._is_beyond(position):
                mine.add(position)
                last_ns = at_ns
                self.found.setdefault(position, (block, index))

    def _is_beyond(self, position: Position) -> bool:
        return (self.older_than is None or position < self.older_than) and (
            self.newer_than is None or position > self.newer_than
        )

    def settled(self) -> list[tuple[Position, tuple[Block, int]]]:
        """What was found and can have nothing unseen before it, in order, the nearest first."""
        reach_ns = self.candidates.reach_ns
        sure = list(self.found.items())
        if reach_ns is not None:
            newest = self.is_newest_first
            sure = [(at, line) for at, line in sure if (at.at_ns > reach_ns if newest else at.at_ns < reach_ns)]
        return sorted(sure, key=lambda each: each[0], reverse=self.is_newest_first)

    def searched_to(self) -> Position:
        """What comes after it was looked at, what comes before it was not (the other way round, if oldest first)."""
        reach_ns = self.candidates.reach_ns
        assert reach_ns is not None
        if self.is_newest_first:
            return Position(reach_ns + 1, 0)
        return Position(reach_ns - 1, LAST_NUMBER)


def _read(headers: list[Header]) -> list[Block]:
    found = read.blocks([(header.day, header.id) for header in headers])
    return list(found.values())


def _blocks(candidates: Candidates) -> Iterator[Block]:
    while not candidates.is_over:
        yield from _read(candidates.take(MOST_BLOCKS))
