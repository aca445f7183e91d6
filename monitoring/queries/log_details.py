"""One line with everything that is known of it, and the lines around it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.urls import reverse
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from monitoring.log_filter import LogFilter
from monitoring.logs.ansi import without_ansi
from monitoring.logs.display import Marks, whole
from monitoring.logs.json_text import indented
from monitoring.logs.line import KeptLine, Level, Position
from monitoring.logs.search import context, line_at
from monitoring.models import Server
from monitoring.queries.log_rows import MOMENT, LogRow, Place, rows_of
from portal.toolkit.instants import from_ns, iso, time_tag

AROUND = 5
"""Lines of the same server before the line, and as many after it."""
NAME = re.compile(r"[^\W\d][\w.\-]*")
"""Of a field, as it can be typed before a colon."""
LONGEST_TERM = 100
CHART = timedelta(minutes=15)
"""How much of the charts is shown around a line, to each side."""


@dataclass(frozen=True, slots=True)
class LogField:
    """`address` adds it to what is searched for."""

    name: str
    value: str
    address: str


@dataclass(frozen=True, slots=True)
class LogDetails:
    """`iso` is its instant as programs write it; `server` is "" when there is none any more."""

    line: KeptLine
    at: SafeString
    iso: str
    level: Level
    server: str
    html: SafeString
    text: str
    fields: Sequence[LogField]
    around: Sequence[LogRow]
    link: str
    chart: str
    all_around: str
    this_server: str
    this_source: str
    this_level: str


def log_details(wanted: LogFilter, position: Position, servers: frozenset[int], marks: Marks) -> LogDetails | None:
    """None when there is no such line for who may see `servers`. Two looks at the lines and two queries for names."""
    line = line_at(position, servers=servers)
    if line is None:
        return None
    place, instant = Place(wanted), from_ns(position.at_ns)
    of_server = LogFilter(servers=frozenset({line.server_id}))
    around = context(position, servers=servers, before=AROUND, after=AROUND)
    text = indented(line.text) or line.text
    return LogDetails(
        line=line,
        at=time_tag(instant, MOMENT),
        iso=iso(instant),
        level=line.level,
        server=Server.objects.filter(pk=line.server_id).values_list("name", flat=True).first() or "",
        html=whole(text, marks),
        text=without_ansi(line.text),
        fields=[
            LogField(name, value, _with_term(wanted, field_term(name, value))) for name, value in line.fields.items()
        ],
        around=rows_of(Place(of_server), around.lines, marks),
        link=f"{place.page(at=position)}#line-{position}",
        chart=_chart(line.server_id, instant),
        all_around=f"{Place(of_server).page(at=position)}#line-{position}",
        this_server=Place(replace(wanted, servers=of_server.servers)).page(),
        this_source=Place(replace(wanted, sources=frozenset({line.source}))).page(),
        this_level=Place(replace(wanted, levels=frozenset({line.level}))).page(),
    )


def field_term(name: str, value: str) -> str:
    """What is typed to find lines with this field; of a long value the beginning."""
    said = f'"{" ".join(value.replace(chr(34), " ").split())[:LONGEST_TERM]}"'
    return f"{name}:{said}" if NAME.fullmatch(name) else said


def _with_term(wanted: LogFilter, term: str) -> str:
    words = wanted.words if term in wanted.words else f"{wanted.words} {term}".strip()
    return Place(replace(wanted, words=words)).page()


def _chart(server_id: int, instant: datetime) -> str:
    around = urlencode({"from": iso(instant - CHART), "to": iso(instant + CHART)})
    return f"{reverse('monitoring:server', args=[server_id])}?{around}"
