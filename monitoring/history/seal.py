"""Sealing: an hour of warm rows becomes chunks, and nothing is lost or seen twice on the way.

1. From what can be seen, outside of any lock: the chunks of the hour are written, and nobody reads them yet, because
   they lie beyond the horizon.
2. In one short transaction that has the hour's partition to itself: the chunks of servers of which something arrived
   since are written anew, the horizon moves, the partition is emptied.

A kill before the commit of 2 leaves warm rows as they were and chunks that the next run writes anew.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import datetime

import structlog
from django.db import connection, transaction
from django.db.models import QuerySet
from django.db.utils import OperationalError

from monitoring.history import chunks, horizon, partitions
from monitoring.history.chunks import DAY_MS, Track
from monitoring.history.partitions import HOUR_MS
from monitoring.history.series import ids_of, in_portions
from monitoring.history.warm import FRAMES, pieces_of, resolved, shapes_of
from monitoring.models import Batch
from portal.toolkit.instants import from_ms

log = structlog.get_logger(__name__)

HELD_QUIETLY_MS = HOUR_MS
HELD_AT_MOST_MS = 3 * DAY_MS
"""How much longer it waits for batches that nobody has evaluated: a weekend without workers. Said after an hour."""
SERIES_AT_ONCE = 10_000
"""In memory: at one sample each 5 s, 60 MB of numbers."""
REWRITTEN_UNDER_LOCK = 20
"""Servers. Of more than that something arrived in the meantime: then once more without the lock."""
ROUNDS = 4
TRIES, PAUSE_S = 20, 0.25


def seal_due(now: datetime) -> list[int]:
    """Seal every hour that is over by horizon.GRACE_MS, oldest first; returns the sealed hours (since the epoch).

    May run at any time, any number of times, beside `record` and readers; a second sealer leaves at once. An hour that
    is held up holds up the younger ones: the horizon moves in order.
    """
    with horizon.alone() as alone:
        if not alone:
            return []
        _forget_unfinished()
        sealed = []
        for hour in _due(now):
            if hour * HOUR_MS < horizon.reach().sealed_ms:
                partitions.retire(hour)
            elif _is_held(hour, now) or not _seal(hour):
                break
            else:
                sealed.append(hour)
                partitions.retire(hour)
        else:
            _pass_over_empty_hours(now)
        return sealed


def _pass_over_empty_hours(now: datetime) -> None:
    """Nothing older is left: what still comes is late, even of hours that never had a partition."""
    over_ms = (int(now.timestamp() * 1000) - horizon.GRACE_MS) // HOUR_MS * HOUR_MS
    if over_ms > horizon.reach().sealed_ms:
        horizon.sealed(over_ms)


def _due(now: datetime) -> list[int]:
    now_ms = int(now.timestamp() * 1000)
    return [hour for hour in partitions.existing() if (hour + 1) * HOUR_MS + horizon.GRACE_MS <= now_ms]


def _is_held(hour: int, now: datetime) -> bool:
    """Whether samples of the hour wait to be evaluated, and not yet too long."""
    waiting = _batches(hour).filter(evaluated_at__isnull=True)
    if not waiting.exists():
        return False
    held_ms = int(now.timestamp() * 1000) - (hour + 1) * HOUR_MS - horizon.GRACE_MS
    if held_ms >= HELD_QUIETLY_MS:
        log.warning("unevaluated_batches_hold_a_seal", hour=str(from_ms(hour * HOUR_MS)), batches=waiting.count())
    return held_ms < HELD_AT_MOST_MS


def _forget_unfinished() -> None:
    """Delete the chunks of a sealer that was killed: all that lie beyond the horizon."""
    hour_ms = horizon.interrupted()
    if hour_ms is None:
        return
    chunks.forget_from(max(hour_ms, horizon.reach().sealed_ms))
    horizon.begin(None)


def _seal(hour: int) -> bool:
    """False when the partition could not be had: later."""
    start_ms = hour * HOUR_MS
    chunks.ensure_day(start_ms // DAY_MS)
    horizon.begin(start_ms)
    known: set[int] = set()
    for number in range(ROUNDS):
        # The batches are looked at before the rows: what comes between is written twice, and nothing is overlooked.
        seen = set(_batches(hour).values_list("pk", flat=True))
        server_ids = _touched_by(seen - known) if number else _servers_of(hour)
        if number and len(server_ids) <= REWRITTEN_UNDER_LOCK:
            break
        known = seen
        for some in in_portions(server_ids, SERIES_AT_ONCE):
            _write(some, hour)
    for _ in range(TRIES):
        if _close(hour, known):
            return True
        time.sleep(PAUSE_S)
    log.warning("seal_waits", hour=str(from_ms(start_ms)))
    return False


def _close(hour: int, known: set[int]) -> bool:
    """Step 2; False when somebody held the partition too long."""
    name = partitions.partition_name(hour)
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{partitions.LOCK_TIMEOUT_MS}ms'")
            cursor.execute(f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE")
            began = time.perf_counter()
            since = set(_batches(hour).values_list("pk", flat=True)) - known
            _write(_touched_by(since), hour)
            horizon.sealed((hour + 1) * HOUR_MS)
            # Dropping would ask for the parent, for which every `record` would wait.
            cursor.execute(f"TRUNCATE {name}")
    except OperationalError:
        return False
    log.info("sealed", hour=str(from_ms(hour * HOUR_MS)), locked_ms=round(1000 * (time.perf_counter() - began), 1))
    return True


def _write(server_ids: Sequence[int], hour: int) -> None:
    """The chunks of these servers' hour, in place of those that were written before."""
    if server_ids:
        tracks = _tracks(server_ids, hour)
        with transaction.atomic():
            chunks.forget(server_ids, hour * HOUR_MS)
            chunks.write(tracks, hour * HOUR_MS)


def _tracks(server_ids: Sequence[int], hour: int) -> dict[int, list[Track]]:
    servers = pieces_of(shapes_of([FRAMES], server_ids, hour * HOUR_MS, (hour + 1) * HOUR_MS))
    ids = ids_of(server_ids)
    return {
        server_id: [
            Track(ids[server_id, place], *samples)
            for place, samples in resolved(places).items()
            if (server_id, place) in ids
        ]
        for server_id, places in servers.items()
    }


def _batches(hour: int) -> QuerySet[Batch]:
    return Batch.objects.filter(first_at__lt=from_ms((hour + 1) * HOUR_MS), last_at__gte=from_ms(hour * HOUR_MS))


def _touched_by(batch_ids: Iterable[int]) -> list[int]:
    servers = Batch.objects.filter(pk__in=batch_ids).values_list("server_ids", flat=True)
    return sorted({server_id for some in servers for server_id in some})


def _servers_of(hour: int) -> list[int]:
    """Those that have rows in the hour's partition and still exist; one index probe each."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id FROM monitoring_server server WHERE EXISTS (
                SELECT FROM monitoring_frame WHERE server_id = server.id AND at >= %s AND at < %s
            ) ORDER BY id
            """,
            [from_ms(hour * HOUR_MS), from_ms((hour + 1) * HOUR_MS)],
        )
        return [row[0] for row in cursor.fetchall()]
