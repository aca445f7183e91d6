"""The tables of logs that are partitioned by the day, and the lock of those who replace what is in them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import UTC, date, datetime

from monitoring.history import partitions_by_day
from portal.toolkit import locks

MERGED, SIEVES, COUNTS = "monitoring_logblock_merged", "monitoring_logsieve", "monitoring_logcount"
PARTITIONED = (MERGED, SIEVES, COUNTS)
DAY_S = 86_400
_LOCK = 0x6F6D_000C


def alone() -> AbstractContextManager[bool]:
    """True for one merger or retention at a time."""
    return locks.alone(_LOCK)


def days() -> list[int]:
    """The days (since the epoch) that may have merged lines, oldest first."""
    return partitions_by_day.existing(COUNTS)


def day_number(day: date) -> int:
    return (day - date(1970, 1, 1)).days


def date_of(day: int) -> date:
    return date.fromordinal(date(1970, 1, 1).toordinal() + day)


def day_of(at_ns: int) -> date:
    return datetime.fromtimestamp(at_ns // 1_000_000_000, UTC).date()
