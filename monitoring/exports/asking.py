"""Asking for an export, and finding one's own again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractUser
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from monitoring.access import servers_for
from monitoring.history.frame import SeriesName
from monitoring.history.paging import page
from monitoring.history.read import names_of
from monitoring.models import Server
from monitoring.models.keeping import Export, ExportState
from portal.toolkit.instants import at_ms, from_ms

FORMATS = ("csv", "json")
MOST_WAITING = 3
MOST_KEPT = 10
"""Of one person; a further one takes the place of the oldest that is over."""
MOST_SERIES = 2000
UNFINISHED = (ExportState.WAITING, ExportState.RUNNING)


class ExportError(ValueError):
    """The export cannot be made; the message says why, in words. `code` is a word for programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def ask(
    person: AbstractUser,
    server: Server,
    metrics: Sequence[str],
    start: datetime | None,
    end: datetime | None,
    format: str,
    now: datetime,
) -> Export:
    """A new export of the named metrics (all when empty) with start <= instant < end, waiting for a worker.

    Without `start` it begins with the first sample, without `end` it ends now. The caller has made sure that `person`
    may see `server`. Raises ExportError.
    """
    if format not in FORMATS:
        raise ExportError("unknown_format", _("A file is csv or json."))
    names = _series(server, metrics)
    end = min(end or now, now)
    start = _first_sample(server, names, start, end)
    with transaction.atomic():
        # One at a time for a person, so that two requests at once do not both find room.
        get_user_model()._default_manager.select_for_update(no_key=True).get(pk=person.pk)
        _make_room(person)
        return Export.objects.create(
            person_id=person.pk, server=server, metrics=[list(name) for name in names], starts_at=start, ends_at=end,
            format=format,
        )  # fmt: skip


def exports_of(person: AbstractUser) -> QuerySet[Export]:
    """The person's exports of servers that they may see now, newest first."""
    own = Export.objects.filter(person_id=person.pk, server__in=servers_for(person))
    return own.select_related("server").order_by("-created_at", "-pk")


def export_for(person: AbstractUser, export_id: int) -> Export:
    """One query. Raises Http404 for what is somebody else's, gone, or of a server that they may not see any more."""
    export = exports_of(person).filter(pk=export_id).first()
    if export is None:
        raise Http404(_("There is no such export. A file is kept for a day."))
    return export


def series_of(export: Export) -> list[SeriesName]:
    """The columns: those that the server had when the export was asked for."""
    return [SeriesName(*name) for name in export.metrics]


def share_done(export: Export) -> float:
    if export.state == ExportState.DONE:
        return 1.0
    span = (export.ends_at - export.starts_at).total_seconds()
    written = ((export.written_until or export.starts_at) - export.starts_at).total_seconds()
    return written / span if span else 0.0


def _series(server: Server, metrics: Sequence[str]) -> list[SeriesName]:
    had = names_of(server.pk)
    unknown = set(metrics) - {name.metric for name in had}
    if unknown:
        raise ExportError(
            "unknown_metric", _("%(server)s has no metric “%(name)s”.") % {"server": server, "name": min(unknown)}
        )
    names = [name for name in had if not metrics or name.metric in metrics]
    if not names:
        raise ExportError("no_samples", _("%(server)s has no samples yet.") % {"server": server})
    if len(names) > MOST_SERIES:
        raise ExportError(
            "too_many_series",
            _("These are %(count)d series, and a file has at most %(most)d: name some metrics.")
            % {"count": len(names), "most": MOST_SERIES},
        )
    return names


def _first_sample(server: Server, names: Sequence[SeriesName], start: datetime | None, end: datetime) -> datetime:
    """`start`, or the first sample after it: then the share that is done tells how long it still takes."""
    asked_ms, end_ms = max(0, at_ms(start) or 0), at_ms(end)
    if asked_ms >= end_ms:
        raise ExportError("empty_range", _("The range ends before it begins."))
    first = page(server.pk, names, asked_ms, end_ms, backwards=False, limit=1).at_ms
    if len(first):
        return from_ms(int(first[0]))
    return from_ms(asked_ms) if start else end


def _make_room(person: AbstractUser) -> None:
    own = Export.objects.filter(person_id=person.pk)
    if own.filter(state__in=UNFINISHED).count() >= MOST_WAITING:
        raise ExportError(
            "too_many_exports",
            ngettext(
                "%(most)d export of yours is being written. Wait until it is done.",
                "%(most)d exports of yours are being written. Wait until one is done.",
                MOST_WAITING,
            )
            % {"most": MOST_WAITING},
        )
    over = own.exclude(state__in=UNFINISHED).order_by("-created_at", "-pk").values_list("pk", flat=True)
    Export.objects.filter(pk__in=list(over[MOST_KEPT - 1 :])).delete()
