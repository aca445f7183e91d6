"""Compaction: the hours of a day become one chunk a series, and the day's roll-ups are made."""

from __future__ import annotations

import time
from collections import defaultdict
from datetime import datetime

import numpy as np
import structlog
from django.db import connection, transaction
from django.db.utils import OperationalError

from monitoring.history import chunks, horizon, partitions_by_day, rollup
from monitoring.history.chunks import CHUNKS, DAY_MS, SEGMENTS, TABLES, Track
from monitoring.history.codec import Ints
from monitoring.history.series import ids_of, in_portions
from monitoring.models import Server
from portal.toolkit.instants import from_ms

log = structlog.get_logger(__name__)

SERIES_AT_ONCE = 500
"""In memory: at one sample each 5 s, 140 MB of instants and numbers."""
TRIES, PAUSE_S = 20, 0.25


def compact_due(now: datetime) -> list[int]:
    """Compact every day of which all hours are sealed, oldest first; returns the days (since the epoch).

    May run at any time, any number of times. The new day is built beside the old one and takes its place in one short
    transaction: a kill before that leaves a table that nobody reads, which the next run makes anew.
    """
    with horizon.alone() as alone:
        if not alone:
            return []
        reach = horizon.reach()
        done = []
        for day in chunks.days():
            is_due = reach.compacted_ms <= day * DAY_MS and (day + 1) * DAY_MS <= reach.sealed_ms
            if is_due:
                _build(day)
                if not _swap(day):
                    break
                done.append(day)
        if done:
            rollup.forget_unknown()
        return done


def _build(day: int) -> None:
    """The day's chunks in tables of their own, and its roll-ups, which readers leave alone until the day is swapped."""
    for table in TABLES:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {_new(table, day)}")
        partitions_by_day.make_table(table, _new(table, day))
    server_ids = list(Server.objects.order_by("pk").values_list("pk", flat=True))
    for some in in_portions(server_ids, SERIES_AT_ONCE):
        owners = {pk: server_id for (server_id, _), pk in ids_of(some).items()}
        series_ids = sorted(owners, key=lambda pk: (owners[pk], pk))
        for start in range(0, len(series_ids), SERIES_AT_ONCE):
            _build_some(series_ids[start : start + SERIES_AT_ONCE], owners, day, start)


def _build_some(series_ids: list[int], owners: dict[int, int], day: int, number: int) -> None:
    tracks: dict[int, list[Track]] = defaultdict(list)
    instants: dict[tuple[int, ...], Ints] = {}
    for pk, parts in chunks.tracks_of(series_ids, day * DAY_MS, (day + 1) * DAY_MS).items():
        # Series that shared their instants in every hour share those of the day.
        key = tuple(id(at_ms) for at_ms, _ in parts)
        if key not in instants:
            instants[key] = np.concatenate([at_ms for at_ms, _ in parts])
        tracks[owners[pk]].append(Track(pk, instants[key], np.concatenate([values for _, values in parts])))
    with transaction.atomic():
        new = {"segments": _new(SEGMENTS, day), "chunks": _new(CHUNKS, day)}
        chunks.write(tracks, day * DAY_MS, number=number, **new)
        rollup.roll_up([track for some in tracks.values() for track in some], day * DAY_MS)


def _swap(day: int) -> bool:
    """Put the built day in place of its hours; False when readers held the table too long: then the next run tries."""
    for _ in range(TRIES):
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{partitions_by_day.LOCK_TIMEOUT_MS}ms'")
                chunks.drop_day(day)
                for table in TABLES:
                    cursor.execute(
                        f"ALTER TABLE {_new(table, day)} RENAME TO {partitions_by_day.partition_name(table, day)}"
                    )
                    partitions_by_day.attach(table, day)
                horizon.compacted((day + 1) * DAY_MS)
        except OperationalError:
            time.sleep(PAUSE_S)
        else:
            return True
    log.warning("compaction_waits", day=str(from_ms(day * DAY_MS).date()))
    return False


def _new(table: str, day: int) -> str:
    return f"{partitions_by_day.partition_name(table, day)}_new"
