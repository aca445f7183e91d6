"""Counters as pages show them: their increase per second. What is kept is the counter itself, exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from monitoring.history.codec import Ints
from monitoring.history.frame import Floats, SeriesName
from monitoring.history.layers import Known
from monitoring.history.read import GAP_AFTER, Tracks, read, read_buckets

LEAD_MS = 600_000
"""What is read before the first instant: a rate needs the sample before, and how far apart samples usually are."""
MINUTE_MS = 60_000


def rates(
    server_id: int,
    names: Sequence[SeriesName],
    tracks: Tracks,
    start_ms: int,
    end_ms: int,
    places: Mapping[SeriesName, Known],
) -> Floats:
    """A row for each counter, at the instants of `tracks`: per second since the sample, or bucket, before; NaN without
    one, and across a gap. A counter that went down has started again from 0.

    Extremes of a bucket say nothing of a counter, so what `tracks` has of it is not used. Two queries, seven for
    buckets of minutes.
    """
    step_ms = tracks.step_ms
    first_ms = start_ms - max(LEAD_MS, 2 * step_ms)
    if step_ms and step_ms % MINUTE_MS == 0:
        found = read_buckets([(server_id, name) for name in names], first_ms // step_ms * step_ms, end_ms, step_ms)
        rows = [(some.at_ms, some.last) for some in found]
    else:
        exact = read(server_id, names, first_ms, end_ms, places=places)
        known = ~np.isnan(exact.values)
        rows = [(exact.at_ms[mask], values[mask]) for mask, values in zip(known, exact.values, strict=True)]
    return np.stack([_placed(tracks.at_ms, *_rates(at_ms, values, step_ms)) for at_ms, values in rows])


def _rates(at_ms: Ints, values: Floats, step_ms: int) -> tuple[Ints, Floats]:
    """Instants, or starts of buckets, and the rate at each."""
    if len(at_ms) < 2:
        return at_ms[:0], values[:0]
    steps = np.diff(values)
    grown = np.concatenate([[0.0], np.cumsum(np.where(steps < 0, values[1:], steps))])
    if step_ms:
        at_ms, last = at_ms // step_ms * step_ms, at_ms
        ends = np.flatnonzero(np.append(np.diff(at_ms) != 0, True))
        at_ms, last, grown = at_ms[ends], last[ends], grown[ends]
    else:
        last = at_ms
    distances = np.diff(last)
    if not len(distances):
        return at_ms[:0], values[:0]
    is_gap = distances > GAP_AFTER * np.median(distances)
    return at_ms[1:], np.where(is_gap, np.nan, 1000 * np.diff(grown) / distances)


def _placed(instants: Ints, at_ms: Ints, values: Floats) -> Floats:
    row = np.full(len(instants), np.nan)
    there = np.isin(at_ms, instants)
    row[np.searchsorted(instants, at_ms[there])] = values[there]
    return row
