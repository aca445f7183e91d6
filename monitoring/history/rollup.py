"""Roll-ups: count, minimum, maximum, sum and last value of a series in buckets of a minute, a quarter, an hour.

A tier's row holds one span of one series as five packed columns: how many samples each bucket of the span has, and of
those that have some the four numbers. Rows are made again from the day's samples, never added to: a late sample cannot
be counted twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from django.db import connection

from monitoring.history.buckets import NOTHING, Buckets, Grid, joined, of_samples
from monitoring.history.chunks import DAY_MS, Track
from monitoring.history.codec import Ints, join, pack, split, unpack_floats, unpack_ints
from monitoring.models import Rollup
from portal.toolkit.instants import at_ms, from_ms


class Tier(NamedTuple):
    """Buckets of `step_ms` in rows of `span_ms`, counted from the epoch."""

    step_ms: int
    span_ms: int


TIERS = (Tier(60_000, DAY_MS), Tier(900_000, 8 * DAY_MS), Tier(3_600_000, 32 * DAY_MS))
"""Finest first. A row has 768 to 1,440 buckets: a month of one series is one or two rows."""


# --- Writing ----------------------------------------------------------------------------------------------------------


def roll_up(tracks: Iterable[Track], day_ms: int) -> None:
    """Put one day's samples of these series into every tier, in place of what the tiers have of that day.

    `tracks` are all samples that each series has of the day. Two queries a tier.
    """
    samples = {track.series_id: of_samples(track.at_ms, track.values) for track in tracks}
    for tier in TIERS:
        span_ms = day_ms // tier.span_ms * tier.span_ms
        spans = _rows(tier, list(samples), [span_ms]) if tier.span_ms > DAY_MS else []
        known = {span.series_id: span.packed for span in spans}
        rows = {}
        for series_id, day in samples.items():
            row = _unpacked(known[series_id], tier, span_ms) if series_id in known else NOTHING
            parts = [
                row.between(span_ms, day_ms),
                day.onto(tier.step_ms),
                row.between(day_ms + DAY_MS, span_ms + tier.span_ms),
            ]
            rows[series_id] = _packed(joined(parts), tier, span_ms)
        _upsert(tier, span_ms, rows)


def forget_unknown() -> None:
    """Delete the roll-ups of series that were deleted; reads the keys of all."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            DELETE FROM monitoring_rollup rollup
            WHERE NOT EXISTS (SELECT FROM monitoring_series WHERE id = rollup.series_id)
            """
        )


def spans_before(tier: Tier, until_ms: int) -> list[int]:
    """The spans of the tier that end until then, from the oldest that has a row on. One index probe."""
    oldest = Rollup.objects.filter(step_s=tier.step_ms // 1000).order_by("starts_at").values_list("starts_at").first()
    first_ms = at_ms(oldest[0]) if oldest else until_ms
    return list(range(first_ms, until_ms - tier.span_ms + 1, tier.span_ms))


def forget(tier: Tier, span_ms: int, series_ids: Sequence[int]) -> int:
    """Delete these series' rows of one span; returns how many there were."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM monitoring_rollup WHERE step_s = %s AND starts_at = %s AND series_id = ANY(%s)",
            [tier.step_ms // 1000, from_ms(span_ms), list(series_ids)],
        )
        deleted: int = cursor.rowcount
    return deleted


def _packed(row: Buckets, tier: Tier, span_ms: int) -> bytes:
    counts = np.zeros(tier.span_ms // tier.step_ms, np.int64)
    counts[(row.at_ms - span_ms) // tier.step_ms] = row.count
    return join([pack(counts), *(pack(column) for column in (row.least, row.most, row.total, row.last))])


def _unpacked(packed: bytes, tier: Tier, span_ms: int) -> Buckets:
    counts, *columns = split(packed)
    dense = unpack_ints(counts)
    filled = np.flatnonzero(dense)
    return Buckets(span_ms + filled * tier.step_ms, dense[filled], *(unpack_floats(column) for column in columns))


def _upsert(tier: Tier, span_ms: int, rows: Mapping[int, bytes]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO monitoring_rollup (step_s, starts_at, series_id, packed)
            SELECT %s, %s, new.series_id, new.packed FROM unnest(%s::bigint[], %s::bytea[]) AS new(series_id, packed)
            ORDER BY new.series_id
            ON CONFLICT (step_s, starts_at, series_id) DO UPDATE SET packed = excluded.packed
            """,
            [tier.step_ms // 1000, from_ms(span_ms), list(rows), list(rows.values())],
        )


# --- Reading ----------------------------------------------------------------------------------------------------------


class PackedSpan(NamedTuple):
    series_id: int
    span_ms: int
    packed: bytes


def spans_of(tier: Tier, series_ids: Sequence[int], start_ms: int, end_ms: int) -> list[PackedSpan]:
    """The rows in which the series' buckets that begin in start_ms <= at < end_ms are. One query."""
    first, last = start_ms // tier.span_ms, (end_ms - 1) // tier.span_ms
    return _rows(tier, series_ids, [span * tier.span_ms for span in range(first, last + 1)]) if first <= last else []


def lay(
    spans: Sequence[PackedSpan], tier: Tier, grid: Grid, rows: Mapping[int, int], start_ms: int, end_ms: int
) -> None:
    """Put the spans' buckets that begin in start_ms <= at < end_ms into `grid`, whose cells are the tier's.

    Series that were measured alike have the same counts: those are unpacked and looked through once.
    """
    seen: dict[tuple[int, bytes], tuple[slice, slice | Ints, Ints]] = {}
    for series_id, span_ms, packed in spans:
        counts, *columns = split(packed)
        known = seen.get((span_ms, counts))
        if known is None:
            dense = unpack_ints(counts)
            filled = np.flatnonzero(dense)
            shown = slice(*np.searchsorted(span_ms + filled * tier.step_ms, (start_ms, end_ms)))
            cells = grid.cells_of(span_ms + filled[shown] * tier.step_ms)
            known = seen[span_ms, counts] = (shown, _as_slice(cells), dense[filled[shown]])
        shown, where, count = known
        row = rows[series_id]
        grid.count[row, where] = count
        for column, one in zip(grid.numbers, columns, strict=True):
            column[row, where] = unpack_floats(one)[shown]


def _as_slice(cells: Ints) -> slice | Ints:
    """Cells without a gap as a slice, into which numpy copies at once."""
    if len(cells) and cells[-1] - cells[0] + 1 == len(cells):
        return slice(int(cells[0]), int(cells[-1]) + 1)
    return cells


def _rows(tier: Tier, series_ids: Sequence[int], spans: Sequence[int]) -> list[PackedSpan]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT series_id, (date_part('epoch', starts_at) * 1000)::bigint, packed FROM monitoring_rollup
            WHERE step_s = %s AND starts_at = ANY(%s) AND series_id = ANY(%s)
            """,
            [tier.step_ms // 1000, [from_ms(span) for span in spans], list(series_ids)],
        )
        return [PackedSpan(*row) for row in cursor.fetchall()]
