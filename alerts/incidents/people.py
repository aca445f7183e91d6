"""What people do to an incident. Each locks its row: whoever comes later sees what the other one left."""

from __future__ import annotations

from datetime import datetime

from django.contrib.auth.models import AbstractUser
from django.db import transaction
from django.utils.translation import gettext as _

from alerts.models import Incident, IncidentStatus, What
from alerts.timeline import announce, note, write
from portal.toolkit.sentence import sentence

HELD_FIELDS = ["acknowledged_by", "acknowledged_at", "acknowledged_until", "acknowledged_reason"]


class TooLate(ValueError):  # noqa: N818  # (what it says to a person)
    """The incident is no longer, or not yet, as the page showed it; the message is for the person."""


@transaction.atomic
def acknowledge(
    incident: Incident, by: AbstractUser, *, reason: str, until: datetime | None, now: datetime
) -> Incident:
    """`by` has it, until `until` (None: to its end); takes it over from whoever had it.

    Returns the incident as it is then. Raises TooLate when it is over or does not fire yet.
    """
    locked = _lock(incident)
    if locked.status == IncidentStatus.PENDING:
        raise TooLate(_("It does not fire yet."))
    locked.status = IncidentStatus.ACKNOWLEDGED
    locked.acknowledged_by_id = by.pk
    locked.acknowledged_at, locked.acknowledged_until, locked.acknowledged_reason = now, until, reason
    locked.save(update_fields=["status", *HELD_FIELDS])
    # What a person typed is a part of a sentence, never the sentence: it could read like a stored one.
    _done(locked, What.ACKNOWLEDGED, by, now, sentence("%(reason)s", reason=reason) if reason else "")
    return locked


@transaction.atomic
def release(incident: Incident, by: AbstractUser, now: datetime) -> Incident:
    """Nobody has it any more; changes nothing when nobody had. Raises TooLate when it is over."""
    locked = _lock(incident)
    if locked.status == IncidentStatus.ACKNOWLEDGED:
        let_go(locked)
        locked.save(update_fields=["status", *HELD_FIELDS])
        _done(locked, What.RELEASED, by, now)
    return locked


@transaction.atomic
def comment(incident: Incident, by: AbstractUser, text: str, now: datetime) -> None:
    """Raises TooLate when it is over."""
    _done(_lock(incident), What.COMMENTED, by, now, text)


def let_go(incident: Incident) -> None:
    """Nobody has it; not yet saved."""
    incident.status = IncidentStatus.FIRING
    incident.acknowledged_by = None
    incident.acknowledged_at = incident.acknowledged_until = None
    incident.acknowledged_reason = ""


def _lock(incident: Incident) -> Incident:
    locked = Incident.objects.select_for_update().filter(pk=incident.pk).first()
    if locked is None or locked.status == IncidentStatus.RESOLVED:
        raise TooLate(_("It is over already."))
    return locked


def _done(incident: Incident, what: What, by: AbstractUser, now: datetime, text: str = "") -> None:
    write([note(incident, what, now, by=by, level=incident.level, text=text)])
    announce([incident.pk])
