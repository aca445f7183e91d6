"""What programs hear of incidents as they change: each as it is now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db.models import F, Max, Prefetch, Q, QuerySet

from alerts.access import incidents_of
from alerts.models import Entry, Incident, IncidentStatus, Problem, What
from alerts.queries.words import what_is_wrong
from portal.toolkit.instants import iso

HEARD = (IncidentStatus.FIRING, IncidentStatus.ACKNOWLEDGED, IncidentStatus.RESOLVED)
TURNS = (What.FIRED, What.RAISED, What.LOWERED, What.RESOLVED, What.ACKNOWLEDGED, What.RELEASED, What.EXPIRED)
"""What of an incident's time line makes it news."""
MOST = 500
"""Incidents in one answer, the worst first: who has more to look at needs no stream."""
ENDED_WITHIN = timedelta(minutes=2)
"""One that began and ended between two looks is told too."""
OVERLAP = 200
"""Entries get their numbers before they are committed: so many are looked at again, for one that came late."""
LOOKED_THROUGH = 100_000


def alert_updates(audience: str, now: datetime) -> list[dict[str, Any]]:
    """Every incident that fires or is acknowledged, and those that have just ended. Two queries."""
    open_ones = Q(resolved_at=None, status__in=(IncidentStatus.FIRING, IncidentStatus.ACKNOWLEDGED))
    just_ended = Q(status=IncidentStatus.RESOLVED, resolved_at__gt=now - ENDED_WITHIN)
    return _told(incidents_of(audience).filter(open_ones | just_ended))


def alerts_missed(audience: str, after: int, ids: Sequence[str]) -> list[dict[str, Any]]:
    """The incidents that an entry after `after` is about, and those of `ids`. Four queries at most."""
    wanted = Q(pk__in=[int(pk) for pk in ids])
    if after:
        newest = Entry.objects.aggregate(newest=Max("pk"))["newest"] or 0
        first = max(after - OVERLAP, newest - LOOKED_THROUGH)
        turned = Entry.objects.filter(pk__gt=first, what__in=TURNS).order_by().values("incident_id")
        wanted |= Q(pk__in=turned)
    return _told(incidents_of(audience).filter(wanted, status__in=HEARD))


def _told(incidents: QuerySet[Incident]) -> list[dict[str, Any]]:
    problems = Prefetch("problems", Problem.objects.order_by("level_rank", "began_at", "pk"))
    newest = Max("entries__pk")
    open_first = F("resolved_at").desc(nulls_first=True)
    found = incidents.annotate(entry=newest).order_by(open_first, "level_rank", "-began_at", "-pk")
    return [_one(incident) for incident in found.prefetch_related(problems)[:MOST]]


def _one(incident: Incident) -> dict[str, Any]:
    problems = list(incident.problems.all())
    worst = next((problem for problem in problems if problem.resolved_at is None), problems[0] if problems else None)
    at = incident.resolved_at or incident.acknowledged_at or incident.fired_at or incident.began_at
    return {
        "id": str(incident.pk),
        "state": incident.status,
        "level": incident.level,
        "server": str(incident.server_id) if incident.server_id else None,
        "serverName": incident.server_name,
        "simulated": incident.simulated,
        "title": what_is_wrong(worst) if worst else "",
        "began": iso(incident.began_at),
        "ended": iso(incident.resolved_at) if incident.resolved_at else None,
        "at": iso(at),
        "entry": incident.entry or 0,  # type: ignore[attr-defined]
    }
