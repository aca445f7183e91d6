"""The lines of logs, page by page, and as a file."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Annotated, Any, Literal

import orjson
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.utils import timezone
from django.utils.cache import get_conditional_response, patch_vary_headers
from django.utils.translation import gettext as _
from ninja import Field, Query, Router, Schema
from pydantic import AfterValidator

from monitoring.access import Person, server_ids_for, servers_for
from monitoring.api.asked import LONGEST_ID, Instant
from monitoring.api.exports import ExportOut, accepted, refused
from monitoring.api.shapes import ERRORS, ErrorOut
from monitoring.exports import logs as files
from monitoring.exports.asking import ExportError
from monitoring.log_filter import LEVELS, LONGEST_SEARCH, MOST_SERVERS, MOST_SOURCES, clean_search
from monitoring.logs.ask import Ask, Page
from monitoring.logs.counts import totals
from monitoring.logs.line import Position
from monitoring.logs.query import QueryError
from monitoring.logs.search import search
from monitoring.logs.told import told
from monitoring.queries.names import server_names
from monitoring.span import Span
from portal.toolkit.api import ApiError
from portal.toolkit.audit import person_of
from portal.toolkit.deadline import queries_in_time
from portal.toolkit.instants import at_ns

router = Router(tags=["Logs"])

MOST_LINES, USUAL_LINES = 1000, 100
LevelWord = Literal["debug", "info", "warning", "error"]
assert set(LevelWord.__args__) == set(LEVELS)  # type: ignore[attr-defined]
RangeWord = Literal["", "1h", "6h", "24h", "7d", "30d"]
assert set(RangeWord.__args__) - {""} == set(Span.RANGES)  # type: ignore[attr-defined]


def _position(text: str) -> str:
    if text:
        try:
            Position.parse(text)
        except ValueError:
            raise ValueError(_("That is no position: take “id”, “older” or “newer” of an answer.")) from None
    return text


PositionText = Annotated[str, Field(max_length=50), AfterValidator(_position)]


class LineServerOut(Schema):
    id: str
    name: str


class LineOut(Schema):
    id: str = Field(description="Its position: what `older` and `newer` take; `/logs/?at=` shows it.")
    at: str = Field(description="ISO 8601 in UTC, with nanoseconds.")
    level: LevelWord
    server: LineServerOut
    source: str
    text: str = Field(description="As it was sent; escape sequences and control characters too.")
    fields: dict[str, str]
    cut: int = Field(description="Bytes of its text that were not kept.")


class LinesOut(Schema):
    """Lines, newest first, whatever was asked for."""

    lines: list[LineOut]
    older: str | None = Field(description="What `older` takes for the lines before these; null: there are none.")
    newer: str | None = Field(description="What `newer` takes for the lines after these; null: there are none now.")
    searched_to: str | None = Field(
        alias="searchedTo",
        description="The time for an answer was over here: go on with it as `older`, or `newer` if that was asked for.",
    )
    total: int | None = Field(description="With `count`: lines of these filters, but for `q`, which null says.")


class LinesAsked(Schema):
    """The filters of the page, by the same names."""

    level: list[LevelWord] = Field([], description="Repeated; none: all.")
    server: list[str] = Field([], max_length=MOST_SERVERS, description="Ids or names, repeated; none: all.")
    source: list[str] = Field([], max_length=MOST_SOURCES, description="Repeated; none: all.")
    range: RangeWord = Field("", description="The last hours or days; instead of `from` and `to`.")
    start: Instant | None = Field(None, alias="from", description="Not before this instant; UTC without a zone.")
    end: Instant | None = Field(None, alias="to", description="Before this instant; UTC without a zone.")
    q: str = Field("", max_length=LONGEST_SEARCH, description='Words, "phrases", prefix*, -not, field:value, OR.')


class LinesQuery(LinesAsked):
    older: PositionText = Field("", description="Lines before this one.")
    newer: PositionText = Field("", description="The lines that come right after this one.")
    limit: int = Field(USUAL_LINES, ge=1, le=MOST_LINES)
    count: bool = Field(False, description="Say `total` too.")


class LinesExportIn(LinesAsked):
    format: Literal["csv", "jsonl"] = "csv"


@router.get(
    "/monitoring/logs",
    response={200: LinesOut, **ERRORS, 404: ErrorOut},
    by_alias=True,
    summary="Lines of logs, page by page",
    url_name="logs",
)
def logs(request: HttpRequest, asked: Query[LinesQuery]) -> HttpResponseBase:
    """The newest lines that you may see, or those beside a position. It stays where it is while lines arrive."""
    if asked.older and asked.newer:
        raise ApiError(400, _("Ask for lines that are older or for newer ones, not for both."))
    with queries_in_time():
        seen = server_ids_for(request.user)
        wanted = _ask(request.user, asked)
        page = _search(wanted, seen, asked)
        total = _total(wanted, seen) if asked.count and not wanted.words else None
        names = server_names({line.server_id for line in page.lines})
    return _answer(request, _body(page, names, asked, total))


@router.post(
    "/monitoring/logs/exports", response={202: ExportOut}, by_alias=True, summary="Ask for a file of lines",
    url_name="ask_for_log_export",
)  # fmt: skip
def ask_for_log_export(request: HttpRequest, wanted: LinesExportIn) -> HttpResponse:
    """A worker writes it; ask `GET /api/monitoring/exports/{id}` how far it is. It is kept for a day."""
    try:
        export = files.ask(person_of(request), _ask(request.user, wanted), wanted.format, timezone.now())
    except ExportError as error:
        raise refused(error) from error
    return accepted(export)


def _ask(user: Person, asked: LinesAsked) -> Ask:
    """Raises ApiError and Http404."""
    start, end = Span(range=asked.range).bounds(timezone.now()) if asked.range else (asked.start, asked.end)
    if start and end and start >= end:
        raise ApiError(400, _("“from” must be before “to”."))
    return Ask(
        levels=frozenset(LEVELS[word] for word in asked.level),
        servers=_servers(user, asked.server),
        sources=frozenset(asked.source),
        start_ns=at_ns(start),
        end_ns=at_ns(end),
        words=clean_search(asked.q),
    )


def _servers(user: Person, texts: Sequence[str]) -> frozenset[int]:
    """Raises Http404 when one of them is none that `user` may see. One query."""
    if not texts:
        return frozenset()
    wanted = [text for text in texts if text and "\x00" not in text]
    ids = [int(text) for text in wanted if text.isascii() and text.isdecimal() and len(text) <= LONGEST_ID]
    found = dict(servers_for(user).filter(Q(name__in=wanted) | Q(pk__in=ids)).values_list("pk", "name"))
    by_name = {name: pk for pk, name in found.items()}
    chosen = [int(text) if text in map(str, found) else by_name.get(text) for text in texts]
    if None in chosen:
        raise Http404(_("There is no such server."))
    return frozenset(pk for pk in chosen if pk is not None)


def _search(wanted: Ask, seen: frozenset[int], asked: LinesQuery) -> Page:
    try:
        return search(
            wanted,
            servers=seen,
            older_than=Position.parse(asked.older) if asked.older else None,
            newer_than=Position.parse(asked.newer) if asked.newer else None,
            limit=asked.limit,
        )
    except QueryError as error:
        raise ApiError(400, str(error)) from error


def _total(wanted: Ask, seen: frozenset[int]) -> int:
    end_ms = (wanted.end_ns or at_ns(timezone.now())) // 1_000_000
    start_ms = (wanted.start_ns or 0) // 1_000_000
    return sum(totals(wanted, servers=seen, start_ms=start_ms, end_ms=end_ms).values()) if start_ms < end_ms else 0


def _body(page: Page, names: dict[int, str], asked: LinesQuery, total: int | None) -> bytes:
    first, last = (page.lines[0].position, page.lines[-1].position) if page.lines else (None, None)
    body: dict[str, Any] = {
        "lines": [told(line, names) for line in page.lines],
        "older": str(last) if last and page.has_older else None,
        "newer": str(first) if first and page.has_newer else None,
        "searchedTo": str(page.searched_to) if page.searched_to else None,
        "total": total,
    }
    return orjson.dumps(body)


def _answer(request: HttpRequest, body: bytes) -> HttpResponseBase:
    """Not kept without asking again: lines arrive all the time. 304 when it is what is known already."""
    etag = f'W/"{blake2b(body, digest_size=12).hexdigest()}"'
    response = HttpResponse(body, content_type="application/json")
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers["ETag"] = etag
    patch_vary_headers(response, ("Authorization", "Cookie"))
    return get_conditional_response(request, etag=etag, response=response) or response
