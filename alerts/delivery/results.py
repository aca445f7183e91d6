"""What became of an attempt: the row, the time line and the bounces change together, or not at all.

Only whoever still holds the lease may write; each function says whether they did.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils.translation import gettext_noop as _

from alerts import notify
from alerts.delivery.claims import next_attempt
from alerts.delivery.smtp import DeliveryError
from alerts.models import Bounce, Delivery, DeliveryStatus, Incident, What
from alerts.timeline import note, write
from portal.toolkit.live.touch import touch
from portal.toolkit.sentence import sentence

ACCEPTED = _("Accepted by %(host)s: %(answer)s")
DEFERRED = _("%(host)s says not now: %(answer)s")
UNREACHABLE = _("%(host)s cannot be used: %(answer)s")
BOUNCED = _("Refused for good by %(host)s: %(answer)s")
GIVEN_UP = _("Given up after 24 h. The last answer: %(answer)s")
CODES = re.compile(r"[0-9]{3}(?:[ -][0-9]\.[0-9]+\.[0-9]+)?(?= |$)")


def accepted(row: Delivery, host: str, answer: str, at: datetime) -> bool:
    with transaction.atomic():
        if not _write(row, status=DeliveryStatus.ACCEPTED, answer=answer, ended_at=at):
            return False
        Bounce.objects.filter(address__iexact=row.address).delete()
        _note(row, What.ACCEPTED, at, sentence(ACCEPTED, host=host, answer=answer))
    return True


def failed(row: Delivery, host: str, error: DeliveryError, at: datetime) -> bool:
    """Put off, or dead: then the next ones of the rota are told."""
    answer = str(error)
    if error.permanent:
        return _dead(row, at, answer, sentence(BOUNCED, host=host, answer=answer), bounced=True)
    again_at = next_attempt(row, at, unreachable=error.unreachable)
    if again_at is None:
        given_up = sentence(GIVEN_UP, answer=answer)
        return _dead(row, at, given_up, given_up, bounced=False)
    with transaction.atomic():
        if not _write(row, next_attempt_at=again_at, answer=answer):
            return False
        if gist(answer) != gist(row.answer):  # else a day of refusals would drown the time line
            message = UNREACHABLE if error.unreachable else DEFERRED
            _note(row, What.DEFERRED, at, sentence(message, host=host, answer=answer))
    return True


def gist(answer: str) -> str:
    """What makes two answers the same reason: the codes, when there are any; texts carry ids and seconds."""
    codes = CODES.match(answer)
    return codes[0] if codes else answer


def _dead(row: Delivery, at: datetime, answer: str, text: str, *, bounced: bool) -> bool:
    with transaction.atomic():
        # Whoever writes about an incident takes its lock first: so do we, as passing on will want it.
        Incident.objects.select_for_update(of=("self",)).get(pk=row.incident_id)
        if not _write(row, status=DeliveryStatus.DEAD, answer=answer, ended_at=at):
            return False
        if bounced:
            Bounce.objects.update_or_create(address=row.address, defaults={"at": at, "answer": answer})
        _note(row, What.BOUNCED, at, text)
        notify.pass_on(row, at)
    return True


def _write(row: Delivery, **fields: Any) -> bool:
    held = Delivery.objects.filter(pk=row.pk, status=DeliveryStatus.QUEUED, leased_until=row.leased_until)
    return held.update(leased_until=None, **fields) == 1


def _note(row: Delivery, what: What, at: datetime, text: str) -> None:
    entry = note(row.incident, what, at, about_name=row.person_name, level=row.level, text=text)
    # The account may have been deleted while the mail was sent: then the row, which is ours now, has none any more.
    entry.about_id = Delivery.objects.values_list("person", flat=True).get(pk=row.pk)
    write([entry])
    transaction.on_commit(lambda: touch({"alerts": None, "incidents": None, "incident": [row.incident_id]}))
