"""Incidents that are long over leave; nothing that somebody still waits for does."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings

from alerts.forget import forget_old
from alerts.models import DeliveryStatus, Entry, Incident
from alerts.rules.observation import Phase
from monitoring.models import Series
from portal.accounts.models import User
from tests.alerts.makers import apply, at, mark, observe

pytestmark = pytest.mark.django_db

LONG_AFTER = at(60) + timedelta(days=settings.INCIDENT_DAYS + 1)


def test_what_is_long_over_leaves_with_its_time_line(cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL), observe(cpu, Phase.FINE, at(60)))
    mark(DeliveryStatus.ACCEPTED)
    assert forget_old(LONG_AFTER) == 1
    assert (Incident.objects.count(), Entry.objects.count()) == (0, 0)
    assert forget_old(LONG_AFTER) == 0


def test_what_is_open_or_was_over_only_lately_stays(cpu: Series, memory: Series) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    assert forget_old(LONG_AFTER) == 0
    apply(observe(cpu, Phase.FINE, LONG_AFTER))
    assert forget_old(LONG_AFTER) == 0


def test_what_a_mail_still_waits_for_stays(cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL), observe(cpu, Phase.FINE, at(60)))
    assert forget_old(LONG_AFTER) == 0
