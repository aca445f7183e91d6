"""The incidents that are open, locked, with what fires in them."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import QuerySet

from alerts.models import Incident, Problem, ProblemStatus


def locked(which: QuerySet[Incident]) -> list[Incident]:
    """These incidents, still so once their rows are locked, with server and owner; one query."""
    ordered = which.order_by("pk").select_related("server", "acknowledged_by")
    return list(ordered.select_for_update(of=("self",)))


def firing_in(incidents: Iterable[Incident]) -> dict[int, list[Problem]]:
    """What fires in each, by the incident's id; one query."""
    found: dict[int, list[Problem]] = {incident.pk: [] for incident in incidents}
    if found:
        for problem in Problem.objects.filter(incident__in=found, status=ProblemStatus.FIRING):
            found[problem.incident_id].append(problem)
    return found
