"""What is forgotten: incidents that have been over for long, with their time lines and mails."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings

from alerts.models import Delivery, DeliveryStatus, Incident

AT_ONCE = 1_000
"""Incidents in one transaction: each takes its problems, entries and deliveries with it."""


def forget_old(now: datetime) -> int:
    """Delete what was resolved more than INCIDENT_DAYS ago; how many. None of which a mail still waits.

    May run at any time, any number of times; a kill leaves the rest to the next run.
    """
    waiting = Delivery.objects.filter(status=DeliveryStatus.QUEUED)
    old = Incident.objects.filter(resolved_at__lt=now - timedelta(days=settings.INCIDENT_DAYS))
    old = old.exclude(pk__in=waiting.values("incident")).order_by("pk")
    forgotten = 0
    while some := list(old.values_list("pk", flat=True)[:AT_ONCE]):
        Incident.objects.filter(pk__in=some).delete()
        forgotten += len(some)
    return forgotten
