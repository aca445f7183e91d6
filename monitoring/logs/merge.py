"""Blocks as pushes brought them become full ones, which are sorted, free of what is the same, and counted.

A day's blocks of tier 0 become blocks of tier 1; what of these is not full is taken in again, so there is one of that
kind. With BLOCKS full ones, all are sorted together, so that they overlap little, and found by one sieve: tier 2. Each
step replaces blocks and counts in one transaction, so that readers see every line, and see and count it once; a kill
before its commit leaves what was. `record` waits for none of it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import structlog
from django.db import connection, transaction

from monitoring.history import partitions_by_day
from monitoring.logs import counts, read, sieve
from monitoring.logs.codec import Block
from monitoring.logs.columns import BYTES_A_BLOCK, LINES_A_BLOCK, Columns
from monitoring.logs.repeats import without_known
from monitoring.logs.rows import copy_blocks, new_ids, row_of, span_of
from monitoring.logs.tables import PARTITIONED, alone, day_number
from monitoring.models import LogPush
from portal.toolkit.copying import copy_rows

log = structlog.get_logger(__name__)

RESTS = timedelta(seconds=10)
"""How long a block stays as it was pushed: pages that show what arrives look for it there."""
LINES_AT_ONCE = 128_000
BYTES_AT_ONCE = 16 * 2**20
"""Of packed blocks: at most about 200 MB of lines in memory."""
WORKS_S = 20.0
OVER = timedelta(hours=1)
"""How long a day is over before what is left of it is found by a sieve too."""
WORTH_A_SIEVE = 8
"""Blocks. A day's last few, and what comes late, are quicker looked through than a sieve is kept."""
FINISHED_AT_ONCE = 2 * sieve.BLOCKS
REPEATED_WITHIN = timedelta(hours=1)


class LostError(Exception):
    """Somebody else has replaced the blocks that were to be merged: nothing was changed."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Blocks of one day that are to be merged: as pushed, and those of tier 1."""

    day: date
    pushed: list[int]
    loose: list[int]
    newest_xid: str


def merge_due(now: datetime, *, works_s: float = WORKS_S) -> int:
    """Merge what has rested, day by day, for about `works_s` at most; returns how many lines were taken in.

    May run at any time, any number of times, beside `record` and readers; a second merger leaves at once.
    """
    merged = 0
    ends = time.monotonic() + works_s
    with alone() as is_alone:
        if not is_alone:
            return 0
        try:
            while time.monotonic() < ends and (waiting := _waiting(now)):
                merged += _merge(waiting)
            counts.fold(int(now.timestamp()) // 3600)
            for day in _over(now):
                if time.monotonic() < ends:
                    _finish(day)
        except LostError:
            log.warning("logs_merged_by_another")
        LogPush.objects.filter(recorded_at__lt=now - REPEATED_WITHIN).delete()
    return merged


_WAITING = """
SELECT day, id, xid::text FROM (
    SELECT day, id, xid,
        sum(count) OVER so_far - count AS lines, sum(length(body) + length(head)) OVER so_far - length(body) AS bytes
    FROM monitoring_logblock_pushed
    WHERE recorded_at < %s AND day = (SELECT day FROM monitoring_logblock_pushed WHERE recorded_at < %s LIMIT 1)
    WINDOW so_far AS (ORDER BY first_ns, id)
) rested WHERE lines < %s AND bytes < %s
"""


def _waiting(now: datetime) -> Waiting | None:
    """What is to be merged next: of one day, the oldest lines first, no more than fit into memory."""
    rested = now - RESTS
    with connection.cursor() as cursor:
        cursor.execute(_WAITING, [rested, rested, LINES_AT_ONCE, BYTES_AT_ONCE])
        rows = cursor.fetchall()
        if not rows:
            return None
        day = rows[0][0]
        cursor.execute(
            "SELECT id FROM monitoring_logblock WHERE tier = 1 AND day = %s AND count < %s LIMIT %s",
            [day, LINES_A_BLOCK, sieve.BLOCKS],
        )
        loose = [row[0] for row in cursor.fetchall()]
    return Waiting(day, [row[1] for row in rows], loose, max((row[2] for row in rows), key=int))


def _over(now: datetime) -> list[date]:
    """Days that are over, of which enough blocks have no sieve."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT day FROM monitoring_logblock merged WHERE tier = 1 AND day < %s
            AND NOT EXISTS (SELECT FROM monitoring_logblock_pushed pushed WHERE pushed.day = merged.day)
            GROUP BY day HAVING count(*) >= %s ORDER BY day
            """,
            [(now - OVER).astimezone(UTC).date(), WORTH_A_SIEVE],
        )
        return [row[0] for row in cursor.fetchall()]


def _merge(waiting: Waiting) -> int:
    """Take the pushed blocks in; returns how many lines they had."""
    began = time.perf_counter()
    partitions_by_day.ensure(PARTITIONED, day_number(waiting.day))
    pushed, loose = _blocks(waiting.day, waiting.pushed), _blocks(waiting.day, waiting.loose)
    taken = waiting.loose
    others = [block_id for block_id in _loose(waiting.day) if block_id not in taken]
    if len(others) + _full([*loose, *pushed]) >= sieve.BLOCKS:
        loose, taken = [*loose, *_blocks(waiting.day, others)], [*taken, *others]
    columns = Columns.of([*loose, *pushed], [False] * len(loose) + [True] * len(pushed)).sorted()
    columns = without_known(columns, waiting.day, taken)
    _replace(waiting.day, waiting.pushed, taken, columns, newest_xid=waiting.newest_xid)
    lines = sum(block.count for block in pushed)
    took_ms = round(1000 * (time.perf_counter() - began), 1)
    log.debug("logs_merged", day=str(waiting.day), lines=lines, taken_in=len(taken), took_ms=took_ms)
    return lines


def _full(blocks: Sequence[Block]) -> int:
    """About how many full blocks these are."""
    lines, size = sum(block.count for block in blocks), sum(len(block.texts) for block in blocks)
    return max(lines // LINES_A_BLOCK, size // BYTES_A_BLOCK)


def _finish(day: date) -> None:
    """Sort the blocks of tier 1 of a day that is over, and make them found by sieves.

    Sieves that are not full are taken in again: lines that come late, a few at a time, would leave one each time.
    """
    ids = _loose(day)[:FINISHED_AT_ONCE]
    unfull = _unfull(day, FINISHED_AT_ONCE - len(ids))
    ids += [block_id for own in unfull.values() for block_id in own]
    blocks = _blocks(day, ids)
    columns = Columns.of(blocks, [False] * len(blocks)).sorted()
    _replace(day, [], ids, columns, sieve_ids=list(unfull), is_last=True)


def _unfull(day: date, room: int) -> dict[int, list[int]]:
    """Sieves of the day that know fewer blocks than they could, the smallest first, with these: at most `room`."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT sieve.id, array_agg(block.id) FROM monitoring_logsieve sieve
            JOIN monitoring_logblock block ON block.tier > 0 AND block.day = sieve.day AND block.sieve_id = sieve.id
            WHERE sieve.day = %s AND cardinality(block_ids) < %s
            GROUP BY sieve.id ORDER BY count(*), sieve.id LIMIT %s
            """,
            [day, sieve.BLOCKS, room],
        )
        found: dict[int, list[int]] = {}
        for sieve_id, block_ids in cursor.fetchall():
            room -= len(block_ids)
            if room < 0:
                break
            found[sieve_id] = block_ids
    return found


def _loose(day: date) -> list[int]:
    """The blocks of tier 1 of a day, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM monitoring_logblock WHERE tier = 1 AND day = %s ORDER BY first_ns, id",
            [day],
        )
        return [row[0] for row in cursor.fetchall()]


def _blocks(day: date, ids: Sequence[int]) -> list[Block]:
    found = read.fetched([(day, block_id) for block_id in ids])
    if len(found) != len(ids):
        raise LostError
    return [found[block_id] for block_id in ids]


# --- Writing ----------------------------------------------------------------------------------------------------------


def _replace(
    day: date,
    pushed: Sequence[int],
    loose: Sequence[int],
    columns: Columns,
    *,
    sieve_ids: Sequence[int] = (),
    newest_xid: str = "",
    is_last: bool = False,
) -> None:
    """Put `columns` in place of these blocks and sieves. Everything is worked out before the transaction begins."""
    blocks = list(columns.blocks())
    whole = len(blocks) if is_last else len(blocks) // sieve.BLOCKS * sieve.BLOCKS
    ids = new_ids(len(blocks))
    rows, sieves = [], []
    for start in range(0, whole, sieve.BLOCKS):
        group, own = blocks[start : min(start + sieve.BLOCKS, whole)], ids[start : min(start + sieve.BLOCKS, whole)]
        (sieve_id,) = new_ids(1)
        sieves.append((sieve_id, day, *span_of(group), own, *sieve.build(group)))
        rows += [row_of(block_id, day, 2, sieve_id, block) for block_id, block in zip(own, group, strict=True)]
    for block_id, block in zip(ids[whole:], blocks[whole:], strict=True):
        rows.append(row_of(block_id, day, 1, None, block))
    tallies = counts.tallies_of(columns)
    with transaction.atomic():
        _forget(day, pushed, loose, sieve_ids)
        copy_blocks(rows)
        _insert_sieves(sieves)
        counts.add(day, tallies)
        if newest_xid:
            _remember(newest_xid)


def _insert_sieves(rows: Sequence[tuple[Any, ...]]) -> None:
    columns = ("id", "day", "first_ns", "last_ns", "block_ids", "buckets", "bits")
    copy_rows("monitoring_logsieve", columns, ("int8", "date", "int8", "int8", "int8[]", "int4", "bytea"), rows)


def _forget(day: date, pushed: Sequence[int], loose: Sequence[int], sieve_ids: Sequence[int]) -> None:
    """Raises LostError when not all of the blocks are there."""
    with connection.cursor() as cursor:
        if sieve_ids:
            cursor.execute("DELETE FROM monitoring_logsieve WHERE day = %s AND id = ANY(%s)", [day, list(sieve_ids)])
        cursor.execute("DELETE FROM monitoring_logblock_pushed WHERE id = ANY(%s)", [list(pushed)])
        gone = cursor.rowcount
        cursor.execute(
            "DELETE FROM monitoring_logblock WHERE tier > 0 AND day = %s AND id = ANY(%s)", [day, list(loose)]
        )
        if gone + cursor.rowcount != len(pushed) + len(loose):
            raise LostError


def _remember(xid: str) -> None:
    """The newest transaction whose block has left tier 0. A restored dump may know of one that has not been yet."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO monitoring_logmerge (merged_xid) VALUES (%(xid)s::xid8)
            ON CONFLICT (one) DO UPDATE SET merged_xid = excluded.merged_xid
            WHERE monitoring_logmerge.merged_xid < excluded.merged_xid
                OR monitoring_logmerge.merged_xid > pg_current_xact_id()
            """,
            {"xid": xid},
        )
