"""From arrays to observations: what the evaluator found, in the words of the incidents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from django.db.models import F

from alerts.models import Condition, Problem
from alerts.rules.evaluate import CRITICAL, NEVER, WARNING, Flags, Floats, Ints, State, Transitions
from alerts.rules.observation import Observation, Phase
from alerts.rules.rulebook import Indexes, Rulebook
from monitoring.models import Series
from portal.toolkit.instants import from_ms


@dataclass(frozen=True, slots=True)
class Named:
    """What a series is called."""

    server_id: int
    metric: str
    labels: str
    unit: str


def names_of(series_ids: Iterable[int]) -> dict[int, Named]:
    """The names of those that exist; one query, none without ids."""
    rows = Series.objects.filter(pk__in=set(series_ids)).annotate(metric_name=F("metric__name"), unit=F("metric__unit"))
    return {
        pk: Named(server_id, metric, labels, unit)
        for pk, server_id, metric, labels, unit in rows.values_list("pk", "server_id", "metric_name", "labels", "unit")
    }


@dataclass(frozen=True, slots=True)
class _Snapshots:
    """m states of watches, each after one sample."""

    watch: Indexes
    phase: Ints
    before: Ints
    at_ms: Ints
    value: Floats
    since: Ints
    held: Flags
    peak: Floats


def observations(
    book: Rulebook, watches: Indexes, was: State, now: State, found: Transitions, values: Floats
) -> list[Observation]:
    """What the incidents must learn of these watches: every transition, in order, and then what else is remembered.

    `was`, `now`, `found` and `values` (the newest of each) count in `watches`. One query when there is anything.
    """
    changes = _Snapshots(
        found.watch, found.after, found.before, found.at_ms, found.value, found.since, found.held, found.peak
    )
    return _all_of(book, watches, changes) + _all_of(book, watches, _untold(was, now, found, values))


def _untold(was: State, now: State, found: Transitions, values: Floats) -> _Snapshots:
    """The watches that are not fine and remember something else than the last transition said, or than they did."""
    known = was.copy()
    # Of several transitions of a watch the last one counts: numpy assigns in order.
    known.since[:, found.watch], known.held[:, found.watch] = found.since, found.held
    known.peak[found.watch] = found.peak
    phases = now.phases()
    same_peak = (known.peak == now.peak) | (np.isnan(known.peak) & np.isnan(now.peak))
    same = (known.since == now.since).all(axis=0) & (known.held == now.held).all(axis=0) & same_peak
    told = np.flatnonzero(~same & (phases != Phase.FINE))
    return _Snapshots(
        told,
        phases[told],
        phases[told],
        now.evaluated_to[told],
        values[told],
        now.since[:, told],
        now.held[:, told],
        now.peak[told],
    )


def _all_of(book: Rulebook, watches: Indexes, found: _Snapshots) -> list[Observation]:
    if not len(found.watch):
        return []
    which = watches[found.watch]
    series_ids = book.series_ids[book.series_of[which]].tolist()
    names = names_of(series_ids)
    return [
        _observation(book, int(which[m]), names[series_id], series_id, found, m)
        for m, series_id in enumerate(series_ids)
        if series_id in names
    ]


def _observation(book: Rulebook, watch: int, named: Named, series_id: int, found: _Snapshots, m: int) -> Observation:
    warning_since, critical_since = found.since[:, m].tolist()
    begun = [since for since in (warning_since, critical_since) if since != NEVER]
    phase = Phase(int(found.phase[m]))
    return Observation(
        server_id=named.server_id,
        series_id=series_id,
        metric=named.metric,
        labels=named.labels,
        unit=named.unit,
        condition=book.condition(watch),
        threshold_id=int(book.threshold_ids[watch]),
        phase=phase,
        at=from_ms(int(found.at_ms[m])),
        value=float(found.value[m]),
        limit=_limit(book, watch, Phase(int(found.before[m])) if phase == Phase.FINE else phase, critical_since),
        peak=_number(found.peak[m]),
        began_at=_instant(min(begun, default=NEVER)),
        warning_since=_instant(warning_since),
        critical_since=_instant(critical_since),
        warning_held=bool(found.held[WARNING, m]),
        critical_held=bool(found.held[CRITICAL, m]),
    )


def _limit(book: Rulebook, watch: int, phase: Phase, critical_since: int) -> float | None:
    """The limit of the level that a phase is about; while it is pending, the worst one that is broken."""
    latch = CRITICAL if phase == Phase.CRITICAL or (phase == Phase.PENDING and critical_since != NEVER) else WARNING
    limits = book.rules.limits[:, watch]
    limit = limits[latch] if np.isfinite(limits[latch]) else limits.min()
    return float(limit * book.rules.sign[watch]) if np.isfinite(limit) else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _instant(milliseconds: int) -> datetime | None:
    return None if milliseconds == NEVER else from_ms(milliseconds)


# --- What no sample decides -------------------------------------------------------------------------------------------


def ended(problem: Problem, at: datetime, *, value: float | None = None, because: str = "") -> Observation | None:
    """That an open problem is over; None when its server or series is gone, so that nothing could name it."""
    if problem.server_id is None or problem.series_id is None:
        return None
    return Observation(
        server_id=problem.server_id,
        series_id=problem.series_id,
        metric=problem.metric,
        labels=problem.labels,
        unit=problem.unit,
        condition=Condition(problem.condition),
        threshold_id=problem.threshold_id,
        phase=Phase.FINE,
        at=at,
        value=value,
        limit=problem.limit,
        peak=problem.peak,
        because=because,
    )


def silent(book: Rulebook, watches: Sequence[int], since: Sequence[int], at: datetime) -> list[Observation]:
    """That each of these watches has had no data since `since[i]` (epoch ms). One query."""
    series_ids = book.series_ids[book.series_of[list(watches)]].tolist() if watches else []
    names = names_of(series_ids)
    return [
        Observation(
            server_id=names[series_id].server_id,
            series_id=series_id,
            metric=names[series_id].metric,
            labels=names[series_id].labels,
            unit=names[series_id].unit,
            condition=Condition.NO_DATA,
            threshold_id=int(book.threshold_ids[watch]),
            phase=Phase(int(book.no_data_phase[watch])),
            at=at,
            began_at=from_ms(since_ms),
        )
        for watch, series_id, since_ms in zip(watches, series_ids, since, strict=True)
        if series_id in names
    ]
