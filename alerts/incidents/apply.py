"""From observations to rows: problems, incidents, time lines, states, mails; all in the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from django.db.models import Q

from alerts.incidents.life import Case, changes, remember
from alerts.incidents.rows import update_rows
from alerts.incidents.words import labels_of
from alerts.models import Incident, Problem
from alerts.notify import tell
from alerts.rules.observation import Observation
from alerts.standing import locked
from alerts.timeline import announce, write
from monitoring.models import Series, Server

REMEMBERED = [
    "threshold",
    "warning_since",
    "critical_since",
    "warning_held",
    "critical_held",
    "value",
    "limit",
    "peak",
    "last_value",
]
LIVED = [*REMEMBERED, "incident", "status", "level", "fired_at", "resolved_at", "ended_because"]
INCIDENT_FIELDS = [
    "server_name",
    "group",
    "simulated",
    "status",
    "level",
    "peak_level",
    "began_at",
    "fired_at",
    "resolved_at",
]

Watch = tuple[int | None, str]


def apply(observations: Sequence[Observation], now: datetime) -> None:
    """Let observations, any number in any order, become what people see and are told.

    Runs in the caller's transaction, and expects that nobody else applies observations of the same servers meanwhile;
    people may act, they wait for the incident's row. An observation that says what is known already only updates what
    is remembered: one query for all of them. Otherwise about 20 queries, however many incidents change.
    """
    if not observations:
        return
    ordered = sorted(observations, key=lambda one: one.at)
    problems = _open_problems(Q(series__in={one.series_id for one in ordered}))
    lively = _servers_with_changes(ordered, problems)
    remembered: dict[int, Problem] = {}
    for one in ordered:
        problem = problems.get((one.series_id, one.condition))
        if one.server_id not in lively and problem is not None:
            remember(problem, one)
            remembered[problem.pk] = problem
    update_rows(list(remembered.values()), REMEMBERED)
    if lively:
        _live([one for one in ordered if one.server_id in lively], lively, now)


def save(cases: Iterable[Case], now: datetime) -> None:
    """Write what became of the cases, and tell whoever has to know."""
    cases = list(cases)
    news = [one for case in cases for one in case.news]
    dropped = [incident.pk for case in cases for incident in case.dropped]
    Incident.objects.filter(pk__in=dropped).delete()
    incidents = [one.incident for one in news]
    update_rows([incident for incident in incidents if incident.pk is not None], INCIDENT_FIELDS)
    Incident.objects.bulk_create([incident for incident in incidents if incident.pk is None])
    problems = [problem for case in cases for problem in case.touched.values()]
    update_rows(_with_keys([problem for problem in problems if problem.pk is not None]), LIVED)
    Problem.objects.bulk_create([problem for problem in problems if problem.pk is None])
    write([entry for case in cases for entry in case.entries])
    tell(news, now)
    announce([incident.pk for incident in incidents] + dropped)


def _live(ordered: Sequence[Observation], server_ids: Collection[int], now: datetime) -> None:
    """Observations that change something, of existing series; the incidents of their servers are locked first."""
    incidents = {
        incident.server_id: incident
        for incident in locked(Incident.objects.filter(server__in=server_ids, resolved_at=None))
    }
    servers = Server.objects.in_bulk(list(server_ids))
    known = set(Series.objects.filter(pk__in={one.series_id for one in ordered}).values_list("pk", flat=True))
    ordered = [one for one in ordered if one.server_id in servers and one.series_id in known]
    problems = _open_problems(Q(incident__in=[incident.pk for incident in incidents.values()])).values()
    labels = labels_of({problem.metric for problem in problems} | {one.metric for one in ordered})
    cases = {}
    for pk, server in servers.items():
        incident = incidents.get(pk)
        own = [problem for problem in problems if incident is not None and problem.incident_id == incident.pk]
        cases[pk] = Case(server, incident, own, now, labels)
    for one in ordered:
        cases[one.server_id].take(one)
    save(cases.values(), now)


def _open_problems(which: Q) -> dict[Watch, Problem]:
    found = Problem.objects.filter(which, resolved_at=None).order_by("pk")
    return {(problem.series_id, problem.condition): problem for problem in found}


def _servers_with_changes(ordered: Sequence[Observation], problems: dict[Watch, Problem]) -> set[int]:
    """The servers of which at least one observation changes more than what is remembered."""
    found = set()
    for one in ordered:
        if changes(problems.get((one.series_id, one.condition)), one):
            found.add(one.server_id)
    return found


def _with_keys(problems: list[Problem]) -> list[Problem]:
    """Problems that moved to an incident which has only now been saved know its key."""
    for problem in problems:
        problem.incident_id = problem.incident.pk
    return problems
