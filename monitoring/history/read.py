"""The only reader of history. Callers do not see from which layer an answer comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from django.db import connection
from django.utils import timezone

from monitoring.history import layers
from monitoring.history.buckets import NOTHING, Buckets, of_samples
from monitoring.history.chunks import DAY_MS
from monitoring.history.codec import Ints
from monitoring.history.frame import Floats, SeriesName
from monitoring.history.kept import left_of, surely_kept_ms
from monitoring.history.layers import NO_SAMPLES, Known, Samples
from monitoring.history.rollup import TIERS
from monitoring.history.series import Place
from monitoring.models import Series

__all__ = ["Ints", "Tracks", "names_of", "newest_instants", "places_by_name", "read", "read_buckets"]

STEPS_MS = [
    seconds * 1000 for seconds in (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 86400)
]
GAP_AFTER = 2.5
"""A pause longer than this many times the usual distance of a series' samples is a gap."""
EXACT_UP_TO_MS = 2 * DAY_MS
"""Pictures of a longer span are made from roll-ups."""


@dataclass(frozen=True, slots=True)
class Tracks:
    """`values[i, j]` is the value of the i-th asked series at `at_ms[j]` (ascending, epoch ms), NaN is a gap.

    With `step_ms` = 0 the instants are the samples' own. Otherwise they start equal buckets of that length. Of every
    two buckets one has the lowest and the other the highest sample of both, so that no peak vanishes.
    """

    at_ms: Ints
    values: Floats
    step_ms: int


def names_of(server_id: int) -> list[SeriesName]:
    """The series that the server ever had, in the catalogue's order; one query."""
    rows = Series.objects.filter(server_id=server_id).order_by("metric__position", "metric__name", "labels")
    return [SeriesName(metric, labels) for metric, labels in rows.values_list("metric__name", "labels")]


def places_by_name(server_id: int) -> dict[SeriesName, Known]:
    """The series that the server ever had, in the catalogue's order, as `read` knows them; one query."""
    rows = Series.objects.filter(server_id=server_id).order_by("metric__position", "metric__name", "labels")
    return {
        SeriesName(metric, labels): Known(pk, server_id, Place(block, slot))
        for metric, labels, pk, block, slot in rows.values_list("metric__name", "labels", "pk", "block", "slot")
    }


def read(
    server_id: int,
    names: Sequence[SeriesName],
    start_ms: int,
    end_ms: int,
    *,
    points: int | None = None,
    places: Mapping[SeriesName, Known] | None = None,
) -> Tracks:
    """Samples with start_ms <= instant < end_ms of one server's series; a series that does not exist is all gaps.

    Exact, unless told how many `points` a picture has room for: then there are about as many, and of more than two
    days, or where the samples have left, they come from roll-ups. Where two senders gave the same (series, instant),
    the first stays. Three queries; seven with roll-ups; one more where samples may have left; one fewer for a caller
    who has the server's `places_by_name`.
    """
    known = _known([(server_id, name) for name in names]) if places is None else [places.get(name) for name in names]
    series = [one for one in known if one]
    if points is not None and (end_ms - start_ms > EXACT_UP_TO_MS or _samples_left(server_id, start_ms)):
        rows, step_ms = _rolled_up(series, start_ms, end_ms, points)
        return _on_grid([rows.get(one.pk, NOTHING) if one else NOTHING for one in known], start_ms, end_ms, step_ms)
    found = layers.samples(series, start_ms, end_ms)
    samples = [found.get(one.pk, NO_SAMPLES) if one else NO_SAMPLES for one in known]
    at_ms = _instants(samples)
    usual_ms = max((_usual_distance(at) for at, _ in samples), default=0)
    longest = max((len(at) for at, _ in samples), default=0)
    # Sources with clocks of their own would cut each other's lines: they meet on a grid, as do too many points.
    if points is not None and (len(at_ms) > points or len(at_ms) > 1.2 * longest):
        step_ms = _step(end_ms - start_ms, points, usual_ms)
        return _on_grid([of_samples(*some).onto(step_ms) for some in samples], start_ms, end_ms, step_ms)
    return _as_they_are(samples, at_ms, usual_ms)


def read_buckets(series: Sequence[tuple[int, SeriesName]], start_ms: int, end_ms: int, step_ms: int) -> list[Buckets]:
    """Count, minimum, maximum, sum and newest value in buckets of `step_ms`, a multiple of a minute, of each
    (server id, name); of many servers at once. Buckets without samples are left out.

    At most twelve queries, however many series.
    """
    known = _known(series)
    tier = layers.tier_for(step_ms, start_ms, {one.server_id for one in known if one})
    found = layers.buckets(list({one for one in known if one}), start_ms, end_ms, step_ms, tier)
    return [found.get(one.pk, NOTHING) if one else NOTHING for one in known]


def newest_instants(server_ids: Sequence[int], since: datetime, until: datetime) -> dict[int, int]:
    """The newest instant (epoch ms) with since < instant <= until of each server that has one. One query, one index
    probe per block and hour, and per sealed hour or day."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT server_id, max((date_part('epoch', at) * 1000)::bigint) FROM (
                SELECT known.server_id, frame.at
                FROM (SELECT DISTINCT server_id, block FROM monitoring_series WHERE server_id = ANY(%(ids)s)) known
                CROSS JOIN LATERAL (
                    SELECT at FROM monitoring_frame
                    WHERE server_id = known.server_id AND block = known.block AND at > %(since)s AND at <= %(until)s
                    ORDER BY at DESC LIMIT 1
                ) frame
                UNION ALL
                SELECT server_id, at FROM monitoring_lateframe
                WHERE server_id = ANY(%(ids)s) AND at > %(since)s AND at <= %(until)s
                UNION ALL
                SELECT server_id, last_at FROM monitoring_segment
                WHERE server_id = ANY(%(ids)s) AND starts_at > %(since)s - interval '1 day' AND starts_at <= %(until)s
                    AND starts_at < (SELECT sealed_until FROM monitoring_horizon)
                    AND last_at > %(since)s AND last_at <= %(until)s
            ) found
            GROUP BY server_id
            """,
            {"ids": list(server_ids), "since": since, "until": until},
        )
        return dict(cursor.fetchall())


def _known(series: Sequence[tuple[int, SeriesName]]) -> list[Known | None]:
    """Each asked series, None for one that does not exist; one query."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT series.server_id, metric.name, series.labels, series.id, series.block, series.slot
            FROM monitoring_series series JOIN monitoring_metric metric ON metric.id = series.metric_id
            WHERE series.server_id = ANY(%s) AND metric.name = ANY(%s)
            """,
            [list({server_id for server_id, _ in series}), list({name.metric for _, name in series})],
        )
        rows = cursor.fetchall()
    found = {
        (server_id, SeriesName(metric, labels)): Known(pk, server_id, Place(block, slot))
        for server_id, metric, labels, pk, block, slot in rows
    }
    return [found.get(one) for one in series]


def _samples_left(server_id: int, start_ms: int) -> bool:
    """Whether there may be samples from then on that have left; no query for the last day, of which none have."""
    newest_cut_ms = surely_kept_ms(int(timezone.now().timestamp() * 1000)) // DAY_MS * DAY_MS
    return start_ms < newest_cut_ms and start_ms < left_of([server_id]).samples


def _instants(samples: Sequence[Samples]) -> Ints:
    """All instants of all series, ascending. Series of one segment share one array, which is looked at once."""
    different = list({id(at): at for at, _ in samples}.values())
    return np.unique(np.concatenate(different)) if len(different) > 1 else (different or [NO_SAMPLES[0]])[0]


def _usual_distance(at_ms: Ints) -> int:
    return int(np.median(np.diff(at_ms))) if len(at_ms) > 1 else 0


def _step(span_ms: int, points: int, usual_ms: int) -> int:
    """The smallest round step that keeps to `points` and leaves no bucket of a steady series empty."""
    least = max(span_ms / points, 2 * usual_ms)
    return next((step for step in STEPS_MS if step >= least), STEPS_MS[-1])


def _rolled_up(series: Sequence[Known], start_ms: int, end_ms: int, points: int) -> tuple[dict[int, Buckets], int]:
    """The series' buckets and their step: that of `_step`, or of the tier where no finer one reaches back."""
    wanted_ms = max(_step(end_ms - start_ms, points, 0), TIERS[0].step_ms)
    tier = layers.tier_for(wanted_ms, start_ms, {one.server_id for one in series})
    step_ms = max(wanted_ms, tier.step_ms)
    found = layers.buckets(series, start_ms, end_ms, step_ms, tier)
    # A series that says something every hour would have gaps on a grid of minutes.
    usual_ms = max((_usual_distance(some.at_ms) for some in found.values()), default=0)
    if usual_ms > step_ms:
        step_ms = next((step for step in STEPS_MS if step >= 2 * usual_ms and step % step_ms == 0), STEPS_MS[-1])
        found = {pk: some.onto(step_ms) for pk, some in found.items()}
    return found, step_ms


def _on_grid(rows: Sequence[Buckets], start_ms: int, end_ms: int, step_ms: int) -> Tracks:
    """Buckets as one value each. Two neighbours share what both have: the highest stands where it was, the lowest in
    the other. A bucket beside an empty one keeps to itself, and has its more unusual extreme."""
    first = start_ms // step_ms
    first -= first % 2
    count = (end_ms - 1) // step_ms - first + 1
    count += count % 2
    values = np.full((len(rows), count), np.nan)
    for row, some in enumerate(rows):
        if len(some.at_ms):
            _draw(values[row], some, some.at_ms // step_ms - first)
    at_ms = (first + np.arange(count, dtype=np.int64)) * step_ms
    shown = slice(*np.searchsorted(at_ms, (start_ms // step_ms * step_ms, end_ms)))
    return Tracks(at_ms[shown], values[:, shown], step_ms)


def _draw(line: Floats, some: Buckets, place: Ints) -> None:
    least, most = np.full(len(line), np.nan), np.full(len(line), np.nan)
    least[place], most[place] = some.least, some.most
    with np.errstate(over="ignore", invalid="ignore"):
        mean = some.total / some.count
        line[place] = np.where(some.most - mean >= mean - some.least, some.most, some.least)
    left, right = slice(0, None, 2), slice(1, None, 2)
    both = ~(np.isnan(least[left]) | np.isnan(least[right]))
    lowest, highest = np.minimum(least[left], least[right])[both], np.maximum(most[left], most[right])[both]
    is_left = (most[left] >= most[right])[both]
    line[left][both] = np.where(is_left, highest, lowest)
    line[right][both] = np.where(is_left, lowest, highest)


def _as_they_are(samples: Sequence[Samples], at_ms: Ints, usual_ms: int) -> Tracks:
    """All instants, and one more without any value in each gap, so that a line breaks there."""
    if usual_ms and len(at_ms) > 1 and (gaps := np.diff(at_ms) > GAP_AFTER * usual_ms).any():
        at_ms = np.sort(np.concatenate([at_ms, at_ms[:-1][gaps] + usual_ms]))
    values = np.full((len(samples), len(at_ms)), np.nan)
    for row, (at, numbers) in enumerate(samples):
        # Nearly always all series have all instants: then there is nothing to look for.
        values[row, slice(None) if len(at) == len(at_ms) else np.searchsorted(at_ms, at)] = numbers
    return Tracks(at_ms, values, 0)
