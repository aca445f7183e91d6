"""Lines that are too old leave: whole days where nobody keeps longer, lines from inside blocks where somebody does."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, datetime

import numpy as np
import structlog
from django.db import connection, transaction

from monitoring.history import partitions_by_day
from monitoring.logs import counts, read, tables
from monitoring.logs.codec import Block
from monitoring.logs.columns import Columns
from monitoring.logs.retention import DAY_NS, rules
from monitoring.logs.rows import copy_blocks, new_ids, row_of
from monitoring.models import LogBlock, Server

log = structlog.get_logger(__name__)

BLOCKS_AT_ONCE = 64
BLOCKS_A_RUN = 2_000
"""After that the next run goes on: merging must not wait for minutes."""


def forget_old_lines(now: datetime) -> list[int]:
    """Drop days that nobody keeps any more, take out lines of groups that keep less, and of servers that are gone.

    Returns the dropped days. May run at any time, any number of times, beside `record` and readers. By whole days:
    until a day has left, readers leave out what is too old (`retention.floors`).
    """
    said = rules()
    today = int(now.timestamp()) // tables.DAY_S
    with tables.alone() as is_alone:
        if not is_alone:
            return []
        oldest = today - said.longest
        LogBlock.objects.filter(tier=0, last_ns__lt=oldest * DAY_NS).delete()
        dropped = [day for day in tables.days() if day < oldest and partitions_by_day.try_drop(tables.PARTITIONED, day)]
        kept_since = {
            pk: today - said.of(group_id) for pk, group_id in Server.objects.values_list("pk", "group_id").iterator()
        }
        rewritten = 0
        for day in tables.days():
            rewritten += _trim(tables.date_of(day), _leaving(tables.date_of(day), kept_since))
            if rewritten > BLOCKS_A_RUN:
                log.info("retention_of_logs_goes_on_later", blocks=rewritten)
                break
        return dropped


def _leaving(day: date, kept_since: Mapping[int, int]) -> list[int]:
    """The servers that have lines of the day, and keep none of it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT unnest(servers) FROM monitoring_logblock WHERE tier > 0 AND day = %s", [day])
        present = sorted(row[0] for row in cursor.fetchall())
    number = tables.day_number(day)
    return [server_id for server_id in present if kept_since.get(server_id, number + 1) > number]


def _trim(day: date, server_ids: Collection[int]) -> int:
    """Take these servers' lines out of the day; returns how many blocks had some.

    Their counts go first: a kill leaves lines that are too old to be shown, and blocks for the next run to find.
    """
    if not server_ids:
        return 0
    counts.forget(day, server_ids)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, tier, sieve_id FROM monitoring_logblock"
            " WHERE tier > 0 AND day = %s AND servers && %s::bigint[]",
            [day, list(server_ids)],
        )
        found = cursor.fetchall()
    for start in range(0, min(len(found), BLOCKS_A_RUN), BLOCKS_AT_ONCE):
        _rewrite(day, found[start : start + BLOCKS_AT_ONCE], server_ids)
    return len(found)


def _rewrite(day: date, found: list[tuple[int, int, int | None]], server_ids: Collection[int]) -> None:
    """Put these blocks without those lines in their own place: of tier and sieve, whose bits stay as they are."""
    blocks = read.fetched([(day, block_id) for block_id, _, _ in found])
    ids = dict(zip(blocks, new_ids(len(blocks)), strict=True))
    rows = [
        row_of(ids[block_id], day, tier, sieve_id, remains)
        for block_id, tier, sieve_id in found
        if block_id in blocks and (remains := _without(blocks[block_id], server_ids))
    ]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM monitoring_logblock WHERE tier > 0 AND day = %s AND id = ANY(%s)", [day, list(blocks)]
        )
        copy_blocks(rows)
        for block_id, _, sieve_id in found:
            if sieve_id is not None and block_id in ids:
                cursor.execute(
                    "UPDATE monitoring_logsieve SET block_ids = array_replace(block_ids, %s, %s)"
                    " WHERE day = %s AND id = %s",
                    [block_id, ids[block_id], day, sieve_id],
                )


def _without(block: Block, server_ids: Collection[int]) -> Block | None:
    remains = np.flatnonzero(~np.isin(block.server_ids, list(server_ids)))
    return Columns.of([block], [False]).taken(remains).block(slice(None)) if len(remains) else None
