"""What is too old leaves: whole partitions where nobody keeps longer, rows from inside them where somebody does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import structlog
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Greatest

from monitoring.history import chunks, horizon, partitions, rollup
from monitoring.history.kept import DAY_MS, Kept, Left, Rules, cutoffs, rules
from monitoring.history.rollup import TIERS
from monitoring.history.series import in_portions
from monitoring.models import Batch, LateFrame, Series, Server, Trimmed
from portal.toolkit.instants import from_ms

log = structlog.get_logger(__name__)

HOURS_AHEAD = 2
BATCHES_KEPT = timedelta(days=1)
SERIES_AT_ONCE = 2_000
"""Of which rows are deleted in one go: of one day or span, so never more rows than this in one transaction."""
ROWS_A_RUN = 400_000
"""After that the next run goes on: a group of which years are to leave must not keep sealing waiting for minutes."""


def apply_retention(now: datetime) -> list[int]:
    """Drop partitions that nobody keeps, delete rows of groups that keep less, make the partitions of the next hours.

    Batches leave a day after they were recorded, but one that nobody has evaluated only with its samples: a portal
    whose workers were away for a weekend still judges what came in meanwhile. Returns the dropped hours. May run at any
    time, any number of times, beside `record`; what is left of too many rows, or because somebody seals, the next run
    deletes.
    """
    this_hour = int(now.timestamp()) // 3600
    with transaction.atomic():
        partitions.ensure(range(this_hour, this_hour + HOURS_AHEAD + 1))
    said = rules()
    oldest = now - timedelta(days=said.longest.samples)
    oldest_hour = int(oldest.timestamp()) // 3600
    dropped = [hour for hour in partitions.existing() if hour < oldest_hour and partitions.drop(hour)]
    with horizon.alone() as alone:
        if alone:
            _forget_cold(now, said)
    old = Batch.objects.filter(recorded_at__lt=now - BATCHES_KEPT)
    old.filter(Q(evaluated_at__isnull=False) | Q(recorded_at__lt=oldest)).delete()
    return dropped


def _forget_cold(now: datetime, said: Rules) -> None:
    """What is sealed, merged or rolled up and too old. Only alone: a compaction would bring back what is deleted."""
    compacted_ms = horizon.reach().compacted_ms
    longest = cutoffs(said.longest, now, compacted_ms)
    LateFrame.objects.filter(at__lt=from_ms(longest.samples)).delete()
    for day in chunks.days():
        if (day + 1) * DAY_MS <= longest.samples:
            chunks.try_drop(day)
    days = [day for day in chunks.days() if (day + 1) * DAY_MS > longest.samples]
    rows = 0
    for server_ids, kept in _due(now, said, compacted_ms):
        goes = cutoffs(kept, now, compacted_ms)
        LateFrame.objects.filter(server_id__in=server_ids, at__lt=from_ms(goes.samples)).delete()
        for some in in_portions(server_ids, SERIES_AT_ONCE):
            for deleted in _trim(some, goes, days):
                rows += deleted
                if rows > ROWS_A_RUN:
                    log.info("retention_goes_on_later", rows=rows)
                    return
            _remember(some, goes, now)


def _due(now: datetime, said: Rules, compacted_ms: int) -> Iterator[tuple[list[int], Kept]]:
    """Servers that keep equally long, of which something may be too old: once a day, or when more is to leave than has
    left. One query.
    """
    today = from_ms(int(now.timestamp() * 1000) // DAY_MS * DAY_MS)
    left = {row.server_id: row for row in Trimmed.objects.all()}
    groups: dict[Kept, list[int]] = defaultdict(list)
    for server_id, group_id in Server.objects.order_by("pk").values_list("pk", "group_id"):
        kept, row = said.of(group_id), left.get(server_id)
        target = [from_ms(ms) for ms in cutoffs(kept, now, compacted_ms)]
        if row is None or row.trimmed_at < today or any(map(datetime.__lt__, row.until, target)):
            groups[kept].append(server_id)
    for kept, server_ids in groups.items():
        yield server_ids, kept


def _trim(server_ids: Sequence[int], goes: Left, days: Sequence[int]) -> Iterator[int]:
    """Delete what these servers have from before it `goes`, a day or span at a time; yields how many rows it was."""
    series_ids = list(Series.objects.filter(server_id__in=server_ids).values_list("pk", flat=True))
    for day in days:
        if (day + 1) * DAY_MS <= goes.samples:
            yield chunks.forget_day(server_ids, series_ids, day)
    for tier, until_ms in zip(TIERS, goes[1:], strict=True):
        for span_ms in rollup.spans_before(tier, until_ms):
            yield rollup.forget(tier, span_ms, series_ids)


def _remember(server_ids: Sequence[int], goes: Left, now: datetime) -> None:
    """How far these servers' history has left; never less than it said before."""
    columns = Trimmed.columns()
    until = {name: from_ms(ms) for name, ms in zip(columns, goes, strict=True)}
    known = Trimmed.objects.filter(server_id__in=server_ids)
    known.update(trimmed_at=now, **{name: Greatest(name, at) for name, at in until.items()})
    # A server that was deleted meanwhile has nothing to remember.
    with transaction.atomic():
        new = (
            Server.objects.select_for_update(no_key=True)
            .filter(pk__in=server_ids)
            .exclude(pk__in=Trimmed.objects.values("server_id"))
        )
        Trimmed.objects.bulk_create([Trimmed(server=server, trimmed_at=now, **until) for server in new])
