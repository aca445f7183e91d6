"""Asking for an export, and finding one's own again."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.expressions import ArraySubquery
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from monitoring.access import servers_for
from monitoring.models.export import Export, ExportState

MOST_WAITING = 3
MOST_KEPT = 10
"""Of one person; a further one takes the place of the oldest that is over."""
UNFINISHED = (ExportState.WAITING, ExportState.RUNNING)


class ExportError(ValueError):
    """The export cannot be made; the message says why, in words. `code` is a word for programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def make(person: AbstractUser, **columns: Any) -> Export:
    """A new export of `person`, waiting for a worker. Raises ExportError when they have too many."""
    with transaction.atomic():
        # One at a time for a person, so that two requests at once do not both find room.
        get_user_model()._default_manager.select_for_update(no_key=True).get(pk=person.pk)
        _make_room(person)
        return Export.objects.create(person_id=person.pk, **columns)


def exports_of(person: AbstractUser) -> QuerySet[Export]:
    """The person's exports, newest first, without those that hold data of a server that they may not see now."""
    seen = ArraySubquery(servers_for(person).order_by().values("pk"))
    own = Export.objects.filter(person_id=person.pk, servers__contained_by=seen)
    return own.select_related("server").order_by("-created_at", "-pk")


def export_for(person: AbstractUser, export_id: int) -> Export:
    """One query. Raises Http404 for what is somebody else's, gone, or of a server that they may not see any more."""
    export = exports_of(person).filter(pk=export_id).first()
    if export is None:
        raise Http404(_("There is no such export. A file is kept for a day."))
    return export


def share_done(export: Export) -> float:
    if export.state == ExportState.DONE:
        return 1.0
    span = (export.ends_at - export.starts_at).total_seconds()
    written = ((export.written_until or export.starts_at) - export.starts_at).total_seconds()
    return min(written / span, 1.0) if span else 0.0


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
