"""The samples of a server, page by page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import orjson
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.http import urlencode
from ninja import Field, Query, Router, Schema

from monitoring.api.asked import Instant, ServerId, one_server
from monitoring.exports.rows import Csv, stamps
from monitoring.history.frame import FUTURE_MS
from monitoring.queries.history_page import (
    MOST_ROWS,
    USUAL_ROWS,
    Cursor,
    CursorError,
    HistoryAsked,
    HistoryPage,
    Order,
    history_page,
)
from portal.toolkit.api import ApiError
from portal.toolkit.deadline import queries_in_time
from portal.toolkit.instants import at_ms

router = Router(tags=["History"])


class SeriesOut(Schema):
    metric: str
    labels: dict[str, str]
    unit: str
    counter: bool = Field(description="An ever growing total, given as it was sent.")


class RowOut(Schema):
    timestamp: str = Field(description="ISO 8601 in UTC, with milliseconds.")
    values: list[float | None] = Field(description="In the order of `series`; null: no sample at this instant.")


class HistoryOut(Schema):
    """One row per instant at which any of the series has a sample."""

    server_id: str = Field(alias="serverId")
    order: Order
    series: list[SeriesOut]
    left_out: int = Field(alias="leftOut", description="Series beyond the 100 of one answer: name the metrics.")
    rows: list[RowOut]
    next: str | None = Field(description="Cursor of the page after this one; null: there is none.")
    previous: str | None = Field(description="Cursor of the page before this one; null: there is none.")


class HistoryQuery(Schema):
    server_id: ServerId
    metric: list[str] = Field([], description="Names, repeated or with commas between them; none: all.")
    start: Instant | None = Field(None, alias="from", description="Not before this instant; UTC without a zone.")
    end: Instant | None = Field(None, alias="to", description="Before this instant; UTC without a zone.")
    cursor: str = Field("", max_length=64, description="`next` or `previous` of an answer to the same question.")
    limit: int = Field(USUAL_ROWS, ge=1, le=MOST_ROWS)
    order: Order = Field("desc", description="Newest first, or oldest first.")
    format: Literal["json", "csv"] = Field(
        "json", description="As csv, the next page is in the header `Link`, rel=next."
    )


@router.get("/monitoring/history", response=HistoryOut, by_alias=True, summary="Samples, page by page")
def history(request: HttpRequest, asked: Query[HistoryQuery]) -> HttpResponse:
    """Rows of one server, newest first. A cursor stays where it is while samples arrive, however far back it is."""
    with queries_in_time():
        server = one_server(request.user, asked.server_id)
        found = history_page(server.pk, _asked(asked))
    response = _csv(found) if asked.format == "csv" else _json(server.pk, asked.order, found)
    if found.next:
        query = request.GET.copy()
        query["cursor"] = str(found.next)
        response.headers["Link"] = f'<{request.path}?{urlencode(query, doseq=True)}>; rel="next"'
    response.headers["Cache-Control"] = "private, no-cache"
    return response


def words_of(metrics: Sequence[str]) -> frozenset[str]:
    return frozenset(word for said in metrics for word in said.split(",") if word)


def _asked(asked: HistoryQuery) -> HistoryAsked:
    try:
        cursor = Cursor.read(asked.cursor) if asked.cursor else None
    except CursorError as error:
        raise ApiError(400, str(error)) from error
    return HistoryAsked(
        start_ms=_ms(asked.start, 0),
        end_ms=_ms(asked.end, at_ms(timezone.now()) + FUTURE_MS + 1),
        metrics=words_of(asked.metric),
        order=asked.order,
        limit=asked.limit,
        cursor=cursor,
    )


def _ms(instant: datetime | None, otherwise: int) -> int:
    return otherwise if instant is None else math.ceil(round(instant.timestamp() * 1000, 3))


def _csv(found: HistoryPage) -> HttpResponse:
    writer = Csv()
    text = writer.head({}, [column.name for column in found.columns])
    text += writer.rows(found.at_ms, found.values, is_first=True)
    return HttpResponse(text, content_type=writer.content_type)


def _json(server_id: int, order: Order, found: HistoryPage) -> HttpResponse:
    body: dict[str, Any] = {
        "serverId": str(server_id),
        "order": order,
        "series": [
            {
                "metric": column.name.metric,
                "labels": column.labels,
                "unit": column.unit,
                "counter": column.is_counter,
            }
            for column in found.columns
        ],
        "leftOut": found.left_out,
        # orjson writes NaN as null, and any other float so that it reads back the same.
        "rows": [
            {"timestamp": at, "values": values}
            for at, values in zip(stamps(found.at_ms), found.values.T.tolist(), strict=True)
        ],
        "next": found.next and str(found.next),
        "previous": found.previous and str(found.previous),
    }
    return HttpResponse(orjson.dumps(body), content_type="application/json")
