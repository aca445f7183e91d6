"""What should have been sent and was not: found each minute, whatever the reason was."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import structlog
from django.db import transaction
from django.db.models import CharField, Exists, F, Func, OuterRef, Q, Value

from alerts.desk import wake_the_drainer
from alerts.models import Delivery, DeliveryKind, DeliveryStatus, Incident, IncidentStatus, Level
from alerts.notify import News, tell
from alerts.standing import firing_in, locked

OVERDUE_AFTER = timedelta(minutes=2)
LOOKED_BACK = timedelta(days=30)
MENDED_AT_ONCE = 500

_NO_BREAK = Q(kind=DeliveryKind.RECOVERED) | Q(status=DeliveryStatus.DEAD)
"""Mails by which nobody was, or will be, told that something broke."""
_PERSON = Func(F("key"), Value("-"), Value(2), function="split_part", output_field=CharField())
"""What `alerts.desk.person_of` says."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """How many mails were missing and are queued now, and how many wait for longer than they should."""

    breaks: int = 0
    recoveries: int = 0
    overdue: int = 0


def audit(now: datetime) -> Found:
    """Mend what is missing. May run at any time, any number of times, beside everything else.

    Three queries when nothing is wrong. A break counts as missing when nobody at all is, or will be, told of it: then
    those who are on call now get it, who may have come on call only since.
    """
    found = Found(_tell_breaks(now), _tell_recoveries(now), _overdue(now))
    if found != Found():
        log.warning("mails_were_missing", **asdict(found))
    return found


@transaction.atomic
def _tell_breaks(now: datetime) -> int:
    telling = Delivery.objects.filter(incident=OuterRef("pk")).exclude(_NO_BREAK)
    unheard = Incident.objects.filter(~Exists(telling), status=IncidentStatus.FIRING)
    incidents = locked(unheard)  # all: those of whom nobody can be told must not stand in the way of the others
    firing = firing_in(incidents)
    return len(tell([News(one, Level(one.level), still=True, concerned=firing[one.pk]) for one in incidents], now))


@transaction.atomic
def _tell_recoveries(now: datetime) -> int:
    """People who were told of a break and have no mail of its recovery, not even one that is dead."""
    recoveries = Delivery.objects.annotate(whose=_PERSON).filter(
        incident=OuterRef("incident"), kind=DeliveryKind.RECOVERED, whose=OuterRef("whose")
    )
    told = Delivery.objects.annotate(whose=_PERSON).filter(incident__resolved_at__gt=now - LOOKED_BACK)
    unfinished = told.exclude(_NO_BREAK).exclude(Exists(recoveries))
    incidents = locked(Incident.objects.filter(pk__in=unfinished.values("incident")))[:MENDED_AT_ONCE]
    return len(tell([News(one, Level(one.level)) for one in incidents], now))


def _overdue(now: datetime) -> int:
    """Mails that nobody has taken up in time, though somebody should have: the drainer is woken."""
    free = Q(leased_until=None) | Q(leased_until__lte=now)
    queued = Delivery.objects.annotate(whose=_PERSON).filter(status=DeliveryStatus.QUEUED)
    before = queued.filter(incident=OuterRef("incident"), whose=OuterRef("whose"), pk__lt=OuterRef("pk"))
    due = queued.filter(free, ~Exists(before), next_attempt_at__lt=now - OVERDUE_AFTER)
    count = due.count()
    if count:
        wake_the_drainer()
    return count
