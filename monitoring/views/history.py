"""The history of one server as a table without end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from django.utils.safestring import SafeString
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from django_htmx.middleware import HtmxDetails

from monitoring.access import server_for
from monitoring.history.frame import SeriesName
from monitoring.history.read import names_of
from monitoring.history_filter import HistoryFilter
from monitoring.models import Server
from monitoring.models.export import ExportKind
from monitoring.panels import metric_label, series_label
from monitoring.queries.history_page import Column, Cursor, HistoryAsked, HistoryPage, history_page
from monitoring.span import Span
from monitoring.views.exports import lines_of
from portal.toolkit.audit import person_of
from portal.toolkit.instants import from_ms, time_tag
from portal.toolkit.quantity import quantity

MAIN = ("cpu", "memory", "disk", "net_rx", "net_tx", "load1")
MOST_COLUMNS = 12


@dataclass(frozen=True, slots=True)
class Cell:
    """`exact` is the number as it is kept."""

    text: str
    exact: str


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a column."""

    label: str
    labels: str
    unit: str
    is_counter: bool


@dataclass(frozen=True, slots=True)
class Row:
    at: SafeString
    cells: list[Cell]


@never_cache
@require_safe
def history(request: HttpRequest, server_id: int) -> HttpResponse:
    """A page of rows with its filter; the rows alone when a script asks for them."""
    server = server_for(request.user, server_id)
    wanted = HistoryFilter.read(request.GET, getattr(request.user, "time_zone", ""))
    names = names_of(server.pk)
    page = history_page(server.pk, _asked(wanted, names, timezone.now()), names)
    context = {"server": server, "wanted": wanted, "page": page, **_rows(server, wanted, page)}
    htmx: HtmxDetails = request.htmx  # type: ignore[attr-defined]  # django_htmx's middleware puts it there
    if htmx and not htmx.history_restore_request:
        response = render(request, "monitoring/_history_rows.html", context)
    else:
        context |= _frame(request, server, wanted, names)
        response = render(request, "monitoring/history.html", context)
    patch_vary_headers(response, ["HX-Request", "HX-History-Restore-Request"])
    return response


def _asked(wanted: HistoryFilter, names: Sequence[SeriesName], now: datetime) -> HistoryAsked:
    start_ms, end_ms = wanted.bounds(now)
    return HistoryAsked(
        start_ms=start_ms,
        end_ms=end_ms,
        metrics=frozenset(wanted.metrics or _main(names)),
        cursor=wanted.cursor,
        most_series=MOST_COLUMNS,
    )


def _main(names: Sequence[SeriesName]) -> list[str]:
    """What is shown when nothing is asked for: the best known metrics, then others in the catalogue's order."""
    had = list(dict.fromkeys(name.metric for name in names))
    return sorted(had, key=lambda metric: metric not in MAIN)[: len(MAIN)]


def _rows(server: Server, wanted: HistoryFilter, page: HistoryPage) -> dict[str, object]:
    """The rows, and the addresses of this page and those beside it."""
    rows = [
        Row(
            time_tag(from_ms(at), "full"),
            [_cell(column, value) for column, value in zip(page.columns, values, strict=True)],
        )
        for at, values in zip(page.at_ms.tolist(), page.values.T.tolist(), strict=True)
    ]
    here = Cursor(True, int(page.at_ms[0]) + 1) if page.previous and len(page.at_ms) else None
    return {
        "rows": rows,
        "heads": [Head(metric_label(one.name.metric), _labels(one), one.unit, one.is_counter) for one in page.columns],
        "here": wanted.address(server.pk, here),
        "older": wanted.address(server.pk, page.next) if page.next else "",
        "newer": wanted.address(server.pk, page.previous) if page.previous else "",
    }


def _labels(column: Column) -> str:
    return series_label(column.name) if column.name.labels else ""


def _cell(column: Column, value: float) -> Cell:
    if math.isnan(value):
        return Cell("", "")
    return Cell(quantity(value, column.unit), repr(value))


def _frame(
    request: HttpRequest, server: Server, wanted: HistoryFilter, names: Sequence[SeriesName]
) -> dict[str, object]:
    """What stands around the table: heads of the columns are in the page, the choices and the exports here."""
    metrics = list(dict.fromkeys(name.metric for name in names))
    return {
        "metrics": [(metric, metric_label(metric)) for metric in metrics],
        "unknown": [metric for metric in wanted.metrics if metric not in metrics],
        "several": ",".join(wanted.metrics) if len(wanted.metrics) > 1 else "",
        "only": wanted.metrics[0] if len(wanted.metrics) == 1 else "",
        "ranges": Span.ranges(),
        "start": wanted.address(server.pk),
        "everything": HistoryFilter(metrics=wanted.metrics).address(server.pk),
        "lines": lines_of(person_of(request), ExportKind.HISTORY, server.pk),
    }
