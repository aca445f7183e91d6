"""What beat wakes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings
from django.contrib.sessions.models import Session
from django.utils import timezone

from portal.celery import app
from portal.tasks import forget_sessions_task


def test_every_tick_of_beat_names_a_task_that_exists_and_expires_before_it_piles_up() -> None:
    app.loader.import_default_modules()
    for tick in settings.CELERY_BEAT_SCHEDULE.values():
        assert tick["task"] in app.tasks
        assert tick["options"]["expires"] <= max(2, tick["schedule"])


@pytest.mark.django_db
def test_ended_sessions_are_forgotten_and_others_stay() -> None:
    now = timezone.now()
    for key, days in (("ended", -1), ("open", 1)):
        Session.objects.create(session_key=key, session_data="", expire_date=now + timedelta(days=days))
    forget_sessions_task()
    assert list(Session.objects.values_list("session_key", flat=True)) == ["open"]
