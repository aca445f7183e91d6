"""Merging late frames into chunks: what came after its hour was sealed ends up where it belongs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from django.db import connection, transaction

from monitoring.history import chunks, horizon, rollup
from monitoring.history.chunks import DAY_MS, HOUR_MS, Track
from monitoring.history.series import ids_of
from monitoring.history.warm import AS_SHAPES, Piece, Shape, first_wins, unpacked
from portal.toolkit.instants import from_ms

SERIES_AT_ONCE = 500
_DAYS = """
SELECT DISTINCT server_id, floor(date_part('epoch', at) / 86400)::bigint AS day FROM monitoring_lateframe
ORDER BY server_id, day
"""
_TAKE = "WITH taken AS (DELETE FROM monitoring_lateframe WHERE server_id = %s AND at >= %s AND at < %s RETURNING *)"


def merge_late() -> int:
    """Merge every late frame into the chunks and roll-ups of its hour or day; returns how many server days changed.

    One transaction a server and day: a frame is always in one place. May run at any time, any number of times, beside
    `record` and readers; leaves at once when another works on history.
    """
    with horizon.alone() as alone:
        if not alone:
            return 0
        with connection.cursor() as cursor:
            cursor.execute(_DAYS)
            days = cursor.fetchall()
        compacted_ms = horizon.reach().compacted_ms
        for server_id, day in days:
            chunks.ensure_day(day)
            is_compacted = day * DAY_MS < compacted_ms
            with transaction.atomic():
                _merge(server_id, day * DAY_MS, DAY_MS if is_compacted else HOUR_MS)
        return len(days)


def _merge(server_id: int, day_ms: int, span_ms: int) -> None:
    """Move the server's late frames of one day into chunks of `span_ms`, in the caller's transaction."""
    shapes = _take(server_id, day_ms)
    ids = ids_of([server_id])
    spans: dict[int, dict[int, list[Piece]]] = defaultdict(lambda: defaultdict(list))
    for shape in shapes:
        for place, piece in shape.pieces():
            if (server_id, place) in ids:
                for starts_ms, part in _by_span(piece, span_ms):
                    spans[starts_ms][ids[server_id, place]].append(part)
    for starts_ms, late in spans.items():
        series_ids = list(late)
        for start in range(0, len(series_ids), SERIES_AT_ONCE):
            tracks = _merged(series_ids[start : start + SERIES_AT_ONCE], starts_ms, span_ms, late)
            chunks.rewrite(server_id, tracks, starts_ms)
            if span_ms == DAY_MS:
                rollup.roll_up(tracks, starts_ms)


def _take(server_id: int, day_ms: int) -> list[Shape]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"{_TAKE} {AS_SHAPES.format(table='taken', where='')}",
            [server_id, from_ms(day_ms), from_ms(day_ms + DAY_MS)],
        )
        return [shape for row in cursor.fetchall() for shape in unpacked(*row)]


def _by_span(piece: Piece, span_ms: int) -> list[tuple[int, Piece]]:
    """`piece` cut into its hours or days."""
    spans = piece.at_ms // span_ms
    cuts = [0, *(np.flatnonzero(np.diff(spans)) + 1).tolist(), len(spans)]
    return [(int(spans[first]) * span_ms, piece.part(slice(first, end))) for first, end in pairwise(cuts)]


def _merged(
    series_ids: Sequence[int], starts_ms: int, span_ms: int, late: Mapping[int, Sequence[Piece]]
) -> list[Track]:
    """All that these series have of the span. What was sealed came first, so it counts."""
    sealed = chunks.tracks_of(series_ids, starts_ms, starts_ms + span_ms)
    merged = []
    for series_id in series_ids:
        pieces = [Piece(at_ms, np.zeros_like(at_ms), values) for at_ms, values in sealed.get(series_id, ())]
        merged.append(Track(series_id, *first_wins([*pieces, *late[series_id]])))
    return merged
