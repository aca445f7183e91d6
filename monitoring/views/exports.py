"""Exports on pages: asking for one, and how far one's own are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.contrib.auth.models import AbstractUser
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from monitoring.access import server_for
from monitoring.exports import history, logs
from monitoring.exports.asking import ExportError, export_for, exports_of, share_done
from monitoring.exports.file import file_name
from monitoring.history_filter import HistoryFilter
from monitoring.log_filter import LogFilter
from monitoring.models.export import Export, ExportKind, ExportState
from portal.toolkit.audit import person_of
from portal.toolkit.instants import from_ms
from portal.toolkit.sentence import say

SHOWN = 5


@dataclass(frozen=True, slots=True)
class ExportLine:
    """An export as a person sees it. `percent` of its time is written."""

    export: Export
    name: str
    percent: int
    says: str
    error: str
    is_unfinished: bool
    is_done: bool


def lines_of(person: AbstractUser, kind: ExportKind, server_id: int | None = None) -> list[ExportLine]:
    """The newest exports that `person` has of this kind, of one server for those of history. One query."""
    own = exports_of(person).filter(kind=kind, server=server_id)
    return [_line(one) for one in own[:SHOWN]]


@require_POST
def ask_history_export(request: HttpRequest, server_id: int) -> HttpResponse:
    """Ask for the shown metrics and range as a file; its progress, or why not, when a script asks."""
    server = server_for(request.user, server_id)
    wanted = HistoryFilter.read(request.POST, "")
    now, person, format = timezone.now(), person_of(request), request.POST.get("format", "csv")
    start, end = (from_ms(bound) for bound in wanted.bounds(now))
    return _asked(
        request,
        wanted.address(server.pk),
        lambda: history.ask(person, server, wanted.metrics, start, end, format, now),
    )


@require_POST
def ask_log_export(request: HttpRequest) -> HttpResponse:
    """Ask for the lines that fit the page's filter as a file; its progress, or why not, when a script asks."""
    wanted = LogFilter.read(request.POST, getattr(request.user, "time_zone", ""))
    now, person, format = timezone.now(), person_of(request), request.POST.get("format", "csv")
    return _asked(request, wanted.address(), lambda: logs.ask(person, wanted.ask(now), format, now))


@never_cache
@require_safe
def export(request: HttpRequest, export_id: int) -> HttpResponse:
    """How far an export of one's own is: a fragment."""
    return render(request, "monitoring/_export.html", {"line": _line(export_for(person_of(request), export_id))})


def _asked(request: HttpRequest, page: str, ask: Callable[[], Export]) -> HttpResponse:
    """The new export's line, or why there is none, for a script; else the page again."""
    line, error = None, ""
    try:
        line = _line(ask())
    except ExportError as refused:
        error = str(refused)
    if not request.htmx:  # type: ignore[attr-defined]  # django_htmx's middleware puts it there
        return redirect(f"{page}#exports")
    return render(request, "monitoring/_export.html", {"line": line, "refused": error})


def _line(export: Export) -> ExportLine:
    state, percent = ExportState(export.state), int(share_done(export) * 100)
    rows = ngettext("%(n)s row", "%(n)s rows", export.rows) % {"n": f"{export.rows:,}"}
    return ExportLine(
        export=export,
        name=file_name(export),
        percent=percent,
        says=f"{rows} · {filesizeformat(export.bytes)}" if export.rows else "",
        error=say(export.error),
        is_unfinished=state in {ExportState.WAITING, ExportState.RUNNING},
        is_done=state is ExportState.DONE,
    )
