"""What history takes on the disk, for people. Sizes are PostgreSQL's: tables with their indexes and TOAST."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection

from monitoring.history import chunks, horizon, partitions, partitions_by_day
from monitoring.history.chunks import DAY_MS
from monitoring.models import Segment, WarmFrame

LOGS = ("monitoring_logblock", "monitoring_logsieve", "monitoring_logcount", "monitoring_logpush")
ROLLUP_PAGES = 2_000
"""Looked at to tell how the tiers share the table of roll-ups; 16 MB."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes, all in: of warm and late rows, of chunks, of each tier of roll-ups by the seconds of its step (an
    estimate), and of lines of logs. `day_bytes` and `day_samples` are those of the newest compacted day, 0 without one.
    """

    warm: int
    cold: int
    tiers: dict[int, int]
    logs: int
    day_bytes: int
    day_samples: int

    @property
    def bytes_per_sample(self) -> float | None:
        return self.day_bytes / self.day_samples if self.day_samples else None


def sizes() -> Sizes:
    """Five queries; the samples of one day are counted by their chunks."""
    whole = _with_partitions()
    day = horizon.reach().compacted_ms // DAY_MS - 1
    day_bytes, day_samples = _of_day(day) if day in chunks.days() else (0, 0)
    return Sizes(
        warm=whole[partitions.TABLE] + whole[partitions.LATE],
        cold=whole[chunks.SEGMENTS] + whole[chunks.CHUNKS],
        tiers=_tiers(whole["monitoring_rollup"]),
        logs=sum(whole[table] for table in LOGS),
        day_bytes=day_bytes,
        day_samples=day_samples,
    )


def oldest_sample(server_ids: Sequence[int]) -> datetime | None:
    """Of any of the servers. Two queries, which look at partitions from the oldest on until one has something."""
    cold = Segment.objects.filter(server_id__in=server_ids).order_by("starts_at").values_list("first_at").first()
    warm = WarmFrame.objects.filter(server_id__in=server_ids).order_by("at").values_list("at").first()
    return min((row[0] for row in (cold, warm) if row), default=None)


def _with_partitions() -> dict[str, int]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT whole::text, (pg_total_relation_size(whole) + coalesce(
                (SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree(whole) WHERE relid <> whole), 0
            ))::bigint
            FROM unnest(%s::regclass[]) whole
            """,
            [[partitions.TABLE, partitions.LATE, *chunks.TABLES, "monitoring_rollup", *LOGS]],
        )
        return dict(cursor.fetchall())


def _of_day(day: int) -> tuple[int, int]:
    """(bytes, samples) of a day of chunks."""
    names = [partitions_by_day.partition_name(table, day) for table in chunks.TABLES]
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT sum(pg_total_relation_size(part))::bigint, (SELECT sum(count) FROM {names[1]}) "  # noqa: S608
            "FROM unnest(%s::regclass[]) part",
            [names],
        )
        ((size, samples),) = cursor.fetchall()
    return size, samples or 0


def _tiers(total: int) -> dict[int, int]:
    """`total` shared out among the tiers by what a sample of the table's pages says."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT greatest(1, pg_relation_size('monitoring_rollup') / 8192)")
        ((pages,),) = cursor.fetchall()
        cursor.execute(
            "SELECT step_s, sum(pg_column_size(packed) + 60)::bigint FROM monitoring_rollup TABLESAMPLE SYSTEM (%s) "
            "GROUP BY step_s",
            [min(100.0, 100.0 * ROLLUP_PAGES / pages)],
        )
        seen = dict(cursor.fetchall())
    if not seen:
        return {}
    return {step_s: total * size // sum(seen.values()) for step_s, size in seen.items()}
