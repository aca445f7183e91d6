"""Lines of logs as a file, the oldest first."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

import orjson
from django.contrib.auth.models import AbstractUser
from django.utils.translation import gettext as _

from monitoring.access import server_ids_for
from monitoring.exports import cells
from monitoring.exports.asking import ExportError, make
from monitoring.exports.portion import Portion
from monitoring.log_filter import LEVELS
from monitoring.logs.ask import Ask
from monitoring.logs.line import KeptLine, Position
from monitoring.logs.query import QueryError
from monitoring.logs.search import search
from monitoring.logs.told import stamp, told
from monitoring.models.export import Export, ExportKind
from monitoring.queries.names import server_names
from portal.toolkit.instants import at_ns, from_ns

CONTENT_TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}
COLUMNS = ("timestamp", "level", "server", "source", "text", "fields", "cut", "id")
PAGE_LINES = 1000
PORTION_BYTES = 4 * 1024 * 1024
"""Of a file, unpacked: about as much of it is in memory at a time, and one page of lines."""
PORTION_S = 5.0
"""Of looking for lines: a lease must not end over a word that is rare."""
FIRST_S = 0.5
BEFORE_ALL = Position(0, 0)


def ask(person: AbstractUser, wanted: Ask, format: str, now: datetime) -> Export:
    """A new export of the lines that fit `wanted` until now and that `person` may see, waiting for a worker.

    Raises ExportError.
    """
    if format not in CONTENT_TYPES:
        raise ExportError("unknown_format", _("A file is csv or jsonl."))
    wanted = replace(wanted, end_ns=min(wanted.end_ns or at_ns(now), at_ns(now)))
    return make(
        person,
        kind=ExportKind.LOGS,
        asked=_asked(wanted),
        starts_at=_first_line(wanted, server_ids_for(person)),
        ends_at=from_ns(wanted.end_ns or 0),
        format=format,
    )


def stem(export: Export) -> str:
    return "logs"


def portions(export: Export) -> Iterator[Portion]:
    """Some megabytes of lines each. Whose lines may be in one is asked anew for each."""
    wanted = _ask_of(export)
    reached = Position.parse(export.reached) if export.reached else BEFORE_ALL
    body = b"" if export.reached else WRITERS[export.format].head
    is_last = False
    while not is_last:
        taken = _Taken(export.format, bytearray(body), reached)
        is_last = taken.fill(wanted, server_ids_for(export.person))
        reached, body = taken.reached, b""
        until = export.ends_at if is_last else from_ns(reached.at_ns)
        yield Portion(bytes(taken.body), taken.rows, until, str(reached), frozenset(taken.servers), is_last)


@dataclass(slots=True)
class _Taken:
    """A portion that grows: what is in it, and the line up to which it reaches."""

    format: str
    body: bytearray
    reached: Position
    rows: int = 0
    servers: set[int] = field(default_factory=set)

    def fill(self, wanted: Ask, seen: frozenset[int]) -> bool:
        """Add pages of lines of the servers `seen` until it is large enough; whether no more come."""
        names = server_names(seen)
        until = time.monotonic() + PORTION_S
        while len(self.body) < PORTION_BYTES and time.monotonic() < until:
            page = search(wanted, servers=seen, newer_than=self.reached, limit=PAGE_LINES)
            self._add(page.lines[::-1], names)
            self.reached = page.searched_to or self.reached
            if not page.has_newer and not page.searched_to:
                return True
        return False

    def _add(self, lines: Sequence[KeptLine], names: Mapping[int, str]) -> None:
        write = WRITERS[self.format].line
        for line in lines:
            self.body += write(line, names)
            self.servers.add(line.server_id)
            self.reached = line.position
        self.rows += len(lines)


# --- Formats ----------------------------------------------------------------------------------------------------------


class Writer(Protocol):
    head: bytes

    def line(self, line: KeptLine, names: Mapping[int, str]) -> bytes: ...


class Csv:
    """A line of CSV for each; one with line ends in its text is several lines of the file."""

    head = cells.line(COLUMNS).encode()

    def line(self, line: KeptLine, names: Mapping[int, str]) -> bytes:
        said = (names.get(line.server_id, ""), line.source, line.text)
        fields = orjson.dumps(dict(line.fields)).decode() if line.fields else ""
        about = (stamp(line.position.at_ns), line.level.word)
        texts = (cells.cell(text) for text in (*said, fields))
        return cells.line((*about, *texts, str(line.cut), str(line.position))).encode()


class JsonLines:
    """An object a line, the same as the API's."""

    head = b""

    def line(self, line: KeptLine, names: Mapping[int, str]) -> bytes:
        return orjson.dumps(told(line, names)) + b"\n"


WRITERS: dict[str, Writer] = {"csv": Csv(), "jsonl": JsonLines()}


# --- What was asked for -----------------------------------------------------------------------------------------------


def _asked(wanted: Ask) -> dict[str, Any]:
    return {
        "levels": [level.word for level in sorted(wanted.levels)],
        "servers": sorted(wanted.servers),
        "sources": sorted(wanted.sources),
        "words": wanted.words,
    }


def _ask_of(export: Export) -> Ask:
    asked = export.asked
    return Ask(
        levels=frozenset(LEVELS[word] for word in asked["levels"]),
        servers=frozenset(asked["servers"]),
        sources=frozenset(asked["sources"]),
        start_ns=at_ns(export.starts_at),
        end_ns=at_ns(export.ends_at),
        words=asked["words"],
    )


def _first_line(wanted: Ask, seen: frozenset[int]) -> datetime:
    """When the first line was, or how far could be looked for it: then the share that is done tells how long it still
    takes. Raises ExportError."""
    try:
        page = search(wanted, servers=seen, newer_than=BEFORE_ALL, limit=1, deadline_s=FIRST_S)
    except QueryError as error:
        raise ExportError("bad_search", str(error)) from error
    if page.lines:
        return from_ns(page.lines[0].position.at_ns)
    if page.searched_to:
        return from_ns(page.searched_to.at_ns)
    raise ExportError("no_lines", _("There is no such line."))
