"""What is kept for how long. Old samples leave as whole partitions, their roll-ups as whole spans."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from monitoring.history import chunks, partitions
from monitoring.history.horizon import reach
from monitoring.history.rollup import TIERS
from monitoring.models import Batch, LateFrame, Rollup

HOURS_AHEAD = 2
BATCHES_KEPT = timedelta(days=1)


def oldest_kept(now: datetime) -> datetime:
    return now - timedelta(days=settings.RETENTION_DAYS)


def apply_retention(now: datetime) -> list[int]:
    """Drop partitions that lie wholly before the retention's horizon, make those of the next hours.

    Batches leave a day after they were recorded, but one that nobody has evaluated only with its samples: a portal
    whose workers were away for a weekend still judges what came in meanwhile. Returns the dropped hours. May run at any
    time, any number of times, beside `record`.
    """
    this_hour = int(now.timestamp()) // 3600
    with transaction.atomic():
        partitions.ensure(range(this_hour, this_hour + HOURS_AHEAD + 1))
    horizon = int(oldest_kept(now).timestamp()) // 3600
    dropped = [hour for hour in partitions.existing() if hour < horizon and partitions.drop(hour)]
    _forget_cold(now)
    old = Batch.objects.filter(recorded_at__lt=now - BATCHES_KEPT)
    old.filter(Q(evaluated_at__isnull=False) | Q(recorded_at__lt=oldest_kept(now))).delete()
    return dropped


def oldest_rolled_up(step_ms: int, now: datetime) -> datetime:
    days: int = settings.ROLLUP_DAYS[step_ms // 1000]
    return now - timedelta(days=days)


def _forget_cold(now: datetime) -> None:
    """Drop the days of chunks that are wholly too old, once they are rolled up, and roll-ups after their own time."""
    oldest_ms = min(int(oldest_kept(now).timestamp() * 1000), reach().compacted_ms)
    for day in chunks.days():
        if (day + 1) * chunks.DAY_MS <= oldest_ms:
            chunks.try_drop(day)
    LateFrame.objects.filter(at__lt=oldest_kept(now)).delete()
    for tier in TIERS:
        span = timedelta(milliseconds=tier.span_ms)
        spans = Rollup.objects.filter(step_s=tier.step_ms // 1000)
        spans.filter(starts_at__lte=oldest_rolled_up(tier.step_ms, now) - span).delete()
