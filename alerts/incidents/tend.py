"""What time alone does to incidents: acknowledgements run out, silences begin and end, servers are gone."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext_noop as _

from alerts.incidents.apply import save
from alerts.incidents.life import Case
from alerts.incidents.people import HELD_FIELDS, let_go
from alerts.incidents.reflect import reflect
from alerts.incidents.rows import update_rows
from alerts.incidents.words import labels_of
from alerts.models import Incident, IncidentStatus, Level, Problem, What
from alerts.notify import News, tell
from alerts.silences import reconcile
from alerts.standing import firing_in, locked
from alerts.timeline import announce, note, write

SERVER_GONE = _("No longer watched: the server was deleted.")
SERIES_GONE = _("No longer watched: the series was deleted.")


def tend(now: datetime) -> None:
    """Everything that is due; four queries when nothing is. May run at any time, any number of times."""
    with transaction.atomic():
        _end_orphans(now)
    with transaction.atomic():
        _take_back_expired(now)
    reconcile(now)


def _end_orphans(now: datetime) -> None:
    """Problems whose series is gone: no sample will ever end them."""
    orphans = Problem.objects.filter(Q(series=None) | Q(server=None), resolved_at=None)
    incidents = locked(Incident.objects.filter(pk__in=orphans.values("incident"), resolved_at=None))
    if not incidents:
        return
    problems = list(Problem.objects.filter(incident__in=incidents, resolved_at=None).order_by("pk"))
    labels = labels_of(problems)
    cases = []
    for incident in incidents:
        own = [problem for problem in problems if problem.incident_id == incident.pk]
        case = Case(incident.server, incident, own, now, labels)
        case.end_all([one for one in own if incident.server is None or one.series_id is None], now, _because(incident))
        cases.append(case)
    save(cases, now)
    reflect({incident.server_id for incident in incidents if incident.server_id is not None}, now, fresh=False)


def _because(incident: Incident) -> str:
    return SERVER_GONE if incident.server is None else SERIES_GONE


def _take_back_expired(now: datetime) -> None:
    """An acknowledgement cannot be forgotten: whoever is on call is reminded."""
    held = Incident.objects.filter(status=IncidentStatus.ACKNOWLEDGED, acknowledged_until__lte=now)
    incidents = locked(held)
    entries = []
    for incident in incidents:
        owner = incident.acknowledged_by
        entries.append(note(incident, What.EXPIRED, now, about=owner, level=incident.level))
        let_go(incident)
    update_rows(incidents, ["status", *HELD_FIELDS])
    write(entries)
    firing = firing_in(incidents)
    news = [News(one, Level(one.level), reminder=True, concerned=firing[one.pk]) for one in incidents]
    tell(news, now)
    announce([incident.pk for incident in incidents])
