"""How many lines there are, without looking at them: what was merged is counted by the minute (LogCount), what has not
been yet is counted in its blocks of tier 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from time import time_ns
from typing import Any

import numpy as np
from django.db import connection, transaction
from numpy.typing import NDArray

from monitoring.history.codec import Ints
from monitoring.logs import read
from monitoring.logs.ask import Ask
from monitoring.logs.codec import Block
from monitoring.logs.columns import Columns
from monitoring.logs.line import Level
from monitoring.logs.retention import floors
from monitoring.logs.tables import day_of
from monitoring.logs.tally import MINUTE_NS, Tally, unpacked

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
STEPS = (1, 2, 3, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 10080, 20160, 43200)
"""Minutes that a bucket of a histogram may have."""
ROWS_UNFOLDED = 16
"""Of one hour: more than that become one."""
TRIES = 5


@dataclass(frozen=True, slots=True)
class Histogram:
    """Lines of each level in buckets of `step_ms`, the first of which begins at `start_ms`."""

    step_ms: int
    start_ms: int
    per_level: dict[Level, list[int]]


def histogram(ask: Ask, *, servers: frozenset[int] | None, start_ms: int, end_ms: int, buckets: int = 60) -> Histogram:
    """In start_ms <= at < end_ms, by whole minutes, in at most `buckets` + 1; the first begins at or before `start_ms`.

    By level, server and source of `ask`; its time and its words are not looked at. Two queries, or three.
    """
    step = next((step for step in STEPS if step * MINUTE_MS * buckets >= end_ms - start_ms), STEPS[-1])
    step_ms = step * MINUTE_MS
    first_ms = start_ms // step_ms * step_ms
    per = next(per for per in (60, 15, 1) if step % per == 0)
    tally = _asked(_counted(first_ms, end_ms, per), ask, servers)
    length = max(1, -(-(end_ms - first_ms) // step_ms))
    place = (tally.steps * MINUTE_MS - first_ms) // step_ms
    grid = np.bincount(tally.levels * length + place, tally.counts, len(Level) * length).astype(np.int64)
    return Histogram(step_ms, first_ms, {level: grid[level * length :][:length].tolist() for level in Level})


def totals(ask: Ask, *, servers: frozenset[int] | None, start_ms: int, end_ms: int) -> dict[Level, int]:
    """Lines of each level; as `histogram`."""
    tally = _asked(_counted(start_ms, end_ms, 60), ask, servers)
    sums = np.bincount(tally.levels, tally.counts, len(Level)).astype(np.int64).tolist()
    return {level: sums[level] for level in Level}


def sources(ask: Ask, *, servers: frozenset[int] | None, start_ms: int, end_ms: int) -> list[tuple[str, int]]:
    """Every source with its lines, the most first, those of `ask` and others; else as `histogram`."""
    everywhere = Ask(levels=ask.levels, servers=ask.servers)
    tally = _asked(_counted(start_ms, end_ms, 60), everywhere, servers)
    sums = np.bincount(tally.source_of, tally.counts, len(tally.sources)).astype(np.int64).tolist()
    found = [(name, count) for name, count in zip(tally.sources, sums, strict=True) if count]
    return sorted(found, key=lambda one: (-one[1], one[0]))


def servers_counted(ask: Ask, *, servers: frozenset[int] | None, start_ms: int, end_ms: int) -> dict[int, int]:
    """Every server that has lines with how many, those of `ask` and others; else as `histogram`."""
    tally = _asked(_counted(start_ms, end_ms, 60), Ask(levels=ask.levels, sources=ask.sources), servers)
    ids, which = np.unique(tally.server_ids, return_inverse=True)
    sums = np.bincount(which, tally.counts, len(ids)).astype(np.int64)
    return dict(zip(ids.tolist(), sums.tolist(), strict=True))


# --- Reading ----------------------------------------------------------------------------------------------------------


def _asked(tally: Tally, ask: Ask, servers: frozenset[int] | None) -> Tally:
    """What of it is asked for, may be seen and is still kept."""
    wanted = np.ones(len(tally.steps), np.bool_)
    if ask.levels:
        wanted &= np.isin(tally.levels, list(ask.levels))
    for ids in (ask.servers or None, servers):
        if ids is not None:
            wanted &= np.isin(tally.server_ids, list(ids))
    if ask.sources:
        wanted &= tally.of_sources(ask.sources)
    return tally.where(wanted & _is_kept(tally))


def _is_kept(tally: Tally) -> NDArray[np.bool_]:
    general, shorter = floors(time_ns())
    is_kept = tally.steps >= general // MINUTE_NS
    if shorter:
        ids, which = np.unique(tally.server_ids, return_inverse=True)
        own = np.array([shorter.get(server_id, general) for server_id in ids.tolist()], np.int64)
        is_kept &= tally.steps >= own[which] // MINUTE_NS
    return is_kept


_COUNTED = """
SELECT NULL::date, hour, id, whole, CASE WHEN whole AND hour > %(first)s AND hour < %(last)s THEN {column}
    ELSE minutes END
FROM monitoring_logcount WHERE day >= %(first_day)s AND day <= %(last_day)s AND hour >= %(first)s AND hour <= %(last)s
UNION ALL
SELECT day, NULL, id, NULL, NULL FROM monitoring_logblock_pushed WHERE first_ns < %(end)s AND last_ns >= %(start)s
"""
_COLUMNS = {1: "minutes", 15: "quarters", 60: "hours"}


def _counted(start_ms: int, end_ms: int, per: int) -> Tally:
    """Minutes that lie in the range with what they have; inner hours by `per` minutes, each told by its first."""
    first, last = start_ms // HOUR_MS, (end_ms - 1) // HOUR_MS
    start_ns, end_ns = start_ms * 1_000_000, end_ms * 1_000_000
    days = {"first_day": day_of(start_ns), "last_day": day_of(max(start_ns, end_ns - 1))}
    asked: dict[str, int | date] = {"first": first, "last": last, "start": start_ns, "end": end_ns, **days}
    for _ in range(TRIES):
        with connection.cursor() as cursor:
            cursor.execute(_COUNTED.format(column=_COLUMNS[per]), asked)
            rows = cursor.fetchall()
        waiting = [(day, block_id) for day, _, block_id, _, _ in rows if day]
        pushed = read.blocks(waiting)
        if len(pushed) == len(waiting):  # else they were merged meanwhile, and are counted there
            break
    merged = [
        _in_minutes(unpacked(bytes(packed)), per if whole and first < hour < last else 1)
        for day, hour, _, whole, packed in rows
        if not day
    ]
    found = Tally.joined([*merged, *(_of_block(block) for block in pushed.values())])
    return found.where((found.steps >= start_ms // MINUTE_MS) & (found.steps * MINUTE_MS < end_ms))


def _in_minutes(tally: Tally, per: int) -> Tally:
    if per == 1:
        return tally
    return Tally(tally.steps * per, tally.server_ids, tally.sources, tally.source_of, tally.levels, tally.counts)


def _of_block(block: Block) -> Tally:
    if "tally" not in block.scratch:
        block.scratch["tally"] = _tally(block, slice(None)).summed()
    tally: Tally = block.scratch["tally"]
    return tally


def _tally(lines: Block | Columns, part: Any) -> Tally:
    minutes: Ints = lines.at_ns[part] // MINUTE_NS
    levels = lines.levels[part].astype(np.int64)
    ones = np.ones(len(minutes), np.int64)
    source_of = lines.source_of[part].astype(np.int64)
    return Tally(minutes, lines.server_ids[part], lines.sources, source_of, levels, ones)


# --- Writing ----------------------------------------------------------------------------------------------------------


def tallies_of(columns: Columns) -> dict[int, Tally]:
    """Hour since the epoch → what the lines that are new add to it, by the minute."""
    tally = _tally(columns, columns.is_new).summed()
    hours = tally.steps // 60
    return {hour: tally.where(hours == hour) for hour in np.unique(hours).tolist()}


def add(day: date, tallies: Mapping[int, Tally]) -> None:
    """In the caller's transaction, with the blocks that have the lines."""
    with connection.cursor() as cursor:
        for hour, tally in tallies.items():
            cursor.execute(
                "INSERT INTO monitoring_logcount (day, hour, whole, minutes) VALUES (%s, %s, false, %s)",
                [day, hour, tally.packed()],
            )


def fold(this_hour: int) -> None:
    """One row for each hour that was added to often, or is over. For the holder of the mergers' lock."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT day, hour FROM monitoring_logcount WHERE NOT whole
            GROUP BY day, hour HAVING count(*) > %s OR hour < %s ORDER BY hour
            """,
            [ROWS_UNFOLDED, this_hour],
        )
        due = cursor.fetchall()
    for day, hour in due:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM monitoring_logcount WHERE day = %s AND hour = %s RETURNING minutes", [day, hour]
            )
            put(day, hour, Tally.joined([unpacked(bytes(row[0])) for row in cursor.fetchall()]))


def put(day: date, hour: int, minutes: Tally) -> None:
    """What the hour has, where nothing of it stands; in the caller's transaction."""
    minutes = minutes.summed()
    if not len(minutes.steps):
        return
    coarser = (minutes.coarser(15), minutes.coarser(60))
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO monitoring_logcount (day, hour, whole, minutes, quarters, hours)"
            " VALUES (%s, %s, true, %s, %s, %s)",
            [day, hour, minutes.packed(), *(tally.packed() for tally in coarser)],
        )


def forget(day: date, server_ids: Iterable[int]) -> None:
    """Take these servers' lines out of the counts of a day. For the holder of the mergers' lock."""
    gone = list(server_ids)
    for hour in _hours(day):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM monitoring_logcount WHERE day = %s AND hour = %s RETURNING minutes", [day, hour]
            )
            whole = Tally.joined([unpacked(bytes(row[0])) for row in cursor.fetchall()])
            put(day, hour, whole.where(~np.isin(whole.server_ids, gone)))


def _hours(day: date) -> Sequence[int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT hour FROM monitoring_logcount WHERE day = %s", [day])
        return [row[0] for row in cursor.fetchall()]
