"""Samples and buckets of series, put together from every layer: warm and late rows, chunks, roll-ups.

Warm and late rows are read first and what is cold after them: what is sealed or merged in between is then seen twice,
which shows by (series, instant), and never not at all. Not for transactions that read as of one moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from monitoring.history import chunks, horizon
from monitoring.history.buckets import NOTHING, Buckets, joined, of_samples
from monitoring.history.chunks import HOUR_MS
from monitoring.history.codec import Ints
from monitoring.history.frame import Floats
from monitoring.history.kept import Left
from monitoring.history.rollup import TIERS, Tier, read_tier
from monitoring.history.series import Place
from monitoring.history.warm import FRAMES, LATE, Piece, first_wins, pieces_of, shapes_of

Samples = tuple[Ints, Floats]
NO_SAMPLES: Samples = (np.empty(0, np.int64), np.empty(0, np.float64))


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
    """Series id → its buckets of `step_ms`, a multiple of the tier's; without any sample it is left out.

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
    fresh = _fresh(series, start_ms, end_ms)
    rest_ms = min(max(start_ms, reach.compacted_ms), end_ms)
    first_ms = start_ms // step_ms * step_ms
    old = read_tier(tier, ids, first_ms, rest_ms) if first_ms < rest_ms else {}
    if step_ms % HOUR_MS == 0 and rest_ms > start_ms:
        recent = _by_the_hour(ids, rest_ms, end_ms, fresh)
    else:
        found = _resolved(chunks.tracks_of(ids, rest_ms, end_ms), fresh)
        recent = {pk: of_samples(*some).between(rest_ms, end_ms) for pk, some in found.items()}
    gathered = {}
    for pk in old.keys() | recent.keys():
        parts = [*old.get(pk, ()), recent[pk].onto(step_ms)] if pk in recent else old[pk]
        parts = [part for part in parts if len(part.at_ms)]
        if parts:
            whole = joined(parts)
            gathered[pk] = whole if step_ms == tier.step_ms else whole.onto(step_ms)
    return gathered


def tier_for(step_ms: int, start_ms: int, left: Left) -> Tier:
    """The coarsest tier that a picture with this step can be made from, or a coarser one that still reaches back."""
    at_hand = [tier for tier in TIERS if step_ms % tier.step_ms == 0] or [TIERS[0]]
    coarser = [tier for tier in TIERS if tier.step_ms > at_hand[-1].step_ms]
    gone_until_ms = dict(zip(TIERS, left[1:], strict=True))
    return next((tier for tier in (at_hand[-1], *coarser) if start_ms >= gone_until_ms[tier]), TIERS[-1])


def _fresh(series: Sequence[Known], start_ms: int, end_ms: int) -> dict[int, list[Piece]]:
    """Series id → what warm and late rows have of it. One query."""
    server_ids = sorted({one.server_id for one in series})
    blocks = sorted({one.place.block for one in series})
    found = pieces_of(shapes_of([FRAMES, LATE], server_ids, start_ms, end_ms, blocks))
    return {one.pk: found[one.server_id][one.place] for one in series if one.place in found.get(one.server_id, {})}


def _resolved(cold: Mapping[int, Sequence[Samples]], fresh: Mapping[int, Sequence[Piece]]) -> dict[int, Samples]:
    """What is in a chunk was there first, so it counts."""
    return {pk: first_wins([*_ranked(cold.get(pk, ())), *fresh.get(pk, ())]) for pk in cold.keys() | fresh.keys()}


def _ranked(parts: Sequence[Samples]) -> list[Piece]:
    if not parts:
        return []
    at_ms = np.concatenate([at_ms for at_ms, _ in parts])
    return [Piece(at_ms, np.zeros(len(at_ms), np.int64), np.concatenate([values for _, values in parts]))]


def _by_the_hour(
    ids: Sequence[int], start_ms: int, end_ms: int, fresh: Mapping[int, Sequence[Piece]]
) -> dict[int, Buckets]:
    """Hours, from what stands beside sealed chunks, and samples after them. `start_ms` begins an hour."""
    hours = chunks.hours_of(ids, start_ms, end_ms)
    recent: dict[int, Buckets] = {}
    unpacked = []
    for pk in hours.keys() | fresh.keys():
        sealed, later = hours.get(pk, NOTHING), of_samples(*first_wins(fresh.get(pk, ()))).between(start_ms, end_ms)
        sealed_until = int(sealed.at_ms[-1]) + HOUR_MS if len(sealed.at_ms) else start_ms
        if sealed_until > end_ms or (len(later.at_ms) and later.at_ms[0] < sealed_until):
            unpacked.append(pk)
        else:
            recent[pk] = joined([sealed, later])
    if unpacked:
        found = _resolved(chunks.tracks_of(unpacked, start_ms, end_ms), {pk: fresh.get(pk, ()) for pk in unpacked})
        recent |= {pk: of_samples(*some).between(start_ms, end_ms) for pk, some in found.items()}
    return recent
