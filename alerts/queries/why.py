"""Why a server is red: what is wrong with it, every threshold that counts for it, and what charts draw of both."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import isfinite
from typing import TypedDict

import numpy as np
from django.db.models import Q
from django.urls import NoReverseMatch, reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from alerts.models import (
    Condition,
    Direction,
    Incident,
    IncidentStatus,
    Level,
    Problem,
    ProblemStatus,
    Scope,
    Silence,
    Threshold,
)
from alerts.queries.words import LEVEL_ICONS, subject
from alerts.quiet import active, covering_all
from alerts.rules.scope import WIDEST_FIRST, winners
from alerts.timeline import name_of
from monitoring.models import Series, Server, ServerState
from monitoring.queries.samples import metric_label, recent
from portal.toolkit.instants import at_ms, from_ms, time_tag
from portal.toolkit.quantity import duration, quantity
from portal.toolkit.sentence import say
from portal.toolkit.sparkline import HEIGHT, sparklines, view
from portal.toolkit.templatetags.icons import icon

MOST_TRACKED = 3
"""Of so many problems the last samples are read and drawn."""
MOST_SHOWN = 12
TRACKED_FOR = timedelta(minutes=5)
TRACK_POINTS = 60
SAMPLES_SHOWN = 5
DRAWN_FOR = timedelta(hours=24)
MOST_SPANS = 200


@dataclass(frozen=True, slots=True)
class Rule:
    """A threshold as it counts for the server, in words. `loses_to` names the narrower one that stands in its place."""

    metric: str
    target: str
    limits: list[str]
    details: list[str]
    wins: bool
    loses_to: str
    enabled: bool
    measured: bool
    overridden_until: datetime | None
    url: str


@dataclass(frozen=True, slots=True)
class Track:
    """The last samples of a series: `line` and `limit_y` for an SVG with this `view`, `samples` the newest first."""

    line: SafeString
    view: str
    limit_y: str
    now: str
    samples: list[tuple[SafeString, str]]


@dataclass(frozen=True, slots=True)
class Wrong:
    """An open problem. `limit` is in words; `rule` is the threshold that judges it, `shadows` are those it beats."""

    level: str
    level_word: str
    level_icon: SafeString
    firing: bool
    subject: str
    value: str
    limit: str
    worst: str
    since: datetime
    rule: Rule | None
    shadows: list[Rule]
    track: Track | None


@dataclass(frozen=True, slots=True)
class Owner:
    """Who has the incident, until when (None: until it is over) and why."""

    name: str
    until: datetime | None
    reason: str


@dataclass(frozen=True, slots=True)
class Why:
    """The whole panel. `watching` thresholds judge what the server measures; `state_says` is why its state is as it is.

    `drawn` goes to the charts of the page as JSON.
    """

    server_id: int
    state: str
    state_says: str
    incident: Incident | None
    incident_word: str
    owner: Owner | None
    silence: Silence | None
    wrongs: list[Wrong]
    more: int
    rules: list[Rule]
    watching: int
    may_edit: bool
    drawn: Drawn

    @property
    def is_calm(self) -> bool:
        return not self.wrongs and self.state == ServerState.HEALTHY


class Limit(TypedDict):
    """A line on the charts of `metric`, at `value` in its unit; `label` is the metric's."""

    metric: str
    label: str
    value: float
    level: str
    text: str


class Span(TypedDict):
    """A time on the charts of `metric`; `start` and `end` in epoch ms, no end = it goes on."""

    metric: str
    start: int
    end: int | None
    level: str
    text: str


class Drawn(TypedDict):
    limits: list[Limit]
    spans: list[Span]


def why(server: Server, now: datetime, *, may_edit: bool) -> Why:
    """Six queries, and those of `recent` (three) for each of at most MOST_TRACKED problems."""
    incident = Incident.objects.filter(server=server, resolved_at=None).select_related("acknowledged_by").first()
    problems = _open_problems(incident)
    rulebook = _Rulebook(server, now, may_edit)
    shown = problems[:MOST_SHOWN]
    silences = active(now) if incident and incident.status == IncidentStatus.FIRING else []
    firing = [problem for problem in problems if problem.status == ProblemStatus.FIRING]
    return Why(
        server_id=server.pk,
        state=server.state,
        state_says=say(server.state_reason),
        incident=incident if firing else None,
        incident_word=str(IncidentStatus(incident.status).label) if incident else "",
        owner=_owner(incident),
        silence=covering_all(server, firing, silences),
        wrongs=[_wrong(problem, rulebook, now, tracked=n < MOST_TRACKED) for n, problem in enumerate(shown)],
        more=len(problems) - len(shown),
        rules=rulebook.lines,
        watching=rulebook.watching,
        may_edit=may_edit,
        drawn=Drawn(limits=rulebook.limits(), spans=_spans(server, now)),
    )


def _open_problems(incident: Incident | None) -> list[Problem]:
    """What fires first, the worst first; one query."""
    if incident is None:
        return []
    rows = incident.problems.filter(resolved_at=None).order_by("status", "level_rank", "began_at", "pk")
    return list(rows)


def _owner(incident: Incident | None) -> Owner | None:
    if incident is None or incident.status != IncidentStatus.ACKNOWLEDGED:
        return None
    by = incident.acknowledged_by
    return Owner(name_of(by) if by else "–", incident.acknowledged_until, incident.acknowledged_reason)


# --- Thresholds -------------------------------------------------------------------------------------------------------


class _Rulebook:
    """The thresholds that cover a server, disabled ones included; the winner of each metric and direction first."""

    def __init__(self, server: Server, now: datetime, may_edit: bool) -> None:
        self._now, self._may_edit = now, may_edit
        covering = Threshold.objects.filter(
            Q(scope=Scope.ALL)
            | Q(scope=Scope.KIND, kind=server.kind)
            | Q(scope=Scope.GROUP, group=server.group_id)
            | Q(scope=Scope.SERVER, server=server)
        ).select_related("metric", "group", "server")
        self._all = sorted(covering, key=_metric_then_narrowest)
        self._winners = winners(self._all, server)
        self._measured = set(Series.objects.filter(server=server).values_list("metric_id", flat=True))
        self._lines = {one.pk: self._line(one) for one in self._all}

    @property
    def lines(self) -> list[Rule]:
        return list(self._lines.values())

    @property
    def watching(self) -> int:
        return sum(rule.wins and rule.measured and bool(rule.limits) for rule in self._lines.values())

    def of(self, problem: Problem) -> tuple[Rule | None, list[Rule]]:
        """The rule that `problem` is judged by and those that it beats, narrowest first."""
        judge = next((one for one in self._all if one.pk == problem.threshold_id), None)
        if judge is None:
            return None, []
        others = [one for one in self._all if _watch(one) == _watch(judge) and one.enabled and one != judge]
        return self._lines[judge.pk], [self._lines[one.pk] for one in others]

    def limits(self) -> list[Limit]:
        return [
            Limit(
                metric=one.metric.name,
                label=metric_label(one.metric.name),
                value=value,
                level=level.value,
                text=_limit_words(one, level, value),
            )
            for one in self._winners.values()
            if one.metric_id in self._measured
            for level, value in _levels(one, self._now)
        ]

    def _line(self, one: Threshold) -> Rule:
        winner = self._winners.get(_watch(one))
        wins = winner is not None and winner.pk == one.pk
        return Rule(
            metric=metric_label(one.metric.name),
            target=_target(one),
            limits=_limits(one, self._now),
            details=_details(one),
            wins=wins,
            loses_to=_target(winner) if winner and one.enabled and not wins else "",
            enabled=one.enabled,
            measured=one.metric_id in self._measured,
            overridden_until=one.override_until if one.is_overridden(self._now) else None,
            url=_admin_url(one) if self._may_edit else "",
        )


def _watch(one: Threshold) -> tuple[int, str]:
    return one.metric_id, one.direction


def _metric_then_narrowest(one: Threshold) -> tuple[object, ...]:
    return one.metric.position, one.metric.name, one.direction, not one.enabled, -WIDEST_FIRST.index(Scope(one.scope))


def _levels(one: Threshold, now: datetime) -> list[tuple[Level, float]]:
    warning, critical = one.limits(now)
    found = [(Level.CRITICAL, critical), (Level.WARNING, warning)]
    return [(level, value) for level, value in found if value is not None]


def _limits(one: Threshold, now: datetime) -> list[str]:
    """ "Critical above 85.0%", …; empty for one that exempts its scope."""
    said = [_limit_words(one, level, value) for level, value in _levels(one, now)]
    if one.no_data_after_s is not None:
        parts = {"level": Level(one.no_data_level).label, "time": duration(one.no_data_after_s)}
        said.append(_("%(level)s after %(time)s without data") % parts)
    return said


def _limit_words(one: Threshold, level: Level, value: float) -> str:
    parts = {"level": level.label, "limit": quantity(value, one.metric.unit)}
    return _("%(level)s above %(limit)s") % parts if _is_above(one) else _("%(level)s below %(limit)s") % parts


def _details(one: Threshold) -> list[str]:
    said = []
    if one.for_s:
        said.append(_("for %(time)s") % {"time": duration(one.for_s)})
    if one.clear is not None:
        parts = {"value": quantity(one.clear, one.metric.unit)}
        said.append(_("over below %(value)s") % parts if _is_above(one) else _("over above %(value)s") % parts)
    return said


def _is_above(one: Threshold) -> bool:
    return one.direction == Direction.ABOVE


def _target(one: Threshold) -> str:
    """Whom it is for: "All servers", "Kind Web", "Group Machines", "This server"."""
    words = {Scope.KIND: _("Kind %(name)s"), Scope.GROUP: _("Group %(name)s"), Scope.SERVER: _("This server")}
    return words.get(Scope(one.scope), _("All servers")) % {"name": one.target}


def _admin_url(one: Threshold) -> str:
    """ "" while the admin does not know thresholds."""
    try:
        return reverse("admin:alerts_threshold_change", args=[one.pk])
    except NoReverseMatch:
        return ""


# --- Problems ---------------------------------------------------------------------------------------------------------


def _wrong(problem: Problem, rulebook: _Rulebook, now: datetime, *, tracked: bool) -> Wrong:
    rule, shadows = rulebook.of(problem)
    is_silent = problem.condition == Condition.NO_DATA
    return Wrong(
        level=problem.level,
        level_word=str(Level(problem.level).label),
        level_icon=icon(LEVEL_ICONS[problem.level], 18),
        firing=problem.status == ProblemStatus.FIRING,
        subject=subject(problem),
        value=_("no data") if is_silent else quantity(problem.value, problem.unit),
        limit=_limit_of(problem),
        worst="" if is_silent or problem.peak is None else quantity(problem.peak, problem.unit),
        since=problem.began_at,
        rule=rule,
        shadows=shadows,
        track=_track(problem, now) if tracked and problem.server_id else None,
    )


def _limit_of(problem: Problem) -> str:
    if problem.condition == Condition.NO_DATA or problem.limit is None:
        return ""
    parts = {"limit": quantity(problem.limit, problem.unit)}
    return _("above %(limit)s") % parts if problem.condition == Condition.ABOVE else _("below %(limit)s") % parts


def _track(problem: Problem, now: datetime) -> Track | None:
    """None without a sample."""
    assert problem.server_id is not None
    tracks = recent(problem.server_id, problem.metric, problem.labels, now - TRACKED_FOR, now, TRACK_POINTS)
    values = tracks.values[0]
    values = np.where(np.isfinite(values), values, np.nan)
    known = [(at, value) for at, value in zip(tracks.at_ms.tolist(), values.tolist(), strict=True) if isfinite(value)]
    if not known:
        return None
    highest = max([*(value for _at, value in known), problem.limit or 0.0])
    top = highest * 1.15 if highest > 0 else 1.0
    newest = known[: -SAMPLES_SHOWN - 1 : -1]
    return Track(
        line=sparklines(values[np.newaxis], top)[0],
        view=view(len(values)),
        limit_y="" if problem.limit is None else f"{HEIGHT * (1 - min(max(problem.limit / top, 0.0), 1.0)):.1f}",
        now=quantity(known[-1][1], problem.unit),
        samples=[(time_tag(from_ms(at)), quantity(value, problem.unit)) for at, value in newest],
    )


def _spans(server: Server, now: datetime) -> list[Span]:
    """When which metric was wrong, of the longest range that the charts show; one query."""
    fired = Problem.objects.filter(server=server, fired_at__isnull=False).order_by("-began_at")
    rows: Iterable[Problem] = fired.filter(Q(resolved_at=None) | Q(resolved_at__gte=now - DRAWN_FOR))[:MOST_SPANS]
    return [
        Span(
            metric=problem.metric,
            start=at_ms(problem.fired_at) or 0,
            end=at_ms(problem.resolved_at),
            level=problem.level,
            text=" ".join(_span_words(problem)),
        )
        for problem in rows
    ]


def _span_words(problem: Problem) -> list[str]:
    said = _("no data") if problem.condition == Condition.NO_DATA else _limit_of(problem)
    return [str(Level(problem.level).label), said]
