"""Writing exports: portion by portion, each committed with how far the file reaches."""

from __future__ import annotations

import gzip
import time
from datetime import datetime, timedelta

import structlog
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_noop

from monitoring.exports.asking import UNFINISHED
from monitoring.exports.kinds import kind_of
from monitoring.exports.portion import Portion
from monitoring.models.export import Export, ExportPart, ExportState
from portal.toolkit.quantity import digits
from portal.toolkit.sentence import sentence

log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=60)
RUN_S = 20.0
AT_ONCE = 1
"""The workers of slow work have two threads, and sealing needs one."""
KEPT = timedelta(days=1)
MOST_BYTES = 256 * 1024 * 1024
"""Of a file, packed."""
TOO_LARGE = gettext_noop("The file would be larger than %(most)s MB. Ask for less, or for a shorter time.")
BROKEN = gettext_noop("The file could not be written. The portal's log says why.")


def write_due(now: datetime) -> int:
    """Write exports that wait, or whose writer has died, for about 20 s; the number of those that were finished.

    The ones with the fewest rows first, so that nobody waits behind a year of everything. May run at any time, any
    number of times, anywhere: an export is leased while somebody writes it.
    """
    until = time.monotonic() + RUN_S
    finished = 0
    while time.monotonic() < until and (export := _claim(now)):
        try:
            finished += _write(export, until)
        except (OperationalError, InterfaceError):
            raise  # the lease ends, and the file goes on where it was
        except Exception:  # one that cannot be written must not stop the others
            log.exception("export_not_written", export=export.pk)
            _fail(export, BROKEN)
        now = timezone.now()
    return finished


def forget(now: datetime) -> int:
    """Delete the exports that were asked for more than a day ago; returns how many."""
    return Export.objects.filter(created_at__lt=now - KEPT).delete()[1].get("monitoring.Export", 0)


def _claim(now: datetime) -> Export | None:
    """An export that nobody writes, leased to the caller. A lease that ends far ahead is of a clock that went back."""
    leased = Q(leased_until__gt=now, leased_until__lte=now + 2 * LEASE)
    with transaction.atomic():
        unfinished = Export.objects.filter(state__in=UNFINISHED)
        if unfinished.filter(leased).count() >= AT_ONCE:
            return None
        free = unfinished.exclude(leased).select_for_update(skip_locked=True).order_by("rows", "created_at")
        export = free.first()
        if export:
            export.state, export.leased_until = ExportState.RUNNING, now + LEASE
            export.save(update_fields=["state", "leased_until"])
    return export


def _write(export: Export, until: float) -> bool:
    """Add portions until the file is whole or the time is over; whether it is whole."""
    for portion in kind_of(export).portions(export):
        if not _keep(export, portion):
            return False
        if time.monotonic() > until:
            Export.objects.filter(pk=export.pk, leased_until=export.leased_until).update(leased_until=None)
            break
    return export.state == ExportState.DONE


def _keep(export: Export, portion: Portion) -> bool:
    """Commit a portion together with how far the file reaches; False when the export is not the caller's any more.

    Whoever is killed before the commit has written nothing, and after it the next one goes on behind it.
    """
    body = gzip.compress(portion.body, 6, mtime=0)
    if export.bytes + len(body) > MOST_BYTES:
        _fail(export, sentence(TOO_LARGE, most=digits(MOST_BYTES / 1024 / 1024)))
        return False
    before = {"leased_until": export.leased_until, "written_until": export.written_until, "reached": export.reached}
    after = {
        "leased_until": None if portion.is_last else timezone.now() + LEASE,
        "written_until": portion.until,
        "reached": portion.reached,
        "servers": sorted({*export.servers, *portion.servers}),
        "rows": export.rows + portion.rows,
        "bytes": export.bytes + len(body),
        "state": ExportState.DONE if portion.is_last else ExportState.RUNNING,
    }
    with transaction.atomic():
        if not Export.objects.filter(pk=export.pk, **before).update(**after):
            return False
        ExportPart.objects.create(export=export, number=export.parts.count(), body=body)
    for name, value in after.items():
        setattr(export, name, value)
    return True


def _fail(export: Export, why: str) -> None:
    """What was written of it goes."""
    with transaction.atomic():
        mine = Export.objects.filter(pk=export.pk, leased_until=export.leased_until)
        if mine.update(state=ExportState.FAILED, error=why, leased_until=None, bytes=0):
            ExportPart.objects.filter(export=export).delete()
    export.state = ExportState.FAILED
