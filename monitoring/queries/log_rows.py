"""Lines as pages show them: rows of a list, with the addresses of what is beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from django.utils.safestring import SafeString

from monitoring.log_filter import LogFilter
from monitoring.logs.ask import Page
from monitoring.logs.display import Marks, short
from monitoring.logs.fold import Folded, fold
from monitoring.logs.line import KeptLine, Level, Position
from monitoring.queries.names import server_names
from portal.toolkit.instants import from_ns, time_tag

PAGE_LINES = 50
FOLDED_LINES = 500
"""Of a page on which repeated lines are one."""
MOMENT = "moment"
"""How the browser says a line's instant: the clock with milliseconds, and the day when it is another."""


@dataclass(frozen=True, slots=True)
class LogRow:
    """`server` is "" when there is no such server any more; `count` lines are folded into it, since `first_at`."""

    position: Position
    address: str
    at: SafeString
    level: Level
    server_id: int
    server: str
    source: str
    html: SafeString
    cut: int
    count: int = 1
    first_at: SafeString | str = ""


@dataclass(frozen=True, slots=True)
class LogSheet:
    """Rows, newest first, of one page of the list; the addresses are "" where there is nothing.

    No line from the first row to `oldest` is missing. `older` and `newer` answer a fragment, `older_page` and
    `newer_page` a page. `is_halted`: the search was cut short at `searched_to`, and goes on when somebody says so.
    """

    rows: Sequence[LogRow]
    older: str
    newer: str
    older_page: str
    newer_page: str
    oldest: Position | None
    is_halted: bool = False
    searched_to: SafeString | str = ""


class Place(NamedTuple):
    """The list that shows what is wanted, and its addresses."""

    wanted: LogFilter

    def lines(self, **more: object) -> str:
        """A fragment."""
        return self.wanted.address("monitoring:logs_lines", **more)

    def page(self, **more: object) -> str:
        return self.wanted.address(**more)


def after(position: Position) -> Position:
    """What is older than it begins with the line at `position`."""
    return Position(position.at_ns, position.number + 1)


def sheet(place: Place, page: Page, marks: Marks) -> LogSheet:
    """One query, for the names of the servers."""
    rows = folded_rows(place, page.lines, marks) if place.wanted.fold else rows_of(place, page.lines, marks)
    newest = page.lines[0].position if page.lines else None
    oldest = page.lines[-1].position if page.lines else None
    reached = page.searched_to
    older = reached or (oldest if page.has_older else None)
    newer = newest if page.has_newer else None
    return LogSheet(
        rows=rows,
        older=place.lines(older=older) if older else "",
        newer=place.lines(newer=newer) if newer else "",
        older_page=place.page(older=older) if older else "",
        newer_page=place.page(newer=newer) if newer else "",
        oldest=reached or oldest,
        is_halted=reached is not None,
        searched_to=time_tag(from_ns(reached.at_ns), "clock") if reached else "",
    )


def rows_of(place: Place, lines: Sequence[KeptLine], marks: Marks) -> list[LogRow]:
    names = _names(lines)
    return [_row(place, line, names, marks) for line in lines]


def folded_rows(place: Place, lines: Sequence[KeptLine], marks: Marks) -> list[LogRow]:
    kinds = fold(lines)
    names = _names(kind.line for kind in kinds)
    return [_row(place, kind.line, names, marks, kind) for kind in kinds]


def _row(place: Place, line: KeptLine, names: dict[int, str], marks: Marks, folded: Folded | None = None) -> LogRow:
    is_repeated = folded is not None and folded.count > 1
    return LogRow(
        position=line.position,
        address=f"{place.page(at=line.position)}#line-{line.position}",
        at=time_tag(from_ns(line.position.at_ns), MOMENT),
        level=line.level,
        server_id=line.server_id,
        server=names.get(line.server_id, ""),
        source=line.source,
        html=short(line.text, marks).html,
        cut=line.cut,
        count=folded.count if folded else 1,
        first_at=time_tag(from_ns(folded.first_ns), MOMENT) if folded and is_repeated else "",
    )


def _names(lines: Iterable[KeptLine]) -> dict[int, str]:
    return server_names({line.server_id for line in lines})
