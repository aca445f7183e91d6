"""Cold samples: one Chunk per series and hour or day, whose instants are in a Segment shared with other series."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np
from django.db import connection, transaction

from monitoring.history import partitions_by_day
from monitoring.history.codec import Ints, pack, unpack_floats, unpack_ints
from monitoring.history.encode import instants_of, ints_of
from monitoring.history.frame import Floats
from monitoring.history.series import Place
from portal.toolkit.copying import copy_rows
from portal.toolkit.instants import from_ms

HOUR_MS = 3_600_000
DAY_MS = 86_400_000
SEGMENTS, CHUNKS = "monitoring_segment", "monitoring_chunk"
TABLES = (SEGMENTS, CHUNKS)
_SEGMENT = ("server_id", "starts_at", "first_at", "last_at", "count", "number", "times")
_SEGMENT_TYPES = ("int8", "timestamptz", "timestamptz", "timestamptz", "int4", "int4", "bytea")
_CHUNK = ("series_id", "starts_at", "least", "most", "total", "last", "count", "number", "vals")
_CHUNK_TYPES = ("int8", "timestamptz", "float8", "float8", "float8", "float8", "int4", "int4", "bytea")


class Track(NamedTuple):
    """Samples of one series, at least one: instants ascending in epoch ms, and as many values, none of them NaN."""

    series_id: int
    at_ms: Ints
    values: Floats


# --- Partitions, one a day --------------------------------------------------------------------------------------------


def ensure_day(day: int) -> None:
    """Make the partitions of this day (since the epoch) where they are missing. For the holder of the lock alone."""
    partitions_by_day.ensure(TABLES, day)


def days() -> list[int]:
    """The days that have chunks, oldest first."""
    return partitions_by_day.existing(CHUNKS)


def drop_day(day: int) -> None:
    """Inside the caller's transaction; raises OperationalError when its lock_timeout is over."""
    partitions_by_day.drop(TABLES, day)


def try_drop(day: int) -> bool:
    """Drop a day with all its chunks; False when readers held the tables too long: try again later."""
    return partitions_by_day.try_drop(TABLES, day)


# --- Writing ----------------------------------------------------------------------------------------------------------


def write(
    servers: Mapping[int, Sequence[Track]],
    starts_ms: int,
    *,
    number: int = 0,
    segments: str = SEGMENTS,
    chunks: str = CHUNKS,
) -> None:
    """Write the tracks of each server as the chunks of the hour or day that begins at `starts_ms`. Two COPYs.

    The segments of each server are numbered from `number` on.
    """
    starts_at = from_ms(starts_ms)
    segment_rows: list[tuple[object, ...]] = []
    chunk_rows: list[tuple[object, ...]] = []
    for server_id, tracks in servers.items():
        for own_number, (at_ms, sharing) in enumerate(_sharing(tracks), number):
            span = (from_ms(int(at_ms[0])), from_ms(int(at_ms[-1])))
            segment_rows.append((server_id, starts_at, *span, len(at_ms), own_number, pack(at_ms)))
            chunk_rows += (_chunk_row(track, starts_at, own_number) for track in sharing)
    copy_rows(segments, _SEGMENT, _SEGMENT_TYPES, segment_rows)
    copy_rows(chunks, _CHUNK, _CHUNK_TYPES, chunk_rows)


def rewrite(server_id: int, tracks: Sequence[Track], starts_ms: int) -> None:
    """Write these tracks in place of what their series have of that hour or day, in the caller's transaction."""
    key = (server_id, from_ms(starts_ms))
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM monitoring_chunk WHERE series_id = ANY(%s) AND starts_at = %s",
            [[track.series_id for track in tracks], from_ms(starts_ms)],
        )
        cursor.execute(
            """
            DELETE FROM monitoring_segment segment WHERE server_id = %s AND starts_at = %s AND NOT EXISTS (
                SELECT FROM monitoring_series series JOIN monitoring_chunk chunk ON chunk.series_id = series.id
                WHERE series.server_id = segment.server_id AND chunk.starts_at = segment.starts_at
                    AND chunk.number = segment.number
            )
            """,
            key,
        )
        cursor.execute(
            "SELECT coalesce(max(number) + 1, 0) FROM monitoring_segment WHERE server_id = %s AND starts_at = %s", key
        )
        ((number,),) = cursor.fetchall()
    write({server_id: tracks}, starts_ms, number=number)


def forget(server_ids: Sequence[int], starts_ms: int) -> None:
    """Delete the chunks of these servers that begin at `starts_ms`."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            DELETE FROM monitoring_chunk chunk USING monitoring_series series
            WHERE series.server_id = ANY(%s) AND chunk.series_id = series.id AND chunk.starts_at = %s
            """,
            [list(server_ids), from_ms(starts_ms)],
        )
        cursor.execute(
            "DELETE FROM monitoring_segment WHERE server_id = ANY(%s) AND starts_at = %s",
            [list(server_ids), from_ms(starts_ms)],
        )


def forget_day(server_ids: Sequence[int], series_ids: Sequence[int], day: int) -> int:
    """Delete what these servers, whose series these are, have of a day; returns how many rows it was."""
    span = [from_ms(day * DAY_MS), from_ms((day + 1) * DAY_MS)]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM monitoring_chunk WHERE series_id = ANY(%s) AND starts_at >= %s AND starts_at < %s",
            [list(series_ids), *span],
        )
        deleted: int = cursor.rowcount
        cursor.execute(
            "DELETE FROM monitoring_segment WHERE server_id = ANY(%s) AND starts_at >= %s AND starts_at < %s",
            [list(server_ids), *span],
        )
        deleted += cursor.rowcount
    return deleted


def forget_from(starts_ms: int) -> None:
    """Delete all chunks that begin at `starts_ms` or later."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM monitoring_segment WHERE starts_at >= %s", [from_ms(starts_ms)])
        cursor.execute("DELETE FROM monitoring_chunk WHERE starts_at >= %s", [from_ms(starts_ms)])


def _sharing(tracks: Sequence[Track]) -> Iterator[tuple[Ints, list[Track]]]:
    """Tracks by their instants: those that have the same share a segment."""
    groups: dict[bytes, list[Track]] = defaultdict(list)
    keys: dict[int, bytes] = {}
    for track in tracks:
        # Series of one row share one array: its bytes are looked at once. `tracks` keeps it, so its id stays its own.
        key = keys.get(id(track.at_ms))
        if key is None:
            key = keys[id(track.at_ms)] = track.at_ms.tobytes()
        groups[key].append(track)
    for group in groups.values():
        yield group[0].at_ms, group


def _chunk_row(track: Track, starts_at: datetime, number: int) -> tuple[object, ...]:
    values = track.values
    with np.errstate(over="ignore"):
        total = float(values.sum())
    extremes = (float(values.min()), float(values.max()), total, float(values[-1]))
    return (track.series_id, starts_at, *extremes, len(values), number, pack(values))


# --- Reading ----------------------------------------------------------------------------------------------------------

_TRACKS = """
SELECT chunk.series_id, segment.times, chunk.vals
FROM monitoring_chunk chunk
JOIN monitoring_series series ON series.id = chunk.series_id
JOIN monitoring_segment segment ON segment.server_id = series.server_id
    AND segment.starts_at = chunk.starts_at AND segment.number = chunk.number
WHERE chunk.series_id = ANY(%(series)s)
    AND chunk.starts_at >= %(first)s AND chunk.starts_at < %(end)s
    AND segment.starts_at >= %(first)s AND segment.starts_at < %(end)s
    AND segment.last_at >= %(start)s AND segment.first_at < %(end)s
    AND chunk.starts_at < (SELECT sealed_until FROM monitoring_horizon)
ORDER BY chunk.starts_at
"""


def tracks_of(series_ids: Sequence[int], start_ms: int, end_ms: int) -> dict[int, list[tuple[Ints, Floats]]]:
    """Series id → (instants, values) of each chunk that has some with start_ms <= instant < end_ms, oldest first, cut
    to that range. One query, one index range a series.
    """
    span = {"first": from_ms(start_ms // DAY_MS * DAY_MS), "start": from_ms(start_ms), "end": from_ms(end_ms)}
    with connection.cursor() as cursor:
        cursor.execute(_TRACKS, {"series": list(series_ids), **span})
        rows = cursor.fetchall()
    instants: dict[bytes, tuple[Ints, slice]] = {}
    tracks: dict[int, list[tuple[Ints, Floats]]] = defaultdict(list)
    for series_id, times, vals in rows:
        known = instants.get(times)
        if known is None:
            at_ms = unpack_ints(times)
            cut = slice(*np.searchsorted(at_ms, (start_ms, end_ms)))
            known = instants[times] = (at_ms[cut], cut)
        at_ms, cut = known
        if len(at_ms):
            tracks[series_id].append((at_ms, unpack_floats(vals)[cut]))
    return tracks


_HOURS = """
SELECT string_agg(int8send(series_id), ''::bytea), string_agg(timestamptz_send(starts_at), ''::bytea),
    string_agg(int8send(count), ''::bytea), string_agg(float8send(least), ''::bytea),
    string_agg(float8send(most), ''::bytea), string_agg(float8send(total), ''::bytea),
    string_agg(float8send(last), ''::bytea)
FROM monitoring_chunk
WHERE series_id = ANY(%s) AND starts_at >= %s AND starts_at < %s
    AND starts_at < (SELECT sealed_until FROM monitoring_horizon)
"""


@dataclass(frozen=True, slots=True)
class Hours:
    """Chunks as buckets, in no order: whose, when they begin, count, and lowest, highest, sum and newest."""

    series: Ints
    at_ms: Ints
    count: Ints
    numbers: list[Floats]

    @classmethod
    def joined(cls, parts: Sequence[Hours]) -> Hours:
        whose, at_ms, count = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("series", "at_ms", "count")
        )
        columns = zip(*(part.numbers for part in parts), strict=True)
        return cls(whose, at_ms, count, [np.concatenate(column) for column in columns])


def hours_of(series_ids: Sequence[int], start_ms: int, end_ms: int) -> Hours:
    """The series' chunks that begin in start_ms <= at < end_ms; nothing is unpacked. One query.

    Days that are not compacted have one chunk an hour.
    """
    with connection.cursor() as cursor:
        cursor.execute(_HOURS, [list(series_ids), from_ms(start_ms), from_ms(end_ms)])
        ((series, at, count, *numbers),) = cursor.fetchall()
    floats = [np.frombuffer(one or b"", ">f8").astype(np.float64) for one in numbers]
    return Hours(ints_of(series or b""), instants_of(at or b""), ints_of(count or b""), floats)


_NEWEST = """
SELECT series.server_id, series.block, series.slot, (date_part('epoch', segment.last_at) * 1000)::bigint, chunk.last
FROM monitoring_series series
JOIN monitoring_chunk chunk ON chunk.series_id = series.id
JOIN monitoring_segment segment ON segment.server_id = series.server_id
    AND segment.starts_at = chunk.starts_at AND segment.number = chunk.number
WHERE series.server_id = ANY(%(ids)s) AND chunk.starts_at > %(since)s - interval '1 day' AND segment.last_at > %(since)s
    AND chunk.starts_at < (SELECT sealed_until FROM monitoring_horizon)
ORDER BY segment.last_at
"""


def newest_of(server_ids: Sequence[int], since: datetime) -> dict[int, dict[Place, tuple[int, float]]]:
    """Server id → place → (instant, value) of the newest sealed sample after `since`; one query."""
    newest: dict[int, dict[Place, tuple[int, float]]] = defaultdict(dict)
    with connection.cursor() as cursor:
        cursor.execute(_NEWEST, {"ids": list(server_ids), "since": since})
        for server_id, block, slot, at_ms, value in cursor.fetchall():
            newest[server_id][Place(block, slot)] = (at_ms, value)
    return newest
