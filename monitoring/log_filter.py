"""What the page of logs is asked to show: read from its address, and written back into one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from django.http import QueryDict
from django.urls import reverse
from django.utils.http import urlencode

from monitoring.logs.ask import Ask
from monitoring.logs.line import MAX_SOURCE, Level, Position
from monitoring.span import ANY_TIME, Span
from portal.toolkit.instants import at_ns

MOST_SERVERS, MOST_SOURCES = 200, 50
LONGEST_SEARCH = 500
LONGEST_ID = 18
LEVELS = {level.word: level for level in Level}


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Empty sets mean all. `at` is the line that the page opens at, `fold` says that repeated lines are one."""

    levels: frozenset[Level] = frozenset()
    servers: frozenset[int] = frozenset()
    sources: frozenset[str] = frozenset()
    span: Span = ANY_TIME
    words: str = ""
    at: Position | None = None
    fold: bool = False

    @classmethod
    def read(cls, query: QueryDict, own_zone: str) -> Self:
        """From the address, or a form's body. What is not understood is left out: an old link should still open."""
        return cls(
            levels=frozenset(LEVELS[word] for word in query.getlist("level") if word in LEVELS),
            servers=frozenset(_ids(query.getlist("server"))),
            sources=frozenset(_sources(query.getlist("source"))),
            span=Span.read(query, own_zone),
            words=clean_search(query.get("q", "")),
            at=position_in(query, "at"),
            fold=query.get("fold") == "1",
        )

    def ask(self, now: datetime) -> Ask:
        start, end = self.span.bounds(now)
        return Ask(
            levels=self.levels,
            servers=self.servers,
            sources=self.sources,
            start_ns=at_ns(start),
            end_ns=at_ns(end),
            words=self.words,
        )

    @property
    def narrows(self) -> bool:
        """Whether it shows less than everything."""
        return bool(self.levels or self.servers or self.sources or self.span.range or self.words)

    @property
    def parts(self) -> list[tuple[str, str]]:
        """Names and values, always in the same order, without `at`: for an address, or a form's hidden fields."""
        found = [("level", level.word) for level in sorted(self.levels)]
        found += [("server", str(server_id)) for server_id in sorted(self.servers)]
        found += [("source", source) for source in sorted(self.sources)]
        found += [*self.span.parts().items(), ("q", self.words), ("fold", "1" if self.fold else "")]
        return [(name, value) for name, value in found if value]

    @property
    def query(self) -> str:
        """`parts` as an address has them, to be put before others such as older=…; may be empty."""
        return urlencode(self.parts)

    def address(self, name: str = "monitoring:logs", /, **more: object) -> str:
        """The page that shows this, or what else has the name, with `more` said: at=…, older=…"""
        query = urlencode([*self.parts, *((word, str(value)) for word, value in more.items())])
        return reverse(name) + (f"?{query}" if query else "")


def position_in(query: QueryDict, name: str) -> Position | None:
    """The position that `name` says, such as older, newer, context; None when there is none."""
    try:
        return Position.parse(query.get(name, "")[:50]) if name in query else None
    except ValueError:
        return None


def clean_search(text: str) -> str:
    return text.replace("\x00", "").strip()[:LONGEST_SEARCH]


def _ids(found: Iterable[str]) -> list[int]:
    """Servers that there may be: whose they are is asked by who reads their lines."""
    good = [int(text) for text in found if text.isascii() and text.isdecimal() and len(text) <= LONGEST_ID]
    return list(dict.fromkeys(good))[:MOST_SERVERS]


def _sources(found: Iterable[str]) -> list[str]:
    good = [text for text in found if text and "\x00" not in text and len(text) <= MAX_SOURCE]
    return list(dict.fromkeys(good))[:MOST_SOURCES]
