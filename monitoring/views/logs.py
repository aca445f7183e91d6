"""The page of logs, the same panel for a server's page, and the fragments that both fetch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from django.db import DatabaseError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from monitoring.access import audience_of, server_for, server_ids_for, servers_for
from monitoring.log_filter import LogFilter, position_in
from monitoring.logs.ask import Ask, Page, Tail
from monitoring.logs.display import Marks
from monitoring.logs.line import Position
from monitoring.logs.query import QueryError, parse
from monitoring.logs.search import line_at, search, tail
from monitoring.models.export import ExportKind
from monitoring.queries.log_chart import level_counts, levels, log_chart, says_counted
from monitoring.queries.log_choices import chips, server_choices, source_choices
from monitoring.queries.log_cursor import OF_SERVER, log_cursor
from monitoring.queries.log_details import log_details
from monitoring.queries.log_rows import FOLDED_LINES, PAGE_LINES, LogSheet, Place, after, rows_of, sheet
from monitoring.span import Span
from monitoring.views.add import may_add
from monitoring.views.exports import lines_of
from portal.toolkit.audit import person_of

AROUND = PAGE_LINES // 2
"""Lines above one that a link leads to."""
COUNTED = 1000
TAIL_LINES = 200


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for lines: whose, which, and how they are marked."""

    wanted: LogFilter
    servers: frozenset[int]
    ask: Ask
    marks: Marks

    @classmethod
    def of(cls, request: HttpRequest, wanted: LogFilter) -> Asked:
        """Raises QueryError. One query."""
        return cls(wanted, server_ids_for(request.user), wanted.ask(timezone.now()), parse(wanted.words).highlights)

    @property
    def limit(self) -> int:
        return FOLDED_LINES if self.wanted.fold else PAGE_LINES

    def page(self, *, older: Position | None = None, newer: Position | None = None, limit: int = 0) -> Page:
        return search(self.ask, servers=self.servers, older_than=older, newer_than=newer, limit=limit or self.limit)

    def tail(self, cursor: str, ask: Ask | None = None, limit: int = TAIL_LINES) -> Tail:
        return tail(ask or self.ask, servers=self.servers, cursor=cursor, limit=limit)

    def sheet(self, page: Page) -> LogSheet:
        return sheet(Place(self.wanted), page, self.marks)


def read_filter(request: HttpRequest) -> LogFilter:
    return LogFilter.read(request.GET, getattr(request.user, "time_zone", ""))


# --- The page and the panel -------------------------------------------------------------------------------------------
@never_cache
@require_safe
def logs(request: HttpRequest) -> HttpResponse:
    """The first lines with their filter; counts and bars follow."""
    wanted = read_filter(request)
    chosen = servers_for(request.user).filter(pk__in=wanted.servers).order_by("name").values_list("pk", "name")
    servers = list(chosen) if wanted.servers else []
    exports = lines_of(person_of(request), ExportKind.LOGS)
    context = _screen(request, wanted, audience_of(request.user)) | {
        "servers": servers,
        "chips": chips(wanted, servers),
        "everything": Place(LogFilter()).page(),
        "is_filtered": wanted.narrows,
        "export_lines": [one for one in exports if one.is_unfinished],
        "files": [one for one in exports if not one.is_unfinished],
    }
    return render(request, "monitoring/logs.html", context, status=503 if context["is_broken"] else 200)


@never_cache
@require_safe
def logs_panel(request: HttpRequest) -> HttpResponse:
    """The same for one server, to be put into its page."""
    said = request.GET.get("server", "")
    server = server_for(request.user, int(said) if said.isascii() and said.isdecimal() and len(said) < 18 else 0)
    wanted = replace(read_filter(request), servers=frozenset({server.pk}))
    plain = LogFilter(servers=wanted.servers)
    context = _screen(request, wanted, f"{OF_SERVER}{server.pk}") | {
        "server": server,
        "chips": chips(wanted, []),
        "everything": Place(plain).page(),
        "is_filtered": wanted.parts != plain.parts,
    }
    return render(request, "monitoring/_logs.html", context)


def _screen(request: HttpRequest, wanted: LogFilter, key: str) -> dict[str, Any]:
    """What stands on the first screen. What cannot be searched, or read, is said in it."""
    context: dict[str, Any] = {
        "wanted": wanted,
        "place": Place(wanted),
        "fold_address": Place(replace(wanted, fold=not wanted.fold)).page(),
        "levels": levels(wanted),
        "counted": says_counted(wanted),
        "ranges": Span.ranges(),
        "is_open": wanted.span.end is None,
        "is_broken": False,
        "sheet": None,
    }
    try:
        context |= _lines(request, Asked.of(request, wanted), key)
    except QueryError as error:
        context |= {"error": error, "error_parts": _split(wanted.words, error.position)}
    except DatabaseError:
        context["is_broken"] = True
    return context | {"can_add": not (context["sheet"] or context["is_broken"]) and may_add(request.user)}


def _lines(request: HttpRequest, asked: Asked, key: str) -> dict[str, Any]:
    """The cursor is older than the lines: what is committed between the two comes with the first tail."""
    context: dict[str, Any] = {"log_cursor": log_cursor(key), "cursor": asked.tail("").cursor}
    older, newer, at = position_in(request.GET, "older"), position_in(request.GET, "newer"), asked.wanted.at
    page = _around(asked, at) if at else asked.page(older=older, newer=newer)
    if at and all(line.position != at for line in page.lines):
        context["is_line_missing"] = True
        context["is_line_gone"] = line_at(at, servers=asked.servers) is None
        context["without_filter"] = f"{Place(LogFilter()).page(at=at)}#line-{at}"
    has_some = page.lines or page.searched_to
    return context | {"sheet": asked.sheet(page) if has_some else None, "is_start": not (older or newer or at)}


def _around(asked: Asked, at: Position) -> Page:
    """The line at `at` where it stands, between newer and older ones."""
    newer = asked.page(newer=at, limit=AROUND)
    older = asked.page(older=after(at))
    return Page(
        lines=newer.lines + older.lines,
        has_older=older.has_older,
        has_newer=newer.has_newer or newer.searched_to is not None,
        searched_to=older.searched_to,
    )


def _split(words: str, position: int) -> tuple[str, str, str]:
    """Before, at and after the place where a search cannot be understood."""
    return words[:position], words[position : position + 1], words[position + 1 :]


# --- Fragments --------------------------------------------------------------------------------------------------------
@never_cache
@require_safe
def logs_lines(request: HttpRequest) -> HttpResponse:
    """A page of lines beside a position; with `context` one line's details; with `tail` what arrived since a cursor."""
    try:
        asked = Asked.of(request, read_filter(request))
    except QueryError as error:
        return HttpResponse(str(error), status=400, content_type="text/plain; charset=utf-8")
    if "context" in request.GET:
        return _details(request, asked)
    if "tail" in request.GET:
        return _arrivals(request, asked)
    older, newer = position_in(request.GET, "older"), position_in(request.GET, "newer")
    cursor = "" if older or newer else asked.tail("").cursor
    page = asked.page(older=older, newer=newer)
    shown = _goes_on(asked, page) if newer and page.searched_to else asked.sheet(page)
    context = {"sheet": shown, "cursor": cursor}
    response = render(request, "monitoring/_log_rows.html", context)
    patch_vary_headers(response, ["HX-Request"])
    return response


def _goes_on(asked: Asked, page: Page) -> LogSheet:
    """Upwards nobody is asked whether to go on: those who scroll there have said so."""
    shown = asked.sheet(replace(page, searched_to=None, has_newer=True))
    return replace(shown, newer=Place(asked.wanted).lines(newer=page.searched_to))


def _details(request: HttpRequest, asked: Asked) -> HttpResponse:
    position = position_in(request.GET, "context")
    found = log_details(asked.wanted, position, asked.servers, asked.marks) if position else None
    if found is None:
        raise Http404(_("This line is not kept any more."))
    return render(request, "monitoring/_log_details.html", {"details": found})


def _arrivals(request: HttpRequest, asked: Asked) -> HttpResponse:
    """New lines to be put in their places. With `above` only those below it, and how many came above.

    Read before what is counted, so that no line is left out by both.
    """
    cursor, above = request.GET["tail"], position_in(request.GET, "above")
    if above is None:
        found, unseen = asked.tail(cursor), 0
    else:
        found, unseen = _late(asked, cursor, above)
    context = {"tail": found, "rows": rows_of(Place(asked.wanted), found.lines, asked.marks), "unseen": unseen}
    return render(request, "monitoring/_log_tail.html", context)


def _late(asked: Asked, cursor: str, above: Position) -> tuple[Tail, int]:
    """The lines that came late, to stand below `above`, and how many came that stand above it."""
    end_ns = min(above.at_ns + 1, asked.ask.end_ns or above.at_ns + 1)
    found = asked.tail(cursor, replace(asked.ask, end_ns=end_ns), COUNTED)
    found.lines = [line for line in found.lines if line.position < above]
    fresh = asked.tail(cursor, limit=COUNTED)
    return found, fresh.left_out + sum(line.position > above for line in fresh.lines)


@never_cache
@require_safe
def logs_histogram(request: HttpRequest) -> HttpResponse:
    """The levels with their counts, and the bars."""
    wanted, servers, now = read_filter(request), server_ids_for(request.user), timezone.now()
    chart = log_chart(wanted, servers, now)
    context = {
        "wanted": wanted,
        "place": Place(wanted),
        "levels": level_counts(wanted, servers, now),
        "chart": chart,
        "counted": says_counted(wanted),
    }
    return render(request, "monitoring/_log_counts.html", context)


@never_cache
@require_safe
def logs_choices(request: HttpRequest) -> HttpResponse:
    """The servers and sources that may be chosen: those with the most lines, and those that are chosen."""
    wanted, servers, now = read_filter(request), server_ids_for(request.user), timezone.now()
    lists = [
        ("server", server_choices(wanted, servers, now)),
        ("source", source_choices(wanted, servers, now)),
    ]
    return render(request, "monitoring/_log_choices.html", {"lists": lists})
