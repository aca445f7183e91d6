"""The hourly partitions of warm frames: made on demand, dropped by retention."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from django.db import connection, transaction
from django.db.utils import OperationalError

HOUR_MS = 3_600_000
TABLE = "monitoring_frame"
LATE = "monitoring_lateframe"
LOCK_TIMEOUT_MS = 200
# One number for all who make partitions: two makers of the same one would collide in the catalogue.
_LOCK = 0x6F6D_0001

_known: set[int] = set()


def hour_of(at_ms: int) -> int:
    return at_ms // HOUR_MS


def partition_name(hour: int) -> str:
    return f"{TABLE}_{datetime.fromtimestamp(hour * 3600, UTC):%Y%m%d%H}"


def ensure(hours: Iterable[int]) -> None:
    """Make the partitions of these hours (since the epoch) where they are missing; inside the caller's transaction.

    Attaching lets readers and writers of the other partitions go on; CREATE … PARTITION OF would lock them out.
    """
    missing = sorted(set(hours) - _known)
    if not missing:
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        for hour in missing:
            name = partition_name(hour)
            cursor.execute("SELECT to_regclass(%s)", [name])
            if cursor.fetchone() == (None,):
                _make(cursor, name, hour)
    transaction.on_commit(lambda: _known.update(missing))


def _make(cursor: object, name: str, hour: int) -> None:
    start = datetime.fromtimestamp(hour * 3600, UTC)
    bounds = (start.isoformat(), (start + timedelta(hours=1)).isoformat())
    # The name and the bounds are made from a number, so nothing of a user's gets into this SQL.
    cursor.execute(f"CREATE TABLE {name} (LIKE {TABLE} INCLUDING ALL)")  # type: ignore[attr-defined]
    cursor.execute(  # type: ignore[attr-defined]
        f"ALTER TABLE {TABLE} ATTACH PARTITION {name} FOR VALUES FROM ('{bounds[0]}') TO ('{bounds[1]}')"
    )


def forget() -> None:
    """Look again which partitions exist: one that was known is gone."""
    _known.clear()


def existing() -> list[int]:
    """The hours that have a partition, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass",
            [TABLE],
        )
        names = [row[0] for row in cursor.fetchall()]
    stamps = (datetime.strptime(name.rsplit("_", 1)[1], "%Y%m%d%H").replace(tzinfo=UTC) for name in names)
    return sorted(int(stamp.timestamp()) // 3600 for stamp in stamps)


def drop(hour: int) -> bool:
    """Drop one partition with all its frames; False when somebody held it too long: try again later."""
    return _drop(hour, keep=False)


def retire(hour: int) -> bool:
    """Drop the partition of an hour that was sealed. What still got into it goes where late frames wait."""
    return _drop(hour, keep=True)


def _drop(hour: int, *, keep: bool) -> bool:
    name = partition_name(hour)
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            # Everyone who records waits behind us while we wait, so not for long. The parent comes first, as for them.
            cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_MS}ms'")
            cursor.execute(f"LOCK TABLE ONLY {TABLE} IN ACCESS EXCLUSIVE MODE")
            if keep:
                cursor.execute(f"INSERT INTO {LATE} SELECT * FROM {name} ON CONFLICT DO NOTHING")  # noqa: S608
            cursor.execute(f"DROP TABLE IF EXISTS {name}")
    except OperationalError:
        return False
    _known.discard(hour)
    return True
