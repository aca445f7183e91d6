"""Samples and buckets of series, put together from every layer: warm and late rows, chunks, roll-ups.

Warm and late rows are read first and what is cold after them: what is sealed or merged in between is then seen twice,
which shows by (series, instant), and never not at all. Not for transactions that read as of one moment.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from monitoring.history import chunks, horizon
from monitoring.history.buckets import Buckets, Grid
from monitoring.history.chunks import HOUR_MS, Hours
from monitoring.history.codec import Ints
from monitoring.history.frame import Floats
from monitoring.history.kept import left_of
from monitoring.history.rollup import TIERS, Tier, lay, spans_of
from monitoring.history.series import Place
from monitoring.history.warm import FRAMES, LATE, Piece, Shape, first_wins, shapes_of

Samples = tuple[Ints, Floats]
NO_SAMPLES: Samples = (np.empty(0, np.int64), np.empty(0, np.float64))
NO_HOURS = Hours(NO_SAMPLES[0], NO_SAMPLES[0], NO_SAMPLES[0], [NO_SAMPLES[1]] * 4)


class Known(NamedTuple):
    """A series that exists."""

    pk: int
    server_id: int
    place: Place


def samples(series: Sequence[Known], start_ms: int, end_ms: int) -> dict[int, Samples]:
    """Series id → its samples with start_ms <= instant < end_ms, ascending, one per instant; none: left out.

    Two queries.
    """
    fresh = _fresh(series, start_ms, end_ms)
    return _resolved(chunks.tracks_of([one.pk for one in series], start_ms, end_ms), fresh)


def buckets(series: Sequence[Known], start_ms: int, end_ms: int, step_ms: int, tier: Tier) -> dict[int, Buckets]:
    """Series id → its buckets of `step_ms`, a multiple of the tier's, or of a coarser tier's own step; without any
    sample it is left out.

    Compacted days come from the tier, so a late sample of such a day shows when it is merged; the rest comes from the
    samples. Five queries, however many series; one more when late samples wait in a sealed hour.
    """
    reach = horizon.reach()
    while True:
        found = _buckets_as_of(reach, series, start_ms, end_ms, step_ms, tier)
        # A day that was compacted meanwhile may have been looked for in the wrong place.
        if reach.compacted_ms == (reach := horizon.reach()).compacted_ms:
            return found


def _buckets_as_of(
    reach: horizon.Reach, series: Sequence[Known], start_ms: int, end_ms: int, step_ms: int, tier: Tier
) -> dict[int, Buckets]:
    ids = [one.pk for one in series]
    rows = {pk: row for row, pk in enumerate(ids)}
    fresh = _fresh(series, start_ms, end_ms)
    rest_ms = min(max(start_ms, reach.compacted_ms), end_ms)
    first_ms = start_ms // step_ms * step_ms
    spans = spans_of(tier, ids, first_ms, rest_ms) if first_ms < rest_ms else []
    by_the_hour = tier.step_ms == HOUR_MS and rest_ms > start_ms
    hours = chunks.hours_of(ids, rest_ms, end_ms) if by_the_hour else NO_HOURS
    unpacked = _to_unpack(hours, rows, fresh, end_ms) if by_the_hour else ids
    cold = chunks.tracks_of(unpacked, rest_ms, end_ms) if unpacked else {}
    samples = _resolved(cold, fresh)
    oldest = [span.span_ms for span in spans] + hours.at_ms.tolist() + [int(at[0]) for at, _ in samples.values()]
    grid = Grid(len(ids), max(first_ms, min(oldest, default=end_ms)), end_ms, tier.step_ms)
    lay(spans, tier, grid, rows, first_ms, rest_ms)
    sealed = ~np.isin(hours.series, unpacked)
    places = np.array([rows[pk] for pk in hours.series[sealed].tolist()], np.int64)
    grid.put(places, hours.at_ms[sealed], hours.count[sealed], [column[sealed] for column in hours.numbers])
    grid.put_samples(*_flat(samples, rows, rest_ms, end_ms))
    found = {pk: some for pk, some in zip(ids, grid.buckets(), strict=True) if len(some.at_ms)}
    return found if step_ms <= tier.step_ms else {pk: some.onto(step_ms) for pk, some in found.items()}


def _to_unpack(hours: Hours, rows: Mapping[int, int], fresh: Mapping[int, Sequence[Piece]], end_ms: int) -> list[int]:
    """The series whose sealed hours cannot be taken as they are: late samples wait in them, or the range cuts one."""
    until = dict.fromkeys(rows, 0)
    for pk, at in zip(hours.series.tolist(), (hours.at_ms + HOUR_MS).tolist(), strict=True):
        until[pk] = max(until[pk], at)
    return [
        pk
        for pk, sealed_until in until.items()
        if sealed_until > end_ms or any(piece.at_ms[0] < sealed_until for piece in fresh.get(pk, ()))
    ]


def _flat(
    samples: Mapping[int, Samples], rows: Mapping[int, int], start_ms: int, end_ms: int
) -> tuple[Ints, Ints, Floats]:
    """(row, instant, value) of all samples of the range, by row and instant."""
    order = sorted(samples, key=rows.__getitem__)
    if not order:
        return NO_SAMPLES[0], *NO_SAMPLES
    at_ms = np.concatenate([samples[pk][0] for pk in order])
    values = np.concatenate([samples[pk][1] for pk in order])
    which = np.repeat([rows[pk] for pk in order], [len(samples[pk][0]) for pk in order])
    inside = (at_ms >= start_ms) & (at_ms < end_ms)
    return which[inside], at_ms[inside], values[inside]


def tier_for(step_ms: int, start_ms: int, server_ids: Iterable[int]) -> Tier:
    """The coarsest tier that a picture with this step can be made from, or a coarser one that still reaches back.

    One query, none when there is no coarser one.
    """
    at_hand = [tier for tier in TIERS if step_ms % tier.step_ms == 0] or [TIERS[0]]
    if at_hand[-1] == TIERS[-1]:
        return TIERS[-1]
    coarser = [tier for tier in TIERS if tier.step_ms > at_hand[-1].step_ms]
    gone_until_ms = dict(zip(TIERS, left_of(server_ids)[1:], strict=True))
    return next((tier for tier in (at_hand[-1], *coarser) if start_ms >= gone_until_ms[tier]), TIERS[-1])


def _fresh(series: Sequence[Known], start_ms: int, end_ms: int) -> dict[int, list[Piece]]:
    """Series id → what warm and late rows have of it; none: left out. One query."""
    server_ids = sorted({one.server_id for one in series})
    blocks = sorted({one.place.block for one in series})
    shapes: dict[tuple[int, int], list[Shape]] = defaultdict(list)
    for shape in shapes_of([FRAMES, LATE], server_ids, start_ms, end_ms, blocks):
        shapes[shape.server_id, shape.block].append(shape)
    found = {}
    for pk, server_id, place in series:
        pieces = [
            shape.piece(place.slot) for shape in shapes.get((server_id, place.block), ()) if shape.has(place.slot)
        ]
        if pieces:
            found[pk] = pieces
    return found


def _resolved(cold: Mapping[int, Sequence[Samples]], fresh: Mapping[int, Sequence[Piece]]) -> dict[int, Samples]:
    """What is in a chunk was there first, so it counts."""
    return {pk: first_wins([*_ranked(cold.get(pk, ())), *fresh.get(pk, ())]) for pk in cold.keys() | fresh.keys()}


def _ranked(parts: Sequence[Samples]) -> list[Piece]:
    if not parts:
        return []
    at_ms = np.concatenate([at_ms for at_ms, _ in parts])
    return [Piece(at_ms, np.zeros(len(at_ms), np.int64), np.concatenate([values for _, values in parts]))]
