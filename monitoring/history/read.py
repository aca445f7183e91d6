"""The only reader of history. Today it reads warm rows; callers do not see from which layer an answer comes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from django.db import connection
from numpy.typing import NDArray

from monitoring.history.encode import slots_of
from monitoring.history.frame import Floats, SeriesName
from monitoring.history.series import Place, places_of
from monitoring.models import Series

Ints = NDArray[np.int64]

STEPS_MS = [
    seconds * 1000 for seconds in (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 86400)
]
GAP_AFTER = 2.5
"""A pause longer than this many times the usual distance of a series' samples is a gap."""


@dataclass(frozen=True, slots=True)
class Tracks:
    """`values[i, j]` is the value of the i-th asked series at `at_ms[j]` (ascending, epoch ms), NaN is a gap.

    With `step_ms` = 0 the instants are the samples' own. Otherwise they start equal buckets of that length, and a
    value is the mean of its bucket.
    """

    at_ms: Ints
    values: Floats
    step_ms: int


def names_of(server_id: int) -> list[SeriesName]:
    """The series that the server ever had, in the catalogue's order; one query."""
    rows = Series.objects.filter(server_id=server_id).order_by("metric__position", "metric__name", "labels")
    return [SeriesName(metric, labels) for metric, labels in rows.values_list("metric__name", "labels")]


def read(
    server_id: int, names: Sequence[SeriesName], start_ms: int, end_ms: int, *, points: int | None = None
) -> Tracks:
    """Samples with start_ms <= instant < end_ms of one server's series; a series that does not exist is all gaps.

    Exact, unless told how many `points` a picture has room for: then there are about as many. Where two senders gave
    the same (series, instant), the first stays.
    Two queries.
    """
    places = places_of([server_id])[server_id]
    samples = _samples(server_id, [places.get(name) for name in names], start_ms, end_ms)
    at_ms = np.unique(np.concatenate([at for at, _ in samples])) if samples else np.empty(0, np.int64)
    usual_ms = max((_usual_distance(at) for at, _ in samples), default=0)
    longest = max((len(at) for at, _ in samples), default=0)
    # Sources with clocks of their own would cut each other's lines: they meet on a grid, as do too many points.
    if points is not None and (len(at_ms) > points or len(at_ms) > 1.2 * longest):
        return _on_grid(samples, start_ms, end_ms, _step(end_ms - start_ms, points, usual_ms))
    return _as_they_are(samples, at_ms, usual_ms)


def newest_instants(server_ids: Sequence[int], since: datetime, until: datetime) -> dict[int, int]:
    """The newest instant (epoch ms) with since < instant <= until of each server that has one. One query, one index
    probe per block and hour."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT known.server_id, max((date_part('epoch', at) * 1000)::bigint)
            FROM (SELECT DISTINCT server_id, block FROM monitoring_series WHERE server_id = ANY(%s)) known
            CROSS JOIN LATERAL (
                SELECT at FROM monitoring_frame
                WHERE server_id = known.server_id AND block = known.block AND at > %s AND at <= %s
                ORDER BY at DESC LIMIT 1
            ) frame
            GROUP BY known.server_id
            """,
            [list(server_ids), since, until],
        )
        return dict(cursor.fetchall())


def _samples(server_id: int, places: Sequence[Place | None], start_ms: int, end_ms: int) -> list[tuple[Ints, Floats]]:
    """(instants, values) of each place, ascending, one value per instant."""
    by_place = _columns(server_id, {place.block for place in places if place}, start_ms, end_ms)
    return [_first_wins(by_place.get(place, [])) if place else _first_wins([]) for place in places]


def _columns(
    server_id: int, blocks: set[int], start_ms: int, end_ms: int
) -> dict[Place, list[tuple[Ints, Ints, Floats]]]:
    """place → pieces of (instants, batch ids, values), one piece per shape of row."""
    shapes: dict[tuple[int, int], list[tuple[int, int, bytes]]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT block, present, (date_part('epoch', at) * 1000)::bigint, batch_id, vals FROM monitoring_frame
            WHERE server_id = %s AND block = ANY(%s) AND at >= %s AND at < %s
            """,
            [server_id, sorted(blocks), _instant(start_ms), _instant(end_ms)],
        )
        for block, present, at_ms, batch_id, vals in cursor.fetchall():
            shapes[block, present].append((at_ms, batch_id, vals))
    columns: dict[Place, list[tuple[Ints, Ints, Floats]]] = defaultdict(list)
    for (block, present), rows in shapes.items():
        at = np.fromiter((row[0] for row in rows), np.int64, len(rows))
        batch = np.fromiter((row[1] for row in rows), np.int64, len(rows))
        values = np.frombuffer(b"".join(row[2] for row in rows), "<f8").reshape(len(rows), -1)
        for column, slot in enumerate(slots_of(present)):
            columns[Place(block, slot)].append((at, batch, values[:, column]))
    return columns


def _instant(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def _first_wins(pieces: Sequence[tuple[Ints, Ints, Floats]]) -> tuple[Ints, Floats]:
    if not pieces:
        return np.empty(0, np.int64), np.empty(0, np.float64)
    at = np.concatenate([piece[0] for piece in pieces])
    batch = np.concatenate([piece[1] for piece in pieces])
    values = np.concatenate([piece[2] for piece in pieces])
    order = np.lexsort((batch, at))
    at, values = at[order], values[order]
    first = np.append(True, np.diff(at) != 0)
    return at[first], values[first]


def _usual_distance(at_ms: Ints) -> int:
    return int(np.median(np.diff(at_ms))) if len(at_ms) > 1 else 0


def _step(span_ms: int, points: int, usual_ms: int) -> int:
    """The smallest round step that keeps to `points` and leaves no bucket of a steady series empty."""
    least = max(span_ms / points, 2 * usual_ms)
    return next((step for step in STEPS_MS if step >= least), STEPS_MS[-1])


def _on_grid(samples: Sequence[tuple[Ints, Floats]], start_ms: int, end_ms: int, step_ms: int) -> Tracks:
    first = start_ms // step_ms
    count = (end_ms - 1) // step_ms - first + 1
    values = np.full((len(samples), count), np.nan)
    for row, (at, numbers) in enumerate(samples):
        bucket = at // step_ms - first
        how_many = np.bincount(bucket, minlength=count)
        sums = np.bincount(bucket, weights=numbers, minlength=count)
        np.divide(sums, how_many, out=values[row], where=how_many > 0)
    at_ms = (first + np.arange(count, dtype=np.int64)) * step_ms
    return Tracks(at_ms, values, step_ms)


def _as_they_are(samples: Sequence[tuple[Ints, Floats]], at_ms: Ints, usual_ms: int) -> Tracks:
    """All instants, and one more without any value in each gap, so that a line breaks there."""
    if usual_ms and len(at_ms) > 1:
        before = at_ms[:-1][np.diff(at_ms) > GAP_AFTER * usual_ms]
        at_ms = np.sort(np.concatenate([at_ms, before + usual_ms]))
    values = np.full((len(samples), len(at_ms)), np.nan)
    for row, (at, numbers) in enumerate(samples):
        values[row, np.searchsorted(at_ms, at)] = numbers
    return Tracks(at_ms, values, 0)
