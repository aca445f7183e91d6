"""Samples and buckets of series, put together from every layer: warm and late rows, chunks, roll-ups.

Warm and late rows are read first and what is cold after them: what is sealed or merged in between is then seen twice,
which shows by (series, instant), and never not at all. Not for transactions that read as of one moment.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from monitoring.history import chunks, horizon
from monitoring.history.buckets import Buckets, Grid, numbers_of
from monitoring.history.chunks import DAY_MS, HOUR_MS, Hours
from monitoring.history.codec import Ints
from monitoring.history.frame import Floats
from monitoring.history.kept import left_of
from monitoring.history.rollup import TIERS, Tier, lay, spans_of
from monitoring.history.series import Place
from monitoring.history.warm import FRAMES, LATE, Hour, Piece, Shape, first_wins, hours_of, late_of, shapes_of

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
    samples. At most ten queries, however many series.
    """
    reach = horizon.reach()
    while True:
        found = _buckets_as_of(reach, series, start_ms, end_ms, step_ms, tier)
        # What was sealed or compacted meanwhile may have been looked for in the wrong place.
        if reach == (reach := horizon.reach()):
            return found


def _buckets_as_of(
    reach: horizon.Reach, series: Sequence[Known], start_ms: int, end_ms: int, step_ms: int, tier: Tier
) -> dict[int, Buckets]:
    ids = [one.pk for one in series]
    rows = {pk: row for row, pk in enumerate(ids)}
    rest_ms = min(max(start_ms, reach.compacted_ms), end_ms)
    first_ms = start_ms // step_ms * step_ms
    spans = spans_of(tier, ids, first_ms, rest_ms) if first_ms < rest_ms else []
    rolled_up = Grid(len(ids), _first_of((span.span_ms for span in spans), first_ms, end_ms), end_ms, tier.step_ms)
    unpack = partial(lay, spans, tier, rolled_up, rows, first_ms, rest_ms)
    if tier.step_ms == HOUR_MS and rest_ms < end_ms <= reach.sealed_ms + DAY_MS:
        hours, loose = _by_the_hour(series, reach.sealed_ms, rest_ms, end_ms, unpack)
    else:
        unpack()
        hours, loose = NO_HOURS, samples(series, rest_ms, end_ms) if rest_ms < end_ms else {}
    oldest = (*hours.at_ms.tolist(), *(int(at[0]) for at, _ in loose.values()))
    grid = rolled_up if spans else Grid(len(ids), _first_of(oldest, first_ms, end_ms), end_ms, tier.step_ms)
    grid.put(np.array([rows[pk] for pk in hours.series.tolist()], np.int64), hours.at_ms, hours.count, hours.numbers)
    grid.put_samples(*_flat(loose, rows))
    found = {pk: some for pk, some in zip(ids, grid.buckets(), strict=True) if len(some.at_ms)}
    return found if step_ms <= tier.step_ms else {pk: some.onto(step_ms) for pk, some in found.items()}


def _first_of(instants: Iterable[int], first_ms: int, end_ms: int) -> int:
    """Where a grid begins: not before the oldest of what comes into it, however early the question begins."""
    return max(first_ms, min(instants, default=end_ms))


def _by_the_hour(
    series: Sequence[Known], sealed_ms: int, start_ms: int, end_ms: int, meanwhile: Callable[[], None]
) -> tuple[Hours, dict[int, Samples]]:
    """The series' hours, warm and sealed ones, and the samples of all that cannot be told by the hour: sealed hours
    that the range cuts, and series whose rows are mixed or of which late ones wait. `meanwhile` as for `warm.hours_of`.

    Three queries; two more for each of the exceptions.
    """
    server_ids = sorted({one.server_id for one in series})
    blocks = sorted({one.place.block for one in series})
    late = late_of(server_ids, start_ms, end_ms)
    warm_ms = max(start_ms, sealed_ms)
    if warm_ms < end_ms:
        warm_hours, mixed = hours_of(server_ids, blocks, warm_ms, end_ms, meanwhile)
    else:
        meanwhile()
        warm_hours, mixed = [], set()
    odd = [one for one in series if (one.server_id, one.place.block) in late | mixed]
    plain = [one for one in series if (one.server_id, one.place.block) not in late | mixed]
    whole_ms = (-(-start_ms // HOUR_MS) * HOUR_MS, end_ms // HOUR_MS * HOUR_MS)
    parts = [_as_hours(warm_hours, plain), chunks.hours_of([one.pk for one in plain], *whole_ms)]
    loose = samples(odd, start_ms, end_ms) if odd else {}
    for first_ms, until_ms in _cut(start_ms, end_ms, sealed_ms):
        for pk, some in samples(plain, first_ms, until_ms).items():
            loose[pk] = _joined(loose.get(pk, NO_SAMPLES), some)
    return Hours.joined(parts), loose


def _cut(start_ms: int, end_ms: int, sealed_ms: int) -> list[tuple[int, int]]:
    """The parts of a range that are not whole hours, as far as they are sealed."""
    head_ms, tail_ms = -(-start_ms // HOUR_MS) * HOUR_MS, end_ms // HOUR_MS * HOUR_MS
    parts = [(start_ms, end_ms)] if head_ms > tail_ms else [(start_ms, head_ms), (tail_ms, end_ms)]
    return [(first, until) for first, until in parts if first < min(until, sealed_ms)]


def _as_hours(found: Iterable[Hour], series: Iterable[Known]) -> Hours:
    """What warm hours have of these series."""
    there: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for pk, server_id, place in series:
        there[server_id, place.block].append((pk, place.slot))
    parts = [
        (pk, hour.hour_ms, hour.of(slot)) for hour in found for pk, slot in there.get((hour.server_id, hour.block), ())
    ]
    parts = [part for part in parts if len(part[2])]
    if not parts:
        return NO_HOURS
    series_ids, hours_ms, values = zip(*parts, strict=True)
    count = np.array([len(some) for some in values])
    numbers = numbers_of(np.concatenate(values), np.append(0, np.cumsum(count)[:-1]))
    return Hours(np.array(series_ids), np.array(hours_ms), count, numbers)


def _joined(one: Samples, other: Samples) -> Samples:
    """Samples, and later ones."""
    return np.concatenate([one[0], other[0]]), np.concatenate([one[1], other[1]])


def _flat(found: Mapping[int, Samples], rows: Mapping[int, int]) -> tuple[Ints, Ints, Floats]:
    """(row, instant, value) of all samples, by row and instant."""
    order = sorted(found, key=rows.__getitem__)
    if not order:
        return NO_SAMPLES[0], *NO_SAMPLES
    which = np.repeat([rows[pk] for pk in order], [len(found[pk][0]) for pk in order])
    return which, np.concatenate([found[pk][0] for pk in order]), np.concatenate([found[pk][1] for pk in order])


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
