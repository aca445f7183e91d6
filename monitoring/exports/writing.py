"""Writing exports: portion by portion, each committed with how far the file reaches."""

from __future__ import annotations

import gzip
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import structlog
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_noop

from monitoring.exports.asking import UNFINISHED, series_of
from monitoring.exports.rows import WRITERS, stamps
from monitoring.history.codec import Ints
from monitoring.history.frame import Floats, SeriesName
from monitoring.history.paging import page
from monitoring.history.read import read
from monitoring.models.keeping import Export, ExportPart, ExportState
from portal.toolkit.instants import at_ms, from_ms
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
FIRST_PORTION_MS, SHORTEST_MS, LONGEST_MS = 15 * 60_000, 60_000, 32 * 86_400_000
PORTION_VALUES = 400_000
MOST_VALUES = 2_000_000
"""Of a portion, should there be a sample each second: what follows after little may be as dense as that."""
GROWTH = 4
TOO_LARGE = gettext_noop(
    "The file would be larger than %(most)s MB. Ask for fewer metrics or for a shorter time."
)  # fmt: skip
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
    names = series_of(export)
    width_ms, last_ms = FIRST_PORTION_MS, at_ms(export.ends_at)
    longest_ms = max(SHORTEST_MS, min(LONGEST_MS, 1000 * MOST_VALUES // len(names)))
    while export.state == ExportState.RUNNING:
        start_ms = at_ms(export.written_until or export.starts_at)
        end_ms = min(start_ms + width_ms, last_ms)
        at, values = _samples(export, names, start_ms, end_ms)
        if not len(at):
            end_ms = _next_sample(export, names, end_ms, last_ms)
        if not _keep(export, at, values, end_ms):
            return False
        width_ms = min(_next_width(width_ms, values.size), longest_ms)
        if time.monotonic() > until:
            Export.objects.filter(pk=export.pk, leased_until=export.leased_until).update(leased_until=None)
            break
    return export.state == ExportState.DONE


def _samples(export: Export, names: Sequence[SeriesName], start_ms: int, end_ms: int) -> tuple[Ints, Floats]:
    tracks = read(export.server_id, names, start_ms, end_ms)
    real = ~np.isnan(tracks.values).all(axis=0)
    return tracks.at_ms[real], tracks.values[:, real]


def _next_sample(export: Export, names: Sequence[SeriesName], start_ms: int, end_ms: int) -> int:
    """The instant of the first sample with start_ms <= instant < end_ms, or `end_ms`: months of nothing are a step."""
    found = page(export.server_id, names, start_ms, end_ms, backwards=False, limit=1).at_ms
    return int(found[0]) if len(found) else end_ms


def _keep(export: Export, at: Ints, values: Floats, until_ms: int) -> bool:
    """Commit a portion together with how far the file reaches; False when the export is not the caller's any more.

    Whoever is killed before the commit has written nothing, and after it the next one goes on behind it.
    """
    is_last = until_ms >= at_ms(export.ends_at)
    body = gzip.compress(_text(export, at, values, is_last=is_last).encode(), 6, mtime=0)
    if export.bytes + len(body) > MOST_BYTES:
        _fail(export, sentence(TOO_LARGE, most=digits(MOST_BYTES / 1024 / 1024)))
        return False
    before = {"leased_until": export.leased_until, "written_until": export.written_until}
    after = {
        "leased_until": None if is_last else timezone.now() + LEASE,
        "written_until": from_ms(until_ms),
        "rows": export.rows + len(at),
        "bytes": export.bytes + len(body),
        "state": ExportState.DONE if is_last else ExportState.RUNNING,
    }
    with transaction.atomic():
        if not Export.objects.filter(pk=export.pk, **before).update(**after):
            return False
        ExportPart.objects.create(export=export, number=export.parts.count(), body=body)
    for name, value in after.items():
        setattr(export, name, value)
    return True


def _text(export: Export, at: Ints, values: Floats, *, is_last: bool) -> str:
    writer = WRITERS[export.format]
    text = writer.rows(at, values, is_first=export.rows == 0)
    if export.written_until is None:
        text = writer.head(_about(export), series_of(export)) + text
    return text + writer.tail() if is_last else text


def _about(export: Export) -> dict[str, object]:
    start, end = stamps(np.array([at_ms(export.starts_at), at_ms(export.ends_at)], np.int64))
    return {"id": export.server_id, "name": export.server.name, "from": start, "to": end}


def _next_width(width_ms: int, found: int) -> int:
    """Longer where there is little, and shorter where there is much."""
    factor = min(GROWTH, PORTION_VALUES / found) if found else GROWTH
    return max(SHORTEST_MS, min(LONGEST_MS, int(width_ms * factor)))


def _fail(export: Export, why: str) -> None:
    """What was written of it goes."""
    with transaction.atomic():
        mine = Export.objects.filter(pk=export.pk, leased_until=export.leased_until)
        if mine.update(state=ExportState.FAILED, error=why, leased_until=None, bytes=0):
            ExportPart.objects.filter(export=export).delete()
    export.state = ExportState.FAILED
