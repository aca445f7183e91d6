"""Pages of rows: the instants beside a bound, however far away they are.

A page asks first how far it must look (index probes, nothing is unpacked) and then reads that window once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from django.db import connection

from monitoring.history.chunks import DAY_MS, HOUR_MS
from monitoring.history.codec import Ints
from monitoring.history.encode import pattern_of
from monitoring.history.frame import Floats, SeriesName
from monitoring.history.read import read
from monitoring.models import Series
from portal.toolkit.instants import from_ms

FEW_CHUNKS = 4
"""Looked at first, per series: dense ones need no more. Who has one sample a day needs one for each row."""


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, ascending: `values[i, j]` is the value of the i-th asked series at `at_ms[j]`, NaN where it has none; no
    row is without a value. `is_more`: behind the last row, in the direction walked, there is at least one more.
    """

    at_ms: Ints
    values: Floats
    is_more: bool


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Whose instants are looked for: series ids, and per block the pattern of their slots."""

    server_id: int
    series: list[int]
    masks: dict[int, int]


def page(
    server_id: int, names: Sequence[SeriesName], start_ms: int, end_ms: int, *, backwards: bool, limit: int
) -> Page:
    """At most `limit` rows with start_ms <= instant < end_ms: the newest of them when `backwards`, else the oldest.

    Six queries, whatever the length of history, seven for sparse series; as many again when the near end lies in a
    chunk whose samples are spread unevenly, or when history is sealed meanwhile. No chunk is unpacked twice.
    """
    wanted = _wanted(server_id, names)
    parts: list[tuple[Ints, Floats]] = []
    missing = limit + 1
    while wanted.series and start_ms < end_ms and missing > 0:
        window = _window(wanted, start_ms, end_ms, missing, backwards)
        rows = _rows(server_id, names, *window)
        parts.insert(0, rows) if backwards else parts.append(rows)
        missing -= len(rows[0])
        start_ms, end_ms = (start_ms, window[0]) if backwards else (window[1], end_ms)
    at, values = _joined(parts, len(names))
    kept = slice(max(0, len(at) - limit), None) if backwards else slice(limit)
    return Page(at[kept], values[:, kept], missing <= 0)


def _wanted(server_id: int, names: Sequence[SeriesName]) -> _Wanted:
    asked = set(names)
    rows = Series.objects.filter(server_id=server_id, metric__name__in={name.metric for name in names})
    series, slots = [], defaultdict(list)
    for pk, metric, labels, block, slot in rows.values_list("pk", "metric__name", "labels", "block", "slot"):
        if (metric, labels) in asked:
            series.append(pk)
            slots[block].append(slot)
    return _Wanted(server_id, series, {block: pattern_of(some) for block, some in slots.items()})


def _rows(server_id: int, names: Sequence[SeriesName], start_ms: int, end_ms: int) -> tuple[Ints, Floats]:
    """What there is in the window; without the instants by which `read` breaks lines."""
    tracks = read(server_id, names, start_ms, end_ms)
    real = ~np.isnan(tracks.values).all(axis=0)
    return tracks.at_ms[real], tracks.values[:, real]


def _joined(parts: Sequence[tuple[Ints, Floats]], series: int) -> tuple[Ints, Floats]:
    if not parts:
        return np.empty(0, np.int64), np.empty((series, 0))
    return np.concatenate([at for at, _ in parts]), np.concatenate([values for _, values in parts], axis=1)


def _window(wanted: _Wanted, start_ms: int, end_ms: int, rows: int, backwards: bool) -> tuple[int, int]:
    """The part of the range, from its near end on, that has about `rows` rows or more; all of it when it has fewer.

    Warm rows are asked first: what is sealed in between is then counted twice, and the window is only too short.
    """
    fresh = _fresh_bound(wanted, start_ms, end_ms, rows, backwards)
    cold = _cold_bound(wanted, start_ms, end_ms, rows, FEW_CHUNKS, backwards)
    if fresh is None and cold is None:
        cold = _cold_bound(wanted, start_ms, end_ms, rows, rows + 1, backwards)
    bounds = [bound for bound in (fresh, cold) if bound is not None]
    if backwards:
        return max([start_ms, *bounds]), end_ms
    return start_ms, min([end_ms, *(bound + 1 for bound in bounds)])


_FRESH = """
SELECT count(*), (date_part('epoch', {reached}) * 1000)::bigint FROM (
    SELECT DISTINCT found.at
    FROM unnest(%(blocks)s::integer[], %(masks)s::bigint[]) AS wanted(block, mask)
    CROSS JOIN LATERAL (
        (SELECT DISTINCT at FROM monitoring_frame WHERE {where} ORDER BY at {order} LIMIT %(rows)s)
        UNION ALL
        (SELECT DISTINCT at FROM monitoring_lateframe WHERE {where} ORDER BY at {order} LIMIT %(rows)s)
    ) found
    ORDER BY at {order} LIMIT %(rows)s
) newest
"""
_OF_A_ROW = """
    server_id = %(server)s AND block = wanted.block AND present & wanted.mask <> 0 AND at >= %(start)s AND at < %(end)s
"""
_FRESH_BACKWARDS = _FRESH.format(reached="min(at)", where=_OF_A_ROW, order="DESC")
_FRESH_FORWARDS = _FRESH.format(reached="max(at)", where=_OF_A_ROW, order="ASC")


def _fresh_bound(wanted: _Wanted, start_ms: int, end_ms: int, rows: int, backwards: bool) -> int | None:
    """The instant of the `rows`-th warm or late row; None when there are fewer. One query, a probe a block."""
    with connection.cursor() as cursor:
        cursor.execute(
            _FRESH_BACKWARDS if backwards else _FRESH_FORWARDS,
            {
                "blocks": list(wanted.masks),
                "masks": list(wanted.masks.values()),
                "server": wanted.server_id,
                "start": from_ms(start_ms),
                "end": from_ms(end_ms),
                "rows": rows,
            },
        )
        ((count, bound),) = cursor.fetchall()
    return None if count < rows else int(bound)


# The chunk that holds the near end counts by the share of its time that lies in the range.
_COLD = """
SELECT (date_part('epoch', {reached}) * 1000)::bigint FROM (
    SELECT segment.first_at, segment.last_at, sum(
        chunk.count * least(1, date_part('epoch', {inside})
            / greatest(0.001, date_part('epoch', segment.last_at - segment.first_at)))
    ) OVER (PARTITION BY chunk.series_id ORDER BY chunk.starts_at {order}) AS total
    FROM unnest(%(series)s::bigint[]) AS wanted(id)
    CROSS JOIN LATERAL (
        SELECT series_id, starts_at, number, count FROM monitoring_chunk
        WHERE series_id = wanted.id AND (starts_at >= %(hour)s OR starts_at = %(day)s) AND starts_at < %(end)s
            AND starts_at >= %(day)s AND starts_at < (SELECT sealed_until FROM monitoring_horizon)
        ORDER BY starts_at {order} LIMIT %(chunks)s
    ) chunk
    JOIN monitoring_segment segment ON segment.server_id = %(server)s
        AND segment.starts_at = chunk.starts_at AND segment.number = chunk.number
        AND segment.starts_at >= %(day)s AND segment.starts_at < %(end)s
    WHERE segment.last_at >= %(start)s AND segment.first_at < %(end)s
) counted WHERE total >= %(rows)s
"""
_BACKWARDS = _COLD.format(reached="max(first_at)", inside="%(end)s - segment.first_at", order="DESC")
_FORWARDS = _COLD.format(reached="min(last_at)", inside="segment.last_at - %(start)s", order="ASC")


def _cold_bound(wanted: _Wanted, start_ms: int, end_ms: int, rows: int, chunks: int, backwards: bool) -> int | None:
    """The far end of the chunk with which the densest series has `rows` samples among its nearest `chunks` chunks; None
    when none has so many. One query, an index range a series.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _BACKWARDS if backwards else _FORWARDS,
            {
                "series": wanted.series,
                "server": wanted.server_id,
                "start": from_ms(start_ms),
                "end": from_ms(end_ms),
                # A range that begins within a chunk has it by its hour, or by its day.
                "hour": from_ms(start_ms // HOUR_MS * HOUR_MS),
                "day": from_ms(start_ms // DAY_MS * DAY_MS),
                "rows": rows,
                "chunks": chunks,
            },
        )
        ((bound,),) = cursor.fetchall()
    return None if bound is None else int(bound)
