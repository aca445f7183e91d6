"""A history without anything in it, for benchmarks that seal: what came after a seal would be late for the next one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

from monitoring.history import chunks, partitions
from monitoring.models import Batch, Horizon


@contextmanager
def empty_history() -> Iterator[None]:
    _empty()
    try:
        yield
    finally:
        _empty()


def _empty() -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        for hour in partitions.existing():
            cursor.execute(f"DROP TABLE {partitions.partition_name(hour)}")
        for day in chunks.days():
            chunks.drop_day(day)
        cursor.execute("TRUNCATE monitoring_lateframe, monitoring_rollup")
        Batch.objects.all().delete()
        Horizon.objects.all().delete()
    partitions.forget()
