"""What is kept for how long. Old frames leave as whole partitions; nothing is deleted row by row."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from monitoring.history import partitions
from monitoring.models import Batch

HOURS_AHEAD = 2
BATCHES_KEPT = timedelta(days=1)


def oldest_kept(now: datetime) -> datetime:
    return now - timedelta(days=settings.RETENTION_DAYS)


def apply_retention(now: datetime) -> list[int]:
    """Drop partitions that lie wholly before the retention's horizon, make those of the next hours.

    Returns the dropped hours. May run at any time, any number of times, beside `record`.
    """
    this_hour = int(now.timestamp()) // 3600
    with transaction.atomic():
        partitions.ensure(range(this_hour, this_hour + HOURS_AHEAD + 1))
    horizon = int(oldest_kept(now).timestamp()) // 3600
    dropped = [hour for hour in partitions.existing() if hour < horizon and partitions.drop(hour)]
    Batch.objects.filter(recorded_at__lt=now - BATCHES_KEPT).delete()
    return dropped
