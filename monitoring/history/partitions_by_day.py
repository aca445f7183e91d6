"""Tables that are partitioned by the day (UTC, since the epoch): a day comes and goes as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from django.db import connection, transaction
from django.db.utils import OperationalError

LOCK_TIMEOUT_MS = 200
"""How long those who read wait behind us while we wait for those who are reading."""


def partition_name(table: str, day: int) -> str:
    return f"{table}_{datetime.fromtimestamp(day * 86_400, UTC):%Y%m%d}"


def ensure(tables: Sequence[str], day: int) -> None:
    """Make the partitions of this day where they are missing. For one maker at a time."""
    with transaction.atomic():
        for table in tables:
            if not _exists(partition_name(table, day)):
                make_table(table, partition_name(table, day))
                attach(table, day)


def make_table(table: str, name: str) -> None:
    """An empty table like `table`; readers do not see it before `attach`."""
    # The names are made from numbers, here and below, so nothing of a user's gets into this SQL.
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)")


def attach(table: str, day: int) -> None:
    """Readers and writers of the other partitions go on; CREATE … PARTITION OF would lock them out."""
    start = datetime.fromtimestamp(day * 86_400, UTC)
    bounds = (start.isoformat(), (start + timedelta(days=1)).isoformat())
    with connection.cursor() as cursor:
        cursor.execute(
            f"ALTER TABLE {table} ATTACH PARTITION {partition_name(table, day)} "
            f"FOR VALUES FROM ('{bounds[0]}') TO ('{bounds[1]}')"
        )


def existing(table: str) -> list[int]:
    """The days that have a partition, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass", [table])
        names = [row[0] for row in cursor.fetchall()]
    stamps = (datetime.strptime(name.rsplit("_", 1)[1], "%Y%m%d").replace(tzinfo=UTC) for name in names)
    return sorted(int(stamp.timestamp()) // 86_400 for stamp in stamps)


def drop(tables: Sequence[str], day: int) -> None:
    """Inside the caller's transaction; raises OperationalError when its lock_timeout is over."""
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"DROP TABLE IF EXISTS {partition_name(table, day)}")


def try_drop(tables: Sequence[str], day: int) -> bool:
    """Drop a day of all these tables; False when readers held them too long: try again later."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_MS}ms'")
            drop(tables, day)
    except OperationalError:
        return False
    return True


def _exists(name: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [name])
        row = cursor.fetchone()
    return bool(row and row[0])
