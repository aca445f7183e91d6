"""Samples for those who judge them: of batches as they arrived, and of one series as a picture needs them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from django.db import connection
from django.db.models import F, IntegerField, Max, Q
from django.db.models.functions import Greatest

from monitoring.history.encode import slots_of
from monitoring.history.frame import Floats, SeriesName
from monitoring.history.horizon import GRACE_MS, reach
from monitoring.history.read import Ints, Tracks, read
from monitoring.history.warm import FRAMES, LATE
from monitoring.models import SLOTS_PER_BLOCK, Batch, Server
from monitoring.panels import metric_label, series_label
from monitoring.states import DEFAULT_INTERVAL_S, FINDER_FAILS_AFTER, SIMULATION_INTERVAL_S
from portal.toolkit.instants import at_ms, from_ms

__all__ = [
    "Census",
    "Extremes",
    "Samples",
    "SeriesName",
    "Tracks",
    "census",
    "extremes",
    "fingerprint",
    "intervals",
    "latest_of",
    "metric_label",
    "of_batches",
    "recent",
    "series_label",
]

LATE_AFTER_INTERVALS = 2
LATE_AFTER_S = 60
"""A sample that arrives later than that many intervals and seconds tells of the past, not of how things stand."""


@dataclass(frozen=True, slots=True)
class Samples:
    """m samples in no particular order: each `values[m]` of the series in slot `places[m]` of `server_ids[m]`, taken at
    `at_ms[m]`, arrived at `arrived_ms[m]` in batch `batch_ids[m]`. A place is block * SLOTS_PER_BLOCK + slot.
    """

    server_ids: Ints
    places: Ints
    at_ms: Ints
    arrived_ms: Ints
    batch_ids: Ints
    values: Floats


@dataclass(frozen=True, slots=True)
class Extremes:
    """The lowest and the highest value of a series in a span, each with the first instant that had it."""

    lowest: float
    lowest_at: datetime
    highest: float
    highest_at: datetime


# --- One series -------------------------------------------------------------------------------------------------------


def recent(server_id: int, metric: str, labels: str, start: datetime, end: datetime, points: int | None) -> Tracks:
    """Samples of one series with start <= instant < end, thinned to about `points`; one row of values. Two queries."""
    return read(server_id, [SeriesName(metric, labels)], at_ms(start), at_ms(end), points=points)


def extremes(server_id: int, metric: str, labels: str, start: datetime, end: datetime) -> Extremes | None:
    """The extremes of one series with start <= instant <= end; None without a sample. Two queries."""
    tracks = read(server_id, [SeriesName(metric, labels)], at_ms(start), at_ms(end) + 1)
    values = tracks.values[0]
    if np.isnan(values).all():
        return None
    low, high = int(np.nanargmin(values)), int(np.nanargmax(values))
    at = [from_ms(int(tracks.at_ms[index])) for index in (low, high)]
    return Extremes(float(values[low]), at[0], float(values[high]), at[1])


# --- What is watched --------------------------------------------------------------------------------------------------


def intervals(server_ids: Collection[int] | None = None) -> dict[int, int]:
    """How many seconds lie between two samples of each server (of all, when None is given): its slowest source's
    interval, that of the source that found it or that of its pushes; that of the simulation; DEFAULT_INTERVAL_S where
    nobody knows. One query."""
    servers = Server.objects.order_by() if server_ids is None else Server.objects.order_by().filter(pk__in=server_ids)
    rows = servers.annotate(
        every_s=Greatest(
            Max("sources__interval_s", filter=Q(sources__paused=False)),
            F("found_by__interval_s"),
            F("push_interval_s"),
            output_field=IntegerField(),
        )
    )
    return {
        pk: SIMULATION_INTERVAL_S if simulated else every_s or DEFAULT_INTERVAL_S
        for pk, simulated, every_s in rows.values_list("pk", "simulated", "every_s")
    }


def fingerprint() -> tuple[object, ...]:
    """Changes whenever servers, their groups and kinds, their pauses or intervals change, or a series is added.

    One query, about 1 ms for 1,000 servers. It goes by the newest series' id: one that was given a lower id and is
    committed later does not show (see `census`).
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT
                (SELECT (count(*), bit_xor(hashtextextended(
                    concat_ws('/', id, kind, group_id, paused, simulated, coalesce(found_by_id, 0),
                        coalesce(push_interval_s, 0), gone_at IS NULL), 0
                )))::text FROM monitoring_server),
                (SELECT (count(*), bit_xor(hashtextextended(
                    concat_ws('/', id, server_id, interval_s, paused, failures >= %s), 0
                )))::text FROM monitoring_source),
                (SELECT paused FROM monitoring_simulation WHERE id = 1),
                (SELECT max(id) FROM monitoring_series)
            """,
            [FINDER_FAILS_AFTER],
        )
        return tuple(cursor.fetchone() or ())


@dataclass(frozen=True, slots=True)
class Census:
    """How many series could be seen, and between which transactions: all before `oldest_running` had ended, none from
    `next_to_come` on had begun."""

    series: int
    oldest_running: int
    next_to_come: int


def census() -> Census:
    """Counts the series; one query, 2 ms for 20,000. Two of the same count, the second with an `oldest_running` that is
    not before the first's `next_to_come`, prove that no series was overlooked in the first."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*), pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
                pg_snapshot_xmax(pg_current_snapshot())::text::bigint
            FROM monitoring_series
            """
        )
        return Census(*cursor.fetchall()[0])


# --- Samples of batches -----------------------------------------------------------------------------------------------


def of_batches(batches: Sequence[Batch], server_ids: Ints, blocks: Ints, late_ms: Ints) -> Samples:
    """The samples of `batches` in the wanted blocks: (server_ids[i], blocks[i]), each pair once.

    Late ones are left out: older than `late_ms[i]` when their batch was recorded. What an earlier batch had brought
    for the same instant and slots is not there a second time. One query, one index probe per batch and pair; one more
    for samples of an hour that may have been sealed before they came.
    """
    probes = [_probes(batch, server_ids, blocks, late_ms) for batch in batches]
    wanted = [np.concatenate(column) for column in zip(*probes, strict=True)]
    arrived = {batch.pk: at_ms(batch.recorded_at) for batch in batches}
    rows = _rows_of(FRAMES, wanted)
    old = np.flatnonzero(wanted[FIRST] < np.array([arrived[pk] for pk in wanted[BATCH].tolist()]) - GRACE_MS)
    return _samples(rows + _rows_of(LATE, [column[old] for column in wanted]), arrived)


Row = tuple[int, int, list[int], list[int], list[int], bytes]
"""Block, present, and of each frame: server id, instant, batch id; the values of all, one after the other."""


def _rows_of(table: str, wanted: Sequence[Ints]) -> list[Row]:
    """What `table`, FRAMES or LATE, has of the wanted probes; one query, none without probes."""
    servers, wanted_blocks, ids, firsts, lasts = wanted
    if not len(servers):
        return []
    with connection.cursor() as cursor:
        # OFFSET 0 keeps the planner from turning the probes into a scan of the whole hour; the outer bounds let it
        # leave out the other hours before it starts.
        cursor.execute(
            f"""
            SELECT frame.block, frame.present, array_agg(wanted.server_id),
                array_agg(frame.at_ms), array_agg(wanted.batch_id), string_agg(frame.vals, ''::bytea)
            FROM unnest(%s::bigint[], %s::integer[], %s::bigint[], %s::bigint[], %s::bigint[])
                AS wanted(server_id, block, batch_id, first_ms, last_ms)
            CROSS JOIN LATERAL (
                SELECT block, present, vals, (date_part('epoch', at) * 1000)::bigint AS at_ms FROM {table}
                WHERE server_id = wanted.server_id AND block = wanted.block AND batch_id = wanted.batch_id
                    AND at >= to_timestamp(wanted.first_ms / 1000.0) AND at <= to_timestamp(wanted.last_ms / 1000.0)
                    AND at >= %s AND at <= %s
                OFFSET 0
            ) frame
            GROUP BY 1, 2
            """,  # noqa: S608 (a constant)
            [
                *(column.tolist() for column in (servers, wanted_blocks, ids, firsts, lasts)),
                from_ms(int(firsts.min())),
                from_ms(int(lasts.max())),
            ],
        )
        rows: list[Row] = cursor.fetchall()
    return rows


def latest_of(server_ids: Ints, places: Ints, after_ms: Ints, until: datetime) -> Ints:
    """The newest instant of each series (server_ids[i], places[i]) newer than after_ms[i], up to `until`; 0 for none.

    Two queries, a short scan of one block for each series; one more when samples of that time may be sealed by now.
    """
    found = np.zeros(len(places), np.int64)
    if not len(places):
        return found
    # Warm first, as readers do: what is sealed in between is then seen twice, and never not at all.
    _find_latest(_LATEST_WARM, found, np.arange(len(places)), (server_ids, places, after_ms), until)
    cold = np.flatnonzero((found == 0) & (after_ms < reach().sealed_ms))
    if len(cold):
        _find_latest(_LATEST_COLD, found, cold, (server_ids[cold], places[cold], after_ms[cold]), until)
    return found


_WANTED = """
SELECT wanted.number, (date_part('epoch', newest.at) * 1000)::bigint
FROM unnest(%(numbers)s::integer[], %(server_ids)s::bigint[], %(blocks)s::integer[], %(slots)s::integer[],
    %(after_ms)s::bigint[]) AS wanted(number, server_id, block, slot, after_ms)
CROSS JOIN LATERAL (
"""
_OF_A_ROW = """
    server_id = wanted.server_id AND block = wanted.block AND present >> wanted.slot & 1 = 1
    AND at > to_timestamp(wanted.after_ms / 1000.0) AND at > %(first)s AND at <= %(until)s
"""
_LATEST_WARM = f"{_WANTED} SELECT at FROM monitoring_frame WHERE {_OF_A_ROW} ORDER BY at DESC LIMIT 1) newest"  # noqa: S608
_LATEST_COLD = f"""{_WANTED}
    SELECT max(at) AS at FROM (
        SELECT at FROM monitoring_lateframe WHERE {_OF_A_ROW}
        UNION ALL
        SELECT segment.last_at FROM monitoring_series series
        JOIN monitoring_chunk chunk ON chunk.series_id = series.id
        JOIN monitoring_segment segment ON segment.server_id = series.server_id
            AND segment.starts_at = chunk.starts_at AND segment.number = chunk.number
        WHERE series.server_id = wanted.server_id AND series.block = wanted.block AND series.slot = wanted.slot
            AND chunk.starts_at > %(first)s - interval '1 day' AND segment.starts_at > %(first)s - interval '1 day'
            AND chunk.starts_at < (SELECT sealed_until FROM monitoring_horizon)
            AND segment.last_at > to_timestamp(wanted.after_ms / 1000.0) AND segment.last_at <= %(until)s
    ) found
) newest WHERE newest.at IS NOT NULL
"""  # noqa: S608 (constants)


def _find_latest(sql: str, found: Ints, numbers: Ints, wanted: tuple[Ints, Ints, Ints], until: datetime) -> None:
    """Put the newest instants of what is `wanted`, (server ids, places, after), into `found` at `numbers`."""
    server_ids, places, after_ms = wanted
    with connection.cursor() as cursor:
        cursor.execute(
            sql,
            {
                "numbers": numbers.tolist(),
                "server_ids": server_ids.tolist(),
                "blocks": (places // SLOTS_PER_BLOCK).tolist(),
                "slots": (places % SLOTS_PER_BLOCK).tolist(),
                "after_ms": after_ms.tolist(),
                "first": from_ms(int(after_ms.min())),
                "until": until,
            },
        )
        for number, newest_ms in cursor.fetchall():
            found[number] = newest_ms


Probes = tuple[Ints, Ints, Ints, Ints, Ints]
"""Where to look: server ids, blocks, batch ids, and the first and last instant (epoch ms)."""
BATCH, FIRST = 2, 3


def _probes(batch: Batch, server_ids: Ints, blocks: Ints, late_ms: Ints) -> Probes:
    first_ms = np.maximum(at_ms(batch.first_at), at_ms(batch.recorded_at) - late_ms)
    last_ms = at_ms(batch.last_at)
    wanted = np.flatnonzero(np.isin(server_ids, batch.server_ids) & (first_ms <= last_ms))
    count = len(wanted)
    return server_ids[wanted], blocks[wanted], np.full(count, batch.pk), first_ms[wanted], np.full(count, last_ms)


def _samples(rows: Sequence[Row], arrived: Mapping[int, int]) -> Samples:
    """One row per block and shape: its frames' servers, instants and batches, and their values one after the other."""
    pieces = [_piece(*row) for row in rows]
    if not pieces:
        none = np.empty(0, np.int64)
        return Samples(none, none, none, none, none, np.empty(0))
    servers, places, instants, batch_ids, values = (np.concatenate(column) for column in zip(*pieces, strict=True))
    ids, which = np.unique(batch_ids, return_inverse=True)
    arrived_ms = np.array([arrived[pk] for pk in ids.tolist()], np.int64)[which]
    return Samples(servers, places, instants, arrived_ms, batch_ids, values)


def _piece(
    block: int, present: int, servers: list[int], instants: list[int], batches: list[int], vals: bytes
) -> tuple[Ints, Ints, Ints, Ints, Floats]:
    slots = np.array(slots_of(present), np.int64) + block * SLOTS_PER_BLOCK
    heads = (np.repeat(np.array(column, np.int64), len(slots)) for column in (servers, instants, batches))
    server_ids, at, batch_ids = heads
    return server_ids, np.tile(slots, len(servers)), at, batch_ids, np.frombuffer(vals, "<f8")
