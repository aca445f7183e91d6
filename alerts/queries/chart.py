"""The chart of an incident, drawn on the server: the series of one problem, its limit, when it began, fired, ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import isfinite

from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from alerts.models import Condition, Incident, Problem
from alerts.queries.words import subject
from monitoring.queries.samples import Tracks, recent
from portal.toolkit.instants import at_ms, from_ms
from portal.toolkit.quantity import quantity

WIDTH, HEIGHT = 1000, 200
POINTS = 400
AROUND_AT_LEAST = timedelta(minutes=5)
AROUND_AT_MOST = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class Mark:
    """An instant on the chart: `x` is where, `kind` is "began", "fired" or "resolved"."""

    x: str
    kind: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Chart:
    """`line` and `area` are paths in a box of WIDTH x HEIGHT; "" when there are no samples of that time.

    `limit_y` is where the limit lies, "" without one; `scale` is the axis in words, from the top; `says` sums it up.
    """

    problem_id: int
    subject: str
    level: str
    start: datetime
    end: datetime
    line: SafeString
    area: SafeString
    limit_y: str
    limit: str
    scale: list[str]
    marks: list[Mark]
    says: str


def incident_chart(incident: Incident, problem_id: int | None, now: datetime) -> Chart | None:
    """The chart of that problem, else of the worst one; None when there is none. Three queries."""
    problems = Problem.objects.filter(incident=incident)
    asked = problems.filter(pk=problem_id).first() if problem_id is not None else None
    problem = asked or problems.order_by("-resolved_at", "level_rank", "began_at", "pk").first()
    if problem is None:
        return None
    start, end = _span(problem, now)
    if incident.server_id is None:
        return _chart(problem, start, end, [], [])
    tracks = recent(incident.server_id, problem.metric, problem.labels, start, end, POINTS)
    return _chart(problem, start, end, *_columns(tracks))


def _columns(tracks: Tracks) -> tuple[list[datetime], list[float]]:
    half = timedelta(milliseconds=tracks.step_ms / 2)
    return [from_ms(at) + half for at in tracks.at_ms.tolist()], tracks.values[0].tolist()


def _span(problem: Problem, now: datetime) -> tuple[datetime, datetime]:
    """From a while before it began to a while after it ended; the while is as long as it lasted, within bounds."""
    ended = problem.resolved_at or now
    around = min(max(ended - problem.began_at, AROUND_AT_LEAST), AROUND_AT_MOST)
    return problem.began_at - around, min(now, ended + around)


def _chart(
    problem: Problem, start: datetime, end: datetime, instants: Sequence[datetime], values: Sequence[float]
) -> Chart:
    known = [value for value in values if isfinite(value)]
    limit = problem.limit if problem.condition != Condition.NO_DATA else None
    bottom, top = _scale(problem, known if limit is None else [*known, limit])
    points = [
        (_x(at, start, end), _y(value, bottom, top)) if isfinite(value) else None
        for at, value in zip(instants, values, strict=True)
    ]
    line, area = _paths(points)
    marks = (("began", problem.began_at), ("fired", problem.fired_at), ("resolved", problem.resolved_at))
    return Chart(
        problem_id=problem.pk,
        subject=subject(problem),
        level=problem.level,
        start=start,
        end=end,
        line=line,
        area=area,
        limit_y="" if limit is None else f"{_y(limit, bottom, top):.1f}",
        limit="" if limit is None else quantity(limit, problem.unit),
        scale=[quantity(value, problem.unit) for value in (top, (top + bottom) / 2, bottom)],
        marks=[Mark(f"{_x(at, start, end):.1f}", kind, at) for kind, at in marks if at],
        says=_says(problem, known, limit),
    )


def _scale(problem: Problem, values: Sequence[float]) -> tuple[float, float]:
    """(bottom, top): shares from 0 to 100, else from zero, or the lowest value, to a little over the highest."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if problem.unit == "%":
        return min(0.0, low), max(100.0, high)
    room = (high - low or abs(high) or 1.0) * 0.1
    bottom = 0.0 if low >= 0 else low - room
    return bottom, max(high + room, bottom + 1e-9)


def _x(at: datetime, start: datetime, end: datetime) -> float:
    span = (at_ms(end) or 0) - (at_ms(start) or 0)
    return WIDTH * ((at_ms(at) or 0) - (at_ms(start) or 0)) / max(span, 1)


def _y(value: float, bottom: float, top: float) -> float:
    return HEIGHT * (1 - (value - bottom) / (top - bottom))


def _paths(points: Sequence[tuple[float, float] | None]) -> tuple[SafeString, SafeString]:
    """(line, area): both break where there is no value; a value alone is a dot."""
    runs: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if point is None:
            runs.append([])
        else:
            runs[-1].append(point)
    lines, areas = [], []
    for run in filter(None, runs):
        drawn = "L".join(f"{x:.1f} {y:.1f}" for x, y in run)
        lines.append(f"M{drawn}" + ("" if len(run) > 1 else "h.1"))
        areas.append(f"M{run[0][0]:.1f} {HEIGHT}L{drawn}V{HEIGHT}z")
    return SafeString("".join(lines)), SafeString("".join(areas))


def _says(problem: Problem, known: Sequence[float], limit: float | None) -> str:
    if not known:
        return _("%(what)s: there are no samples of that time.") % {"what": subject(problem)}
    parts = {
        "what": subject(problem),
        "low": quantity(min(known), problem.unit),
        "high": quantity(max(known), problem.unit),
        "limit": quantity(limit, problem.unit),
    }
    if limit is None:
        return _("%(what)s: lowest %(low)s, highest %(high)s") % parts
    return _("%(what)s: lowest %(low)s, highest %(high)s, limit %(limit)s") % parts
