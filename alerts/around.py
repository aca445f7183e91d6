"""The time around an incident, and the lines of its server then."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.urls import reverse
from django.utils.http import urlencode

from alerts.models import Incident
from portal.toolkit.instants import iso

BEFORE = timedelta(minutes=10)
"""What led to it is said before it is seen."""
AFTER = timedelta(minutes=5)


def logs_path(incident: Incident, until: datetime | None) -> str:
    """The logs of its server from a little before it began to a little after `until`; None: and on. "" without one."""
    if incident.server_id is None:
        return ""
    parts = {"server": str(incident.server_id), "from": iso(incident.began_at - BEFORE)}
    if until:
        parts["to"] = iso(until + AFTER)
    return f"{reverse('monitoring:logs')}?{urlencode(parts)}"
